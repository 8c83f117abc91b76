"""LoRA adapters that ship here, a folder per short name of `llm.models.CODE_MODELS`."""
