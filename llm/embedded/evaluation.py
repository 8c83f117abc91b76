"""How often the saved model's programs run, and are valid."""

from typing import Any

import jax
import numpy as np

import lsajax as lsa
from llm.decision.policy import decide
from llm.embedded import corpus
from llm.models import load_model
from llm.sandbox import Sandbox

_EVALUATED = (lsa.SMALL_SCALES[5, 5, 2], lsa.SMALL_SCALES[15, 20, 8], *lsa.SCALES.values())


def evaluate(
    folder: str, *, seed: int, workers: int, realizations: int = 2, num_samples: int = 5
) -> dict[str, Any]:
    """Measured shares of the saved model's samples that run, and that are valid before repair.

    On sampled slots from 5 to 2000 channels of all kinds, by the policy itself.
    """
    model = load_model(folder, batch_size=50)
    key = jax.random.key(seed)
    slots = [
        lsa.sample_instance(jax.random.fold_in(key, r), scenario.replace(**changes))
        for scenario in _EVALUATED
        for changes in corpus.KINDS.values()
        for r in range(realizations)
    ]
    report: dict[str, Any] = {"slots": len(slots), "prompt_budget": model.prompt_budget}
    with Sandbox(workers=workers) as box:
        for temperature, samples in ((1.0, num_samples), (0.0, 1)):
            made = decide(model, box, slots, temperature=temperature, num_samples=samples)
            report[f"temperature_{temperature:g}"] = {
                "samples": len(made),
                "ran": float(np.mean([d.status == "ok" for d in made])),
                "valid": float(np.mean([d.valid for d in made])),
                "distinct_programs": len({d.code for d in made}),
                "mean_tokens": float(np.mean([d.completion_tokens for d in made])),
                "seconds_per_completion": float(np.mean([d.seconds.generate for d in made])),
            }
    return report
