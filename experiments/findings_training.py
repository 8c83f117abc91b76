"""What the rows say of the claims about training, Tables V and VIII, Figure 2."""

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments import findings_code, findings_rows, shares
from experiments.ablation_tables import PAPER_VALID_PERCENT
from experiments.dynamics import RAISED, ends
from experiments.findings_rows import (
    FAILS,
    HOLDS,
    PAPER_STEPS,
    PARTLY,
    TRAINED_MODEL,
    UNTESTED,
    Finding,
    at,
    has,
    rows,
)
from experiments.report_numbers import interval

_PLAIN = "scaling_plain.csv"
_STAGE = "completion: "
_ALL = 0.99  # share that is said to be all
_SMALL = "For the small model that ships here, which is no code model; for the paper's: "
_SMALL += f"{TRAINED_MODEL[0].lower()}{TRAINED_MODEL[1:]}."
_TEXT = "Text, SFT then GRPO"


def _ablation() -> tuple[pd.DataFrame, str]:
    """Rows over seeds at the size of the training, in plain, by method; and where that is."""
    found = rows("ablation.csv", "experiments.ablation")
    found = found[found["agent_seed"].isna()]
    setting, size = found["setting"].iloc[0], found["size"].iloc[0]
    own = found[(found["setting"] == setting) & (found["size"] == size)]
    return own.set_index("method"), f"({size}) in `{setting}`"


def _gaps(own: pd.DataFrame, names: Sequence[str], what: str) -> str:
    """Gaps in percent of those that are there."""
    halves = what.replace("_percent", "_half_percent")
    return ", ".join(
        f"{name!r} {interval(own.loc[name, what], own.loc[name, halves])} %"
        for name in names
        if name in own.index
    )


def _valid(own: pd.DataFrame, names: Sequence[str]) -> str:
    """Valid answers in percent of those that are there, with what their intervals are over."""
    found = {name: shares.valid(own.loc[name]) for name in names if name in own.index}
    return ", ".join(f"{name!r} {s.text(' %')}, {s.counted}" for name, s in found.items())


def validity() -> Finding:
    """Raw answers before and after GRPO, and mappings in text after SFT and GRPO."""
    own, where = _ablation()
    code = findings_code.longest() if has(findings_code.FILE) else pd.DataFrame()
    text = rows("text_validity.csv")
    text = text[text["samples"] > 0]
    free, bound = (text[text["constrained"].astype(bool) == kind] for kind in (False, True))
    after_grpo, after_any = (free["model"].str.contains(word) for word in ("GRPO", "after"))
    trained, untrained = free[after_grpo], free[~after_any]
    large = rows("ablation.csv")
    large = large[(large["method"] == _TEXT) & large["skipped"].notna()]
    why = f" At scale I there is none: {large['skipped'].iloc[0]}." if len(large) else ""
    words = _valid(own, ("Text, SFT alone", _TEXT))
    words = f"Of its mappings are valid {words}." if words else _no_text()
    after = [own.loc["Full reward", "raw_valid_percent"] / 100]
    after += [code.loc[findings_code.DIRECT, "valid"]] if findings_code.DIRECT in code.index else []
    all_valid = [share >= _ALL for share in after]
    less = _TEXT in own.index and own.loc[_TEXT, "raw_valid_percent"] < 100 * _ALL
    real = ""
    if len(code):
        real = (
            f" {findings_code.MODEL}, sampled ({findings_code.counted(code)}), is valid in "
            f"{findings_code.shares(code, 'valid')}; what its answers are worth stands below, "
            "under GRPO without SFT."
        )
    holds = HOLDS if all(all_valid) and less else PARTLY
    return Finding(
        holds if any(all_valid) or less else _refuted("ablation"),
        f"{_SMALL} Of its sampled programs, at {where} before and after {_steps('ablation')} steps "
        f"of GRPO, are valid {_valid(own, ('Before GRPO', 'Full reward', 'Ranked form'))}.{real} "
        f"{words}{why} Mappings of the embedded model after SFT and GRPO are valid in "
        f"{_counts(trained)}; of those models that saw no mapping in {_counts(untrained)}. Where a "
        f"grammar bounds the sampling all are valid, trained or not: {_counts(bound)}.",
        ("ablation.csv", *((findings_code.FILE,) if real else ()), "text_validity.csv"),
    )


def _counts(own: pd.DataFrame) -> str:
    """Valid mappings, by size."""
    found = own.groupby("triple", sort=False)[["valid", "samples"]].sum().astype(int)
    return " and ".join(
        f"{row.valid} of {row.samples} at ({row.Index})" for row in found.itertuples()
    )


def _no_text() -> str:
    """By which command there would be mappings: that of the rows, with one variant more."""
    command = re.sub(r" --(out|resume)( [^-\s]\S*)?", "", _record("ablation")["command"])
    command = command.replace("--variants ", "--variants text ")
    return f"The variant in text is not in ablation.csv: `{command}` trains it with the others."


