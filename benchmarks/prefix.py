"""Seconds that the reuse of a prefix's keys and values saves, at 1, 8 and 64 slots.

`python -m benchmarks.prefix --model FOLDER` asks one model for short completions of consecutive
slots of one network, one call for all slots of a turn, with and without reuse in turn. Prompts of
one turn are the slots after those of the turn before, as in use: each is new to the model. One
slot before them, which fills the prefix, is not counted.
"""

import dataclasses
import pathlib
import time
from typing import Any

import jax
import numpy as np
import tyro

import lsajax as lsa
from benchmarks import timing
from llm.decision.serialize import serialize
from llm.models import load_model
from llm.models.local import LocalModel


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured.

    Attributes:
        model: folder or hub name of a checkpoint.
        scale: of `lsajax.SCALES`.
        slots: prompts of a call.
        runs: turns for each entry of `slots`.
        new_tokens: of each completion; they cost the same either way.
        batch_size: sequences per forward pass.
        dtype: see `llm.models.local`.
        seed: of the network.
        quick: one slot and four, one turn.
        out: file of the figures.
    """

    model: str = "embedded"
    scale: str = "I"
    slots: tuple[int, ...] = (1, 8, 64)
    runs: tuple[int, ...] = (10, 3, 1)
    new_tokens: int = 8
    batch_size: int = 16
    dtype: str | None = None
    seed: int = 0
    quick: bool = False
    out: pathlib.Path = pathlib.Path("results/benchmarks/prefix.json")


def prompts(model: LocalModel, config: Config, count: int) -> list[str]:
    """Prompts of consecutive slots of one network."""
    scenario = lsa.SCALES[config.scale]
    key, traffic_key = jax.random.split(jax.random.key(config.seed))
    state = lsa.traffic.init(traffic_key, scenario)
    slot = jax.jit(lsa.slot_instance)
    made = []
    for i in range(count):
        inst = slot(key, scenario, state)
        made.append(serialize(inst, model.count_tokens, model.prompt_budget).text)
        state = lsa.traffic.step(jax.random.fold_in(traffic_key, i), scenario, state)
    return made


def measure(model: LocalModel, texts: list[str], runs: int, config: Config) -> dict[str, Any]:
    """Seconds of the turns with and without reuse, and whether the texts were the same."""
    count = (len(texts) - 1) // runs
    seconds: dict[bool, list[float]] = {False: [], True: []}
    same = True
    for turn in range(runs + 1):
        turn_texts = texts[1 + (turn - 1) * count : 1 + turn * count] if turn else texts[:1]
        made = {}
        for reuse in seconds:
            model.reuse_prefix = reuse
            start = time.perf_counter()
            made[reuse] = model.generate(turn_texts, max_new_tokens=config.new_tokens)
            seconds[reuse].append(time.perf_counter() - start)
        same &= [c.text for c in made[False]] == [c.text for c in made[True]]
    without, reused = (np.array(seconds[reuse][1:]) for reuse in (False, True))
    return {
        "slots": count,
        "turns": runs,
        "prompt_tokens": float(np.mean([model.count_tokens(text) for text in texts])),
        "without_s": float(np.median(without)),
        "with_s": float(np.median(reused)),
        "saved_s": float(np.median(without - reused)),
        "ratio": timing.ratio(without, reused),
        "same_texts": same,
    }


def main(config: Config) -> None:
    """Prints a line per number of slots, then writes all."""
    model = load_model(config.model, batch_size=config.batch_size, dtype=config.dtype)
    if not isinstance(model, LocalModel) or not model.reuse_prefix:
        raise SystemExit(f"{config.model} is no local model whose cache can be cut")
    sizes = ((1, 1), (4, 1)) if config.quick else tuple(zip(config.slots, config.runs, strict=True))
    record: dict[str, Any] = {"model": pathlib.Path(model.name).name, "results": []}
    for name in ("scale", "new_tokens", "batch_size", "dtype"):
        record[name] = getattr(config, name)
    for count, runs in sizes:
        texts = prompts(model, config, 1 + count * runs)
        record["results"].append(measure(model, texts, runs, config))
        found = record["results"][-1].items()
        print(", ".join(f"{name} {value}" for name, value in found), flush=True)
        timing.write(config.out, record)


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.prefix", description=__doc__))
