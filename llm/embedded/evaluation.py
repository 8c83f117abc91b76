"""How often the saved model's programs run, are valid, and are of the right family."""

from typing import Any

import pandas as pd

from llm.embedded import corpus
from llm.models import load_model
from llm.sandbox import Limits, Sandbox
from llm.training.evaluation import evaluate as rows_of
from llm.training.prompts import Cell

SIZES = ("100,100,40", "III")
BUDGET_S = 2.0
SHORT = (Cell("fading", "throughput", "1500,1500,1200", 0.03),)


def cells() -> list[Cell]:
    """All kinds at two sizes, and a short time budget."""
    found = []
    for kind in corpus.KINDS:
        setting, objective = kind.split(", ")
        found += [Cell(setting, objective, size, BUDGET_S) for size in SIZES]
    return [*found, *SHORT]


def evaluate(
    folder: str, *, seed: int, workers: int, realizations: int = 1, num_samples: int = 5
) -> dict[str, Any]:
    """Measured shares of the saved model's samples on held-out slots of all kinds, before repair.

    Args:
        folder: of the checkpoint.
        seed: of slots and samples.
        workers: of the sandbox.
        realizations: slots of each kind and size.
        num_samples: completions of each prompt at temperature 1; at 0 it is one.
    """
    model = load_model(folder, batch_size=50)
    report: dict[str, Any] = {
        "slots": realizations * len(cells()),
        "prompt_budget": model.prompt_budget,
    }
    with Sandbox(workers=workers, limits=Limits(wall_s=20.0, cpu_s=5.0)) as box:
        found = rows_of(
            model, box, cells(), realizations=realizations, num_samples=num_samples, seed=seed
        )
    for temperature, own in found.groupby("temperature"):
        report[f"temperature_{temperature:g}"] = shares(own)
    return report


def shares(rows: pd.DataFrame) -> dict[str, Any]:
    """What `eval.json` holds of the rows of one temperature."""
    return {
        "samples": len(rows),
        "ran": float((rows["status"] == "ok").mean()),
        "valid": float(rows["valid"].mean()),
        "right": float(rows["right"].mean()),
        "distinct_programs": int(rows["program"].nunique()),
        "mean_tokens": float(rows["completion_tokens"].mean()),
        "families": rows["family"].value_counts(normalize=True).round(4).to_dict(),
    }
