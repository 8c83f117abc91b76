"""Trains a model by GRPO on what the sandbox makes of its answers: `python -m llm.grpo --out RUN`.

Prompts are freshly sampled instances of all settings, objectives, sizes and time budgets that are
asked for, mixed. Every field of `trl.GRPOConfig` is an option too; see docs/training.md.
"""

from llm.training import command

if __name__ == "__main__":
    command.main("grpo", "GrpoOptions", "GRPOConfig", __doc__ or "")
