"""What the rows say of the claims about small scales, Tables III and IV."""

import pandas as pd

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
_SCALES = ("I", "II", "III")


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
    """Two exact methods on common instances."""
    ours = (_by_triple("Exhaustive", "mean") - _by_triple("Exact optimum", "mean")).dropna().abs()
    scale = _by_triple("Exact optimum", "mean").reindex(ours.index)
    km, all_ = (_by_triple(m, "paper_mean") for m in ("Exact optimum", "Exhaustive"))
    dqn = _by_triple("DQN, joint", "paper_mean")
    below, both = int((km < all_).sum()), int((km.notna() & all_.notna()).sum())
    above = ", ".join(dqn.index[dqn > all_])
    return Finding(
        FAILS,
        f"Both are exact: on common instances they differ by at most "
        f"{number(100 * float((ours / scale).max()), 1)} %, and nothing exceeds them. In the "
        f"paper Kuhn-Munkres is below Exhaustive at {below} "
        f"of {both} triples, by up to "
        f"{100 * float((1 - km / all_).max()):.0f} %, and DQN above it at {above}: its rows cannot "
        "be of the same instances, and differences of some percent between them say nothing.",
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
    return Finding(
        HOLDS if exact and len(names) == 2 else PARTLY if names else FAILS,
        f"The paper's output layer is skipped at {where}{why}; elsewhere PPO is "
        f"{max(trained.min(), 0.0):.1f} to {trained.max():.1f} % below the optimum after "
        "its training. That is a property of this layer, not of reinforcement learning: PPO that "
        f"serves one user at a time is {gap(other)} below the optimum at scale III, with fading.",
        (_SMALL, "agents_fading.csv"),
    )


def flat() -> Finding:
    """Seconds by size."""
    file = "latency.csv" if has("latency.csv") else _SMALL
    found = rows(file, "experiments.latency")
    spans = {}
    for method in ("LLM (code)", "Exhaustive", "Exact optimum"):
        own = found[(found["method"] == method) & found["mean"].notna()]["seconds"]
        spans[method] = f"{milliseconds(own.min())} to {milliseconds(own.max())}"
    model, optimum = (at(_PLAIN, name, scale="III") for name in ("LLM (code)", "Exact optimum"))
    return Finding(
        PARTLY,
        f"The small model takes {spans['LLM (code)']} at the sizes of the rows and "
        f"{milliseconds(model['seconds'])} at scale III; enumeration {spans['Exhaustive']} where "
        "it ends at all. But enumeration is not what a model has to beat: the exact optimum takes "
        f"{spans['Exact optimum']}, and {milliseconds(optimum['seconds'])} at scale III, where the "
        "paper's model takes seconds.",
        (file, _PLAIN),
    )
