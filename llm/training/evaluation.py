"""What a model has learned: held-out slots by setting, objective, size, and time budget.

The repair is off. Validity, quality given validity, and the choice of a family are kept apart.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import special

import lsajax as lsa
from llm.decision import parse
from llm.decision.paradigm import paradigm_named
from llm.decision.serialize import serialize
from llm.inspect import Probe
from llm.models import Completion, Model
from llm.sandbox import Sandbox
from llm.training.evaluator import best_values, random_baselines
from llm.training.programs import PROGRAMS, UNKNOWN
from llm.training.prompts import Cell, Stream
from llm.training.rewards import Terms, score

__all__ = ["Cell", "evaluate", "held_out", "right_families", "summarise"]

CELL = ("setting", "objective", "size", "time_budget_s")
"""Columns that name a cell."""

TOLERANCE = 0.01
"""Share of the way from random to best that a family may lose to the best one and be right."""


def held_out(cell: Cell, realizations: int, seed: int) -> list[lsa.Instance]:
    """Instances of a cell that no training draws."""
    drawn = Stream([cell], realizations, seed=seed, purpose="held out")
    return [drawn[r] for r in range(realizations)]


def evaluate(
    model: Model,
    box: Sandbox | None,
    cells: Sequence[Cell],
    *,
    realizations: int = 4,
    num_samples: int = 4,
    seed: int = 0,
    temperature: float = 1.0,
    paradigm: str = "code",
    right: Mapping[Cell, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Raw answers on held-out instances: a greedy one of each, and samples; see `summarise`.

    Args:
        model: from `llm.models.load_model`, or one in training.
        box: runs the programs, each within its cell's time budget; may be None in the text
            paradigm.
        cells: what is asked; sizes and combinations may be new to the model.
        realizations: instances of each cell.
        num_samples: samples of each instance beside the greedy answer; 0 leaves them out.
        seed: of instances and sampling.
        temperature: of the samples.
        paradigm: "code" or "text"; a mapping has no family.
        right: the families that are right in each cell; None measures them, see `right_families`.

    Returns:
        A row per cell, instance and answer: `setting`, `objective`, `size`, `time_budget_s`,
        `realization`; `temperature`, 0 for greedy, and `sample`; `status`, `valid`; `gain`, 0 for
        the mean of random answers and 1 for the best, and `gap`, what is missing to the best value,
        relative, both of valid answers; `family`; `right`, valid and of a right family; the reward
        in the form ranked with its parts, `total`, `structure`, `performance`;
        `completion_tokens`, `truncated`, `program`.

    Raises:
        ValueError: a cell that is not known, or counts out of range.
    """
    if realizations < 1 or num_samples < 0:
        raise ValueError(
            "realizations must be at least 1 and num_samples at least 0, "
            f"got {realizations} and {num_samples}"
        )
    asked = paradigm_named(paradigm)
    if right is None and asked.runs_programs:
        right = right_families(box, cells, realizations=realizations, seed=seed)
    right = right or {}
    slots = {cell: held_out(cell, realizations, seed) for cell in cells}
    made = []
    for greedy in (True, False) if num_samples else (True,):
        made += _answers(
            model,
            slots,
            paradigm=paradigm,
            seed=seed,
            temperature=0.0 if greedy else temperature,
            num_samples=1 if greedy else num_samples,
        )
    instances = [slots[cell][r] for cell, r, *_ in made]
    scores = score(
        [completion.text for *_, completion in made],
        instances,
        box,
        paradigm=paradigm,
        terms=Terms(form="ranked"),
        budget_s=[cell.time_budget_s for cell, *_ in made] if asked.runs_programs else None,
    )
    scale = _anchors(instances)
    codes = [
        parse.code_block(completion.text).text if asked.runs_programs else None
        for *_, completion in made
    ]
    families = _families(box, codes)
    table = []
    for k, (cell, r, answer_temperature, sample, completion) in enumerate(made):
        valid, gain = bool(scores.valid[k]), float(scores.gain[k])
        table.append(
            {
                **{name: getattr(cell, name) for name in CELL},
                "realization": r,
                "temperature": answer_temperature,
                "sample": sample,
                "status": scores.status[k],
                "valid": valid,
                "gain": gain if valid else np.nan,
                "gap": (1 - gain) * scale[k] if valid else np.nan,
                "family": families[k],
                "right": valid and families[k] in right.get(cell, ()),
                "total": float(scores.total[k]),
                "structure": float(scores.structure[k]),
                "performance": float(scores.performance[k]),
                "completion_tokens": completion.completion_tokens,
                "truncated": completion.finish_reason == "length",
                "program": codes[k],
            }
        )
    return pd.DataFrame(table)


