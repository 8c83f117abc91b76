"""What the rows say of the claims about small scales, Tables III and IV."""

import pandas as pd

from experiments import small_scale
from experiments.findings_rows import (
    FAILS,
    HOLDS,
    PARTLY,
    TRAINED_MODEL,
    UNTESTED,
    Finding,
    at,
    gap,
    has,
    milliseconds,
    rows,
)
from experiments.report_numbers import number

_PLAIN, _SMALL = "scaling_plain.csv", "small_scale.csv"
_LATENCY = "latency.csv"
_SCALES = ("I", "II", "III")
_FLAT = 1.5  # times as long, up to which seconds are said not to grow


def _by_triple(method: str, column: str) -> pd.Series:
    found = rows(_SMALL, "experiments.small_scale")
    return found[found["method"] == method].set_index("triple")[column]


def small_quality() -> Finding:
    """The model that ships here beside random and evolution, and the paper's own rows."""
    paper = _by_triple("LLM (code)", "paper_mean") / _by_triple("Exhaustive", "paper_mean")
    above = {
        name: int((_by_triple("LLM (code)", "mean") > _by_triple(name, "mean")).sum())
        for name in ("Random", "Differential evolution")
    }
    ours = _by_triple("LLM (code)", "gap_percent")
    sort = _by_triple("Sorted matching", "gap_percent").abs().max()
    return Finding(
        UNTESTED,
        f"In the paper the model has {100 * paper.min():.0f} to {100 * paper.max():.0f} % of "
        f"Exhaustive. The small model that ships here is {ours.min():.1f} to {ours.max():.1f} % "
        f"below the optimum; it is above Random at {above['Random']} of {len(ours)} triples and "
        f"above differential evolution at {above['Differential evolution']}. Sorting both sides is "
        f"optimal at every triple (largest mean gap {number(sort, 2)} %). {TRAINED_MODEL}.",
        (_SMALL,),
    )


def small_rows() -> Finding:
    """Two exact methods on common instances, and the paper's rows above one of them."""
    ours = (_by_triple("Exhaustive", "mean") - _by_triple("Exact optimum", "mean")).dropna().abs()
    scale = _by_triple("Exact optimum", "mean").reindex(ours.index)
    return Finding(
        FAILS,
        f"{small_scale.contradictions()} Differences of some percent between its rows say nothing. "
        f"Here the two exact methods differ by at most "
        f"{number(100 * float((ours / scale).max()), 1)} %.",
        (_SMALL,),
    )


def evolution() -> Finding:
    """Differential evolution against random."""
    ours, theirs = (_by_triple("Differential evolution", c) for c in ("mean", "paper_mean"))
    random, paper = (_by_triple("Random", c) for c in ("mean", "paper_mean"))
    below = int((ours < random).sum())
    gaps = _by_triple("Differential evolution", "gap_percent")
    return Finding(
        HOLDS if below == len(ours) else FAILS if below == 0 else PARTLY,
        f"In the paper it is {100 * float((1 - theirs / paper).min()):.0f} to "
        f"{100 * float((1 - theirs / paper).max()):.0f} % below Random. A search that "
        "starts from random assignments and keeps the best cannot be, in the mean over common "
        f"instances, as long as its answers are feasible. Ours is below Random at {below} "
        f"of {len(ours)} triples, and {gaps.min():.2f} to {gaps.max():.2f} % below the "
        "optimum.",
        (_SMALL,),
    )


def memory() -> Finding:
    """Where the joint head is skipped."""
    reasons = _by_triple("PPO, joint", "skipped").dropna()
    trained = _by_triple("PPO, joint", "gap_percent").dropna()
    where = ", ".join(reasons.index) or "no triple"
    why = f" ({reasons.iloc[0].rstrip('.')})" if len(reasons) else ""
    names = set(reasons.index)
    exact = {"(12,15,6)", "(15,20,8)"} <= names
    other = at("agents_fading.csv", "PPO, sequential", size="III")
    more = " At (12,15,6) a machine with more memory would do, beyond it none." if exact else ""
    return Finding(
        HOLDS if exact and len(names) == 2 else PARTLY if names else FAILS,
        f"The paper's output layer is skipped at {where}{why}.{more} Elsewhere PPO is "
        f"{max(trained.min(), 0.0):.1f} to {trained.max():.1f} % below the optimum after "
        "its training. That is a property of this layer, not of reinforcement learning: PPO that "
        f"serves one user at a time is {gap(other)} below the optimum at scale III, with fading.",
        (_SMALL, "agents_fading.csv"),
    )


def flat() -> Finding:
    """Seconds by size, at the triples of Table IV and beyond, and by part of the model's."""
    found, files = _by_size()
    model = found[found["method"] == "LLM (code)"]
    first, last = model.iloc[0], model.iloc[-1]
    times = model["seconds"] / first["seconds"]
    beyond = model["size"].isin(_SCALES)
    here, there = times[~beyond].max(), times[beyond].max()
    verdict = HOLDS if max(here, there) <= _FLAT else PARTLY if here <= _FLAT else FAILS
    parts = (
        f" That is up to {here:.1f} times what it takes at {first['size']} at the sizes of Table "
        f"IV, and {there:.1f} times beyond them; up to {_FLAT} times is no growth here."
    )
    if {"decode_s", "execute_s"} <= set(model):
        took = [
            f"{milliseconds(first[part])} to {milliseconds(last[part])}"
            for part in ("decode_s", "execute_s")
        ]
        parts += (
            f" From {first['size']} to {last['size']} writing the program goes from {took[0]}, "
            f"executing it from {took[1]}."
        )
    spans = {name: _spans(found, name) for name in ("LLM (code)", "Exhaustive", "Exact optimum")}
    return Finding(
        verdict,
        f"The small model takes {spans['LLM (code)']}.{parts} Enumeration takes "
        f"{spans['Exhaustive']}, where it ends at all. But enumeration is not what a model has to "
        f"beat: the exact optimum takes {spans['Exact optimum']}, where the paper's model takes "
        "seconds.",
        files,
    )


def _by_size() -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows with seconds by `size`, of one quiet run where there is one, and their files."""
    if has(_LATENCY):
        found = rows(_LATENCY)
        return found[found["mean"].notna()], (_LATENCY,)
    small = rows(_SMALL, "experiments.latency").rename(columns={"triple": "size"})
    large = rows(_PLAIN).rename(columns={"scale": "size"})
    found = pd.concat([small, large], ignore_index=True)
    return found[found["mean"].notna()], (_SMALL, _PLAIN)


def _spans(found: pd.DataFrame, method: str) -> str:
    """From the least to the most seconds, triples apart from scales."""
    own = found[found["method"] == method]
    scale = own["size"].isin(_SCALES)
    shown = []
    for where, part in (("at the triples", own[~scale]), ("at scales", own[scale])):
        if part.empty:
            continue
        where += f" {part['size'].iloc[0]} to {part['size'].iloc[-1]}" if "scales" in where else ""
        low, high = milliseconds(part["seconds"].min()), milliseconds(part["seconds"].max())
        shown.append(f"{low} to {high} {where}")
    return " and ".join(shown)
