"""How many mappings are valid, with and without constrained decoding: models x triples.

`python -m benchmarks.text_validity --models embedded before=FOLDER after=FOLDER` asks each model
for mappings of freshly sampled slots, one sample per slot, the same slots for all. A row says how
many were valid, before any repair, and what the valid ones are worth. Rows are written as CSV as
they come; those of other models in the file stay. docs/language_models.md shows them.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd
import tyro
from scipy.stats import binomtest

import lsajax as lsa
from llm.decision.mapping import CompletionTooLongError
from llm.decision.policy import Decision, decide
from llm.models import Model, load_model
from llm.training.evaluator import best_values, evaluate
from lsajax.hashing import named_key


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured.

    Attributes:
        models: see `llm.models.load_model`, with a name for the rows before it where it needs one:
            NAME=MODEL.
        triples: registered users, channels and requesting users, or the name of a scale.
        setting: of `lsajax.SETTINGS`.
        samples: slots of each triple.
        temperature: 0 is greedy.
        prompt_tokens: prompt budget; None takes the model's own.
        max_new_tokens: the most for a completion; None takes the model's own, or what a mapping
            needs.
        device: for checkpoints; None takes a GPU where there is one.
        dtype: likewise; None takes float32 on a CPU.
        seed: of slots and samples.
        out: file of the CSV.
    """

    models: tuple[str, ...] = ("embedded",)
    triples: tuple[str, ...] = ("5,5,2", "15,20,8")
    setting: str = "plain"
    samples: int = 16
    temperature: float = 1.0
    prompt_tokens: int | None = None
    max_new_tokens: int | None = None
    device: str | None = None
    dtype: str | None = None
    seed: int = 0
    out: pathlib.Path = pathlib.Path("results/benchmarks/text_validity.csv")


def scenario(triple: str, setting: str) -> lsa.Scenario:
    """The scenario of "15,20,8" or of "I", in a setting.

    Raises:
        ValueError: neither three numbers nor a scale, or an unknown setting.
    """
    if setting not in lsa.SETTINGS:
        raise ValueError(f"setting must be one of {', '.join(lsa.SETTINGS)}, got {setting!r}")
    if triple in lsa.SCALES:
        return lsa.SCALES[triple].replace(**lsa.SETTINGS[setting])
    try:
        users, channels, active = map(int, triple.split(","))
    except ValueError:
        accepted = f"three numbers as in 15,20,8 or one of {', '.join(lsa.SCALES)}"
        raise ValueError(f"triples must be {accepted}, got {triple!r}") from None
    made = lsa.Scenario(num_users=users, num_channels=channels, num_active=active)
    return made.replace(**lsa.SETTINGS[setting])


def row(model: Model, insts: Sequence[lsa.Instance], constrained: bool, config: Config) -> dict:
    """What came of one sample for each slot, or why there is none."""
    try:
        made = decide(
            model,
            None,
            insts,
            paradigm="text",
            budget=config.prompt_tokens,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=config.seed,
            constrain=constrained,
        )
    except CompletionTooLongError as error:
        return {"tokens_needed": error.tokens, "skipped": str(error)}
    except ValueError as error:
        return {"skipped": f"prompt: {error}"}
    return _counts(made) | _worth(made, insts)


def _counts(made: Sequence[Decision]) -> dict[str, Any]:
    valid = int(sum(d.valid for d in made))
    interval = binomtest(valid, len(made)).proportion_ci(method="wilson")
    return {
        "samples": len(made),
        "valid": valid,
        "valid_low": interval.low,
        "valid_high": interval.high,
        "mapped": sum(d.status == "ok" for d in made),
        "truncated": sum(d.finish_reason == "length" for d in made),
        "prompt_tokens": np.mean([d.prompt_tokens for d in made]),
        "completion_tokens": np.mean([d.completion_tokens for d in made]),
        "seconds": np.mean([d.seconds.generate for d in made]),
    }


def _worth(made: Sequence[Decision], insts: Sequence[lsa.Instance]) -> dict[str, float]:
    """Mean gain of valid mappings, 0 for random ones and 1 for the optimum, and its error."""
    pairs = [(inst, d.raw) for inst, d in zip(insts, made, strict=True) if d.valid]
    if not pairs:
        return {}
    valid, raws = zip(*pairs, strict=True)
    gain = evaluate(valid, raws, best=best_values(valid).tolist()).gain
    error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else np.nan
    return {"gain": float(gain.mean()), "gain_error": float(error)}


def main(config: Config) -> None:
    """Writes a row as it comes."""
    scenarios = {triple: scenario(triple, config.setting) for triple in config.triples}
    for named in config.models:
        label, _, spec = named.rpartition("=")
        options: dict[str, Any] = {}
        if not spec.startswith(("http://", "https://")):
            options = {"device": config.device, "dtype": config.dtype}
        model = load_model(spec, **options)
        for triple, own in scenarios.items():
            key = named_key(jax.random.key(config.seed), "text validity", triple)
            sample = jax.jit(lsa.sample_instance)
            insts = [sample(k, own) for k in jax.random.split(key, config.samples)]
            for constrained in (False, True):
                cell = {
                    "model": label or pathlib.Path(model.name).name,
                    "triple": triple,
                    "setting": config.setting,
                    "constrained": constrained,
                    "temperature": config.temperature,
                }
                found = cell | row(model, insts, constrained, config)
                _write(config.out, cell, found)
                print(", ".join(f"{name} {_shown(value)}" for name, value in found.items()))
    print(f"wrote {config.out}")


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _write(path: pathlib.Path, cell: dict[str, Any], found: dict[str, Any]) -> None:
    """The row in its cell's place in the file, or at its end."""
    rows = pd.read_csv(path, dtype={"triple": str}).to_dict("records") if path.is_file() else []
    same = [i for i, old in enumerate(rows) if all(old[name] == cell[name] for name in cell)]
    if same:
        rows[same[0]] = found
    else:
        rows.append(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.4g")


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.text_validity", description=__doc__))
