"""What a code model of 0.5 billion parameters says of GRPO without SFT, before and after."""

import pandas as pd

from experiments.code_model import ALL
from experiments.findings_rows import (
    FAILS,
    HOLDS,
    PAPER_STEPS,
    PARTLY,
    UNTESTED,
    Finding,
    NotMeasured,
    has,
    rows,
)
from experiments.report_numbers import interval

FILE, _TRAINING = "code_model.csv", "answers_code_model.csv"
BEFORE, DIRECT = "zero-shot", "GRPO"
MODEL = "[A code model](code_model.md) of 0.5 billion parameters"
_WHAT = {"valid": "Validity", "right": "Quality"}


def longest() -> pd.DataFrame:
    """Sampled answers over all cells by kind of training, of each kind that with the most steps.

    Returns:
        Rows of code_model.csv with their `steps`, 0 where the name says none; indexed by kind, the
        name without steps, such as "GRPO" of "GRPO, 60 steps".
    """
    found = rows(FILE, "experiments.code_model")
    own = found[(found["setting"] == ALL) & (found["temperature"] > 0)]
    parts = own["model"].str.extract(r"^(?P<kind>.+?)(?:, (?P<steps>\d+) steps?)?$")
    own = own.assign(kind=parts["kind"], steps=parts["steps"].fillna("0").astype(int))
    # A kind without its steps has 0, below any that says them.
    own = own.sort_values(["steps", "temperature"], kind="stable")
    own = own.drop_duplicates("kind", keep="last").set_index("kind")
    return own.loc[[kind for kind in parts["kind"].unique() if kind in own.index]]


def shares(found: pd.DataFrame, what: str) -> str:
    """Of each kind the share that is `valid` or `right`, with its interval."""
    return ", ".join(f"{row['model']!r} {_share(row, what)}" for _, row in found.iterrows())


def counted(found: pd.DataFrame) -> str:
    """What intervals are over."""
    answers, prompts = found["samples"].min(), found["instances"].min()
    return f"{answers:.0f} answers to {prompts:.0f} held-out prompts each"


def direct() -> Finding:
    """Validity and quality apart: GRPO alone beside the model before it, and beside SFT."""
    found = longest()
    if not {BEFORE, DIRECT} <= set(found.index):
        raise NotMeasured("experiments.code_model", f"With {BEFORE!r} and {DIRECT!r} models.")
    steps = int(found.loc[DIRECT, "steps"])
    held = [_learned(found, what) and not _behind(found, what) for what in _WHAT]
    refuted = FAILS if steps >= PAPER_STEPS else UNTESTED
    parts = " ".join(
        f"{name} ({what}): {shares(found, what)}. {_said(found, what)}"
        for what, name in _WHAT.items()
    )
    gaps = ", ".join(f"{row['model']!r} {_gap(row)}" for _, row in found.iterrows())
    return Finding(
        HOLDS if all(held) else PARTLY if any(held) else refuted,
        f"{MODEL}, one training of each kind, {steps} of the paper's {PAPER_STEPS} steps of GRPO, "
        f"sampled with the repair off ({counted(found)}). {parts} Right is of a family "
        "that comes within 1 % of the way from random to best. Valid answers are below the "
        f"optimum by: {gaps}.{_in_training()}",
        (FILE, *((_TRAINING,) if _in_training() else ())),
    )


def _learned(found: pd.DataFrame, what: str) -> bool:
    """Whether GRPO's interval is above that of the model before."""
    return bool(found.loc[DIRECT, f"{what}_low"] > found.loc[BEFORE, f"{what}_high"])


def _behind(found: pd.DataFrame, what: str) -> bool:
    """Whether GRPO's interval is below that of a training with SFT."""
    with_sft = found[found.index.str.startswith("SFT")]
    return bool((with_sft[f"{what}_low"] > found.loc[DIRECT, f"{what}_high"]).any())


def _said(found: pd.DataFrame, what: str) -> str:
    raised = "raises" if _learned(found, what) else "does not raise"
    said = f"GRPO alone {raised} it by more than the intervals"
    if not found.index.str.startswith("SFT").any():
        return f"{said}."
    beside = (
        "is below that of a training with SFT"
        if _behind(found, what)
        else "overlaps those with SFT"
    )
    return f"{said}; its interval {beside}."


def _share(row: pd.Series, what: str) -> str:
    low, high = 100 * row[f"{what}_low"], 100 * row[f"{what}_high"]
    return f"{100 * row[what]:.0f} % ({low:.0f} to {high:.0f})"


def _gap(row: pd.Series) -> str:
    if pd.isna(row["gap"]):
        return "– (none is valid)"
    return f"{interval(max(100 * row['gap'], 0.0), 100 * row['gap_half'])} %"


def _in_training() -> str:
    """What answers were at both ends of the training by GRPO alone; nothing without those rows."""
    if not has(_TRAINING):
        return ""
    own = rows(_TRAINING)
    own = own[own["model"].str.match(rf"{DIRECT}\b")].sort_values("first", kind="stable")
    if own.empty:
        return ""
    ends = " to ".join(
        f"{_share(row, 'valid')} in steps {row['first']} to {row['last']}"
        for _, row in own.iloc[[0, -1]].iterrows()
    )
    gain = " to ".join(
        interval(row["gain"], row["gain_half"]) for _, row in own.iloc[[0, -1]].iterrows()
    )
    return (
        f" In training the valid answers went from {ends}, their gain (0 is random, 1 the best) "
        f"from {gain}."
    )
