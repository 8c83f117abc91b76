"""Benchmarks: us and the code a user would write otherwise, interleaved in one run."""
