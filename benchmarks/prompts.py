"""How long prompts are, and how much of them two slots share: budgets x details x settings.

`python -m benchmarks.prompts [--model MODEL]` writes the prompts of two slots of one network,
counts them with the model's own tokenizer, and prints the tokens that they share from their start:
what a prefix cache keeps from slot to slot. Rows are written as CSV; docs/language_models.md shows
them.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import pandas as pd
import tyro

import lsajax as lsa
from llm.decision.serialize import serialize
from llm.decision.slot import HostSlot, host_slot
from llm.models import load_model

CELLS: dict[str, dict[str, Any]] = {
    "plain, throughput": {},
    "fading, throughput": {"fading": True},
    "fading, fair": {"fading": True, "objective": "fair"},
    "multipath, coupled": {"multipath": True, "objective": "coupled"},
    "wideband, coupled, weights, needs": {
        "wideband": True,
        "objective": "coupled",
        "weight_max": 10.0,
        "min_rate_bps": 1e8,
        "min_rate_value": 1e6,
    },
}
"""Name -> what it changes in a scenario; the last has most to say before any detail."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The benchmark of prompts.

    Args:
        model: whose tokenizer counts; see `python -m experiments.scaling --help`.
        scale: scale of Table V.
        budgets: prompt tokens.
        details: shares of the budget for numbers of users and channels.
        out: file of the CSV.
    """

    model: str = "embedded"
    scale: str = "II"
    budgets: tuple[int, ...] = (512, 1024, 2048, 4096)
    details: tuple[float, ...] = (0.0, 1 / 32, 1.0)
    out: pathlib.Path = pathlib.Path("results/benchmarks/prompts.csv")


def two_slots(scenario: lsa.Scenario, seed: int = 0) -> tuple[HostSlot, HostSlot]:
    """A slot of a network, and the one after it."""
    key, traffic_key = jax.random.split(jax.random.key(seed))
    state = lsa.traffic.init(traffic_key, scenario)
    after = lsa.traffic.step(traffic_key, scenario, state)
    one, other = (host_slot(lsa.slot_instance(key, scenario, s)) for s in (state, after))
    return one, other


def rows(
    scale: str, count_tokens: Callable[[str], int], config: Config
) -> Iterator[dict[str, Any]]:
    """A row per cell, budget and detail."""
    for cell, changes in CELLS.items():
        slots = two_slots(lsa.SCALES[scale].replace(**changes))
        for budget in config.budgets:
            for detail in config.details:
                row = {"scale": scale, "cell": cell, "budget": budget, "detail": detail}
                try:
                    one, other = (
                        serialize(slot, count_tokens, budget, detail=detail) for slot in slots
                    )
                except ValueError as error:
                    yield row | {"refused": str(error)}
                    continue
                shared = _common_start(one.text, other.text)
                # Of the text alone: the chat template begins and ends both prompts.
                template = count_tokens("")
                shared_tokens = count_tokens(shared) - template
                yield row | {
                    "tokens": other.tokens,
                    "shared_tokens": shared_tokens,
                    "shared": shared_tokens / (other.tokens - template),
                    "static": other.static_share,
                    "levels": " ".join(other.levels),
                }


def _common_start(one: str, other: str) -> str:
    pairs = zip(one, other, strict=False)
    return "".join(a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def main(config: Config) -> None:
    """Prints a row as it comes, then writes all."""
    model = load_model(config.model)
    found = []
    for row in rows(config.scale, model.count_tokens, config):
        shown = row.get("refused") or f"{row['tokens']} tokens, {row['shared']:.2f} shared"
        print(f"{row['cell']}, budget {row['budget']}, detail {row['detail']:.2g}: {shown}")
        found.append({"tokenizer": pathlib.Path(model.name).name, **row})
    config.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(found).to_csv(config.out, index=False, float_format="%.4f")
    print(f"wrote {config.out}")


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.prompts", description=__doc__))
