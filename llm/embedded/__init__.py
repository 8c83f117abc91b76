"""The small model that is shipped: its corpus, its training and its checkpoint."""
