"""What a model's answers are worth on instances that no training sees."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llm.decision.policy import decide
from llm.models import Model
from llm.sandbox import Sandbox
from llm.training import evaluator
from llm.training.prompts import Cell, Stream

if TYPE_CHECKING:
    import pandas as pd


def evaluate(
    model: Model,
    box: Sandbox | None,
    cells: Sequence[Cell],
    *,
    realizations: int,
    num_samples: int,
    seed: int,
    paradigm: str = "code",
) -> "pd.DataFrame":
    """Raw answers, before any repair, greedy ones and samples at temperature 1.

    Args:
        model: from `llm.models.load_model`, or one in training.
        box: runs the programs; may be None in the text paradigm.
        cells: what is asked.
        realizations: instances of each cell.
        num_samples: samples of each instance at temperature 1; 0 leaves them out.
        seed: of instances and sampling.
        paradigm: "code" or "text".

    Returns:
        A row per cell, instance and answer: setting, objective, size, time_budget_s, realization,
        temperature, sample, valid, status, gain (0 for the mean of random answers, 1 for the best)
        and gap to the best value, relative, of valid answers.
    """
    import pandas as pd

    rows = []
    for cell in cells:
        instances = list(Stream([cell], realizations, seed=seed, purpose="held out"))
        best = evaluator.best_values(instances)
        random = evaluator.random_baselines(instances)
        for temperature, samples in ((0.0, 1), (1.0, num_samples)):
            if samples == 0:
                continue
            made = decide(
                model,
                box,
                instances,
                paradigm=paradigm,
                temperature=temperature,
                num_samples=samples,
                seed=seed,
                time_budget_s=cell.time_budget_s if paradigm == "code" else None,
            )
            where = np.repeat(np.arange(realizations), samples)
            worth = evaluator.evaluate(
                [instances[i] for i in where],
                [d.raw for d in made],
                kappa=1.0,
                baselines=random[where].tolist(),
            )
            value = (1 + worth.gain) * random[where]
            for k, (decision, i) in enumerate(zip(made, where, strict=True)):
                rows.append(
                    {
                        **cell._asdict(),
                        "realization": int(i),
                        "temperature": temperature,
                        "sample": k % samples,
                        "valid": decision.valid,
                        "status": decision.status,
                        "gain": float((value[k] - random[i]) / (best[i] - random[i]))
                        if best[i] > random[i]
                        else np.nan,
                        "gap": float(1 - value[k] / best[i]) if decision.valid else np.nan,
                    }
                )
    return pd.DataFrame(rows)