def code_text() -> Finding:
    """What the paper's two rows imply, and our own answers in text where there are some."""
    code, text = (at(_PLAIN, f"LLM ({kind})", scale="I") for kind in ("code", "text"))
    theirs = {"code": code["paper_mean"], "text": text["paper_mean"]}
    share = PAPER_VALID_PERCENT[_TEXT] / 100
    grouped = at(_PLAIN, "Grouped-KM", scale="I")["paper_mean"]
    optimum = at(_PLAIN, "Exact optimum", scale="I")["mean"]
    own, where = _ablation()
    words, verdict = "The variant in text is not in ablation.csv, as said above.", UNTESTED
    if _TEXT in own.index and pd.notna(own.loc[_TEXT, "gap_percent"]):
        ours = own.loc[["Full reward", _TEXT]]
        lead = ours.loc[_TEXT, "gap_percent"] - ours.loc["Full reward", "gap_percent"]
        half = float(np.hypot(*ours["gap_half_percent"].fillna(0.0)))
        if abs(lead) > half:
            verdict = PARTLY if lead > 0 else _refuted("ablation")
        gaps = _gaps(own, ("Full reward", _TEXT), "gap_percent")
        words = (
            f"At {where}, repair off, ours are below the optimum by {gaps}: code leads by "
            f"{interval(lead, half)} %."
        )
    none = ""
    if isinstance(text["skipped"], str):
        none = f" At scale I our small model has none: {text['skipped'].removeprefix(_STAGE)}."
    worth = theirs["text"] / share
    beyond = "above" if worth > max(grouped, optimum) else "beside"
    return Finding(
        verdict,
        f"In the paper text is {100 * (1 - theirs['text'] / theirs['code']):.0f} % below code. If "
        f"its invalid answers were worth nothing, the valid {100 * share:.0f} % would be worth "
        f"{worth:.0f} Mbit/s in the mean, {beyond} its own Grouped-KM ({grouped:.0f}) and our "
        f"exact optimum ({optimum:.0f}): they were worth something, or the share is one of "
        f"users; the paper does not say.{none} {words}",
        (_PLAIN, "ablation.csv"),
    )


def _record(study: str) -> dict[str, Any]:
    """Of the run whose rows ship."""
    file = findings_rows.RESULTS / f"{study}.run.json"
    return json.loads(file.read_text(encoding="utf-8"))


def _steps(study: str) -> int:
    """Steps of the trainings whose rows ship."""
    return int(_record(study)["config"]["steps"])


def _so_far(study: str) -> str:
    """How much of the paper's training was done."""
    steps = _steps(study)
    whole = f"the paper's {PAPER_STEPS} steps"
    return whole if steps == PAPER_STEPS else f"{steps} of {whole}"


def _refuted(study: str) -> str:
    """The verdict where a claim does not hold: of the whole training, or of its first steps."""
    return FAILS if _steps(study) >= PAPER_STEPS else UNTESTED


def ablation() -> Finding:
    """Validity without each of the terms, beside what it was before."""
    own, where = _ablation()
    before = shares.valid(own.loc["Before GRPO"])
    names = [name for name in ("Without structure", "Without depth") if name in own.index]
    others = [name for name in own.index if name.startswith(("Without p", "Ranked"))]
    fallen = [name for name in names if shares.valid(own.loc[name]).high < before.low]
    shown = _valid(own, ("Before GRPO", "Full reward", *names, *others))
    gaps = _gaps(own, ("Before GRPO", "Full reward", *names, *others), "repaired_gap_percent")
    return Finding(
        HOLDS if len(fallen) == 2 else PARTLY if fallen else _refuted("ablation"),
        f"{_SMALL} Valid at {where} after {_so_far('ablation')}: {shown}. Below the beginning, "
        f"by more than their intervals, are: {', '.join(fallen) or 'none'}. The same answers "
        f"repaired are so far below the optimum: {gaps}.",
        ("ablation.csv",),
    )


def dynamics() -> Finding:
    """Validity by weighting at both ends, and whose interval is the first to clear a level."""
    found = rows("dynamics.csv", "experiments.dynamics")
    valid = ends(found, "valid")
    level = 0.95 * valid["last"].max()
    part = found[found["part"] == "valid"]
    part = part.assign(low=part["mean"] - part["mean_half"].fillna(0.0))
    curves = part.pivot(index="step", columns="method", values="low")
    soon = {name: _first(curves[name], level) for name in curves}
    reached = {name: step for name, step in soon.items() if step is not None}
    fastest = [name for name, step in reached.items() if step == min(reached.values())]
    expected = (RAISED["structure"], RAISED["depth"])
    when = ", ".join(f"{name} at step {reached[name]}" for name in expected if name in reached)
    own = valid.loc[RAISED["performance"]]
    collapsed = own["last"] + own["last_half"] < own["first"]
    quick = set(fastest) == set(expected)
    left = (
        ""
        if quick
        else f" Of those expected: {when or 'none'}. Which is fastest so few seeds leave open."
    )
    lows, highs = valid["last"] - valid["last_half"], valid["last"] + valid["last_half"]
    overlap = "some are apart" if lows.max() > highs.min() else "their intervals overlap"
    shown = "; ".join(
        f"{name} {interval(100 * row['last'], 100 * row['last_half'])} %"
        for name, row in valid.iterrows()
    )
    return Finding(
        HOLDS if quick and collapsed else PARTLY if quick or collapsed else _refuted("dynamics"),
        f"{_SMALL} In {_so_far('dynamics')}, {found['seeds'].max()} seeds each, the share of valid "
        f"answers goes from {100 * valid['first'].min():.0f} to {100 * valid['first'].max():.0f} % "
        f"to: {shown}; {overlap}. With performance weighted up "
        f"it {'falls' if collapsed else 'does not fall'}. First above {100 * level:.0f} % (95 % of "
        f"the highest) with all of its interval: {', '.join(fastest) or 'none'}.{left}",
        ("dynamics.csv",),
    )


def _first(curve: pd.Series, level: float) -> int | None:
    """The first step from which a curve is at a level."""
    above = curve.index[curve >= level]
    return int(above[0]) if len(above) else None
