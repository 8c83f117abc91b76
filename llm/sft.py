"""Trains a model on expert answers: `python -m llm.sft --out RUN`.

In the code paradigm these are canonical programs of the algorithm that is right for each setting,
objective, size and time budget; in the text paradigm the best mappings. Every field of
`trl.SFTConfig` is an option too; see docs/training.md.
"""

from llm.training import command

if __name__ == "__main__":
    command.main("sft", "SftOptions", "SFTConfig", __doc__ or "")