def _answers(
    model: Model,
    slots: Mapping[Cell, Sequence[lsa.Instance]],
    *,
    paradigm: str,
    seed: int,
    temperature: float,
    num_samples: int,
) -> list[tuple[Cell, int, float, int, Completion]]:
    """Cell, realisation, temperature, sample and completion of every answer."""
    places = [(cell, r) for cell, own in slots.items() for r in range(len(own))]
    texts = [
        serialize(
            slots[cell][r],
            model.count_tokens,
            model.prompt_budget,
            paradigm=paradigm,
            time_budget_s=cell.time_budget_s,
        ).text
        for cell, r in places
    ]
    made = model.generate(texts, temperature=temperature, seed=seed, num_samples=num_samples)
    rows = [(*place, temperature, k) for place in places for k in range(num_samples)]
    return [(*row, completion) for row, completion in zip(rows, made, strict=True)]


def right_families(
    box: Sandbox | None, cells: Sequence[Cell], *, realizations: int = 4, seed: int = 0
) -> dict[Cell, tuple[str, ...]]:
    """The families that are right in each cell, by running one program of each.

    Right is what is valid on all held-out instances within the time budget, and comes within
    `TOLERANCE` of the best of them on average; none where no program is valid. Which programs end
    in time is this machine's affair.
    """
    found = {}
    for cell in cells:
        slots = held_out(cell, realizations, seed)
        instances = [inst for inst in slots for _ in PROGRAMS]
        scores = score(
            [f"```python\n{code}```" for _ in slots for code in PROGRAMS.values()],
            instances,
            box,
            terms=Terms(form="ranked"),
            budget_s=cell.time_budget_s,
        )
        gain = np.where(scores.valid, scores.gain, -np.inf).reshape(len(slots), -1).mean(axis=0)
        good = np.isfinite(gain) & (gain >= gain.max() - TOLERANCE)
        found[cell] = tuple(np.array(list(PROGRAMS))[good].tolist())
    return found


def summarise(
    table: pd.DataFrame,
    by: Sequence[str] = (*CELL, "temperature"),
) -> pd.DataFrame:
    """A row per cell of `evaluate`'s table, with 95 % intervals.

    Those of shares are Wilson's with the instances as the number of trials, so that the samples of
    one prompt do not count as independent; those of the gap are t intervals over instances.

    Returns:
        The columns `by`; `instances`, `samples`; `valid`, `right` with `_low` and `_high`; `gap` of
        the valid answers with `gap_half`; `family`, the most frequent one, with `family_share`;
        `programs`, how many are different; means of the reward parts and of the tokens.
    """
    found = []
    for place, own in table.groupby(list(by), sort=False, dropna=False):
        keys = [*CELL, "realization"]
        instances = own.groupby(keys, dropna=False).ngroups
        row = dict(zip(by, place, strict=True)) | {"instances": instances, "samples": len(own)}
        for name in ("valid", "right"):
            share = float(own[name].mean())
            row[name] = share
            row[f"{name}_low"], row[f"{name}_high"] = wilson(share, instances)
        gaps = own.dropna(subset="gap").groupby(keys)["gap"].mean()
        row["gap"] = float(gaps.mean())
        half = special.stdtrit(max(len(gaps) - 1, 1), 0.975) * gaps.std() / np.sqrt(len(gaps))
        row["gap_half"] = float(half) if len(gaps) > 1 else np.nan
        counts = own["family"].value_counts()
        row |= {"family": counts.index[0], "family_share": counts.iloc[0] / len(own)}
        row["programs"] = own["program"].nunique()
        for name in ("total", "structure", "performance", "completion_tokens", "truncated"):
            row[name] = float(own[name].mean())
        found.append(row)
    return pd.DataFrame(found)


def wilson(share: float, trials: int) -> tuple[float, float]:
    """95 % score interval of a share."""
    z2 = float(special.ndtri(0.975)) ** 2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = np.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    # The share itself is within, which rounding forgets at 0 and 1.
    return min(share, max(0.0, float(middle - half))), max(share, min(1.0, float(middle + half)))


def _anchors(instances: Sequence[lsa.Instance]) -> np.ndarray:
    """How far random is from the best of each instance, relative to the best."""
    distinct = list({id(inst): inst for inst in instances}.values())
    best = np.asarray(best_values(distinct), float)
    far = best - np.asarray(random_baselines(distinct), float)
    place = {id(inst): k for k, inst in enumerate(distinct)}
    share = far / np.where(best == 0, 1.0, best)
    return share[[place[id(inst)] for inst in instances]]


def _families(box: Sandbox | None, codes: Sequence[str | None]) -> list[str]:
    """Of each program, or "unknown" where there is none."""
    if box is None or not any(codes):
        return [UNKNOWN] * len(codes)
    named = iter(Probe(box).families([code for code in codes if code is not None]))
    return [UNKNOWN if code is None else next(named) for code in codes]
