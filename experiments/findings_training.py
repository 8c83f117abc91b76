"""What the rows say of the claims about adaptation and training, Tables VII and VIII, Figure 2."""

import json
from collections.abc import Sequence

import pandas as pd

from experiments import findings_rows
from experiments.dynamics import RAISED, ends
from experiments.findings_rows import (
    FAILS,
    HOLDS,
    PARTLY,
    TRAINED_MODEL,
    UNTESTED,
    Finding,
    milliseconds,
    rows,
)
from experiments.report_numbers import interval, number

_SMALL = "For the small model that ships here, which is no code model; for the paper's: "
_SMALL += f"{TRAINED_MODEL[0].lower()}{TRAINED_MODEL[1:]}."
_TEXT = "Text, SFT then GRPO"
_PAPER_STEPS = 300
_LOST = 1.0  # percent of the best that may be lost without being said to be lost


def adaptation() -> Finding:
    """What the prompt alone keeps, and what solvers, agents and searches keep unchanged."""
    found = rows("adaptation.csv", "experiments.adaptation")
    moved = found[found["move"] != "home"]
    count = moved["move"].nunique()
    model, values = (_by_move(moved, name) for name in ("LLM, repair off", "LAP on values"))
    lines = _by_move(moved, "LLM (code)")["prompt_lines"]
    kept = int((model["lost_percent"] < _LOST).sum())
    joint, sequential = (_by_move(moved, name) for name in ("PPO, joint", "PPO, sequential"))
    ends_at = joint.index[joint["gap_percent"].isna()]
    worse = int((joint["lost_percent"] >= _LOST).sum())
    search = _by_move(moved, "Local search")
    other = _by_move(moved, "DQN, joint")
    other_ends = int(other["gap_percent"].isna().sum())
    other_worse = int((other["lost_percent"] >= _LOST).sum())
    trained = joint.dropna(subset="adapt_s")
    needs = values[values["lost_percent"] >= _LOST]
    rebuilt = "; ".join(
        f"in '{move}' it loses {_percent(row, 'lost')} until {row['lines_changed']:.0f} lines of "
        "it are others"
        for move, row in needs.iterrows()
    )
    solver = f"needs another line in {len(needs)} of {count} moves" + (rebuilt and f": {rebuilt}")
    ended = ", ".join(f"'{move}'" for move in ends_at)
    all_kept, agents_end = kept == count, len(ends_at) + worse == count
    return Finding(
        HOLDS if all_kept and agents_end else FAILS if kept < count / 2 else PARTLY,
        f"The embedded model, which was trained on these objectives and settings but for one "
        f"combination, gets a prompt that differs in {lines.min():.0f} to {lines.max():.0f} lines. "
        f"Its own greedy answers are within {_LOST:.0f} % of the best program in {kept} of "
        f"{count} moves; the most that it loses is {_worst(model)}. But a solver need not be "
        f"rebuilt for a size or a setting: a linear assignment on the objective's values {solver}. "
        f"PPO with a joint head cannot run after {len(ends_at)} moves ({ended}), and loses at "
        f"least {_LOST:.0f} % after {worse}, DQN after {other_ends} and {other_worse}; trained "
        f"there PPO takes "
        f"{number(trained['adapt_s'].median(), 2)} s and "
        f"{number(trained['adapt_samples'].median(), 3)} steps, where it fits at all. PPO that "
        f"serves one user at a time runs everywhere unchanged and is at most "
        f"{_worst(sequential, 'gap_percent')} below the best. Local search, which only evaluates "
        f"the objective, is at most {_worst(search, 'gap_percent')} below without any change. At "
        f"the slowest place a decision of the model takes {_slowest(moved, 'LLM (code)')} in the "
        f"median, one of the best program {_slowest(moved, 'Best program')}.",
        ("adaptation.csv",),
    )


def _by_move(moved: pd.DataFrame, method: str) -> pd.DataFrame:
    return moved[moved["method"] == method].set_index("move")


def _slowest(moved: pd.DataFrame, method: str) -> str:
    return milliseconds(_by_move(moved, method)["seconds"].max())


def _percent(row: pd.Series, what: str) -> str:
    return f"{interval(row[f'{what}_percent'], row[f'{what}_half_percent'])} %"


def _worst(own: pd.DataFrame, column: str = "lost_percent") -> str:
    move = own[column].idxmax()
    half = column.replace("_percent", "_half_percent")
    shown = interval(max(own.loc[move, column], 0.0), own.loc[move, half])
    return f"{shown} % ('{move}')"


def _ablation() -> tuple[pd.DataFrame, str]:
    """Rows over seeds at the size of the training, in plain, by method; and where that is."""
    found = rows("ablation.csv", "experiments.ablation")
    found = found[found["agent_seed"].isna()]
    setting, size = found["setting"].iloc[0], found["size"].iloc[0]
    own = found[(found["setting"] == setting) & (found["size"] == size)]
    return own.set_index("method"), f"({size}) in `{setting}`"


def _listed(own: pd.DataFrame, names: Sequence[str], what: str = "raw_valid") -> str:
    """Percents of those that are there."""
    return ", ".join(f"'{n}' {_percent(own.loc[n], what)}" for n in names if n in own.index)


def validity() -> Finding:
    """Raw answers before and after GRPO, and mappings in text after SFT and GRPO."""
    own, where = _ablation()
    text = rows("text_validity.csv")
    text = text[text["samples"] > 0]
    free, bound = (text[text["constrained"].astype(bool) == kind] for kind in (False, True))
    large = rows("ablation.csv")
    large = large[(large["method"] == _TEXT) & large["skipped"].notna()]
    why = f" At scale I there is none: {large['skipped'].iloc[0]}." if len(large) else ""
    words = _listed(own, ("Text, SFT alone", _TEXT))
    words = f"Of its mappings are valid {words}" if words else "Mappings were not trained yet"
    programs = own.loc["Full reward", "raw_valid_percent"] >= 99
    less = _TEXT in own.index and own.loc[_TEXT, "raw_valid_percent"] < 99
    return Finding(
        HOLDS if programs and less else PARTLY if less else _refuted("ablation"),
        f"{_SMALL} At {where} {own.loc['Before GRPO', 'raw_valid_percent']:.0f} % of its sampled "
        f"programs are valid before GRPO; after {_steps('ablation')} steps of it "
        f"{_listed(own, ('Full reward', 'Ranked form'))}. {words}.{why} Validity needs no "
        f"training: of mappings of {text['model'].nunique()} small models "
        f"{free['valid'].sum():.0f} of {free['samples'].sum():.0f} are valid, and "
        f"{bound['valid'].sum():.0f} of {bound['samples'].sum():.0f} where a grammar bounds the "
        "sampling.",
        ("ablation.csv", "text_validity.csv"),
    )


def _steps(study: str) -> int:
    """Steps of the trainings whose rows ship."""
    record = json.loads((findings_rows.RESULTS / f"{study}.run.json").read_text(encoding="utf-8"))
    return int(record["config"]["steps"])


def _refuted(study: str) -> str:
    """The verdict where a claim does not hold: of the whole training, or of its first steps."""
    return FAILS if _steps(study) >= _PAPER_STEPS else UNTESTED


def ablation() -> Finding:
    """Validity without each of the terms, beside what it was before."""
    own, where = _ablation()
    before = own.loc["Before GRPO", "raw_valid_percent"]
    names = [name for name in ("Without structure", "Without depth") if name in own.index]
    others = [name for name in own.index if name.startswith(("Without p", "Ranked"))]
    high = own["raw_valid_percent"] + own["raw_valid_half_percent"].fillna(0.0)
    fallen = [name for name in names if high[name] < before]
    shown = _listed(own, ("Full reward", *names, *others))
    gaps = _listed(own, ("Before GRPO", "Full reward", *names, *others), "repaired_gap")
    seeds = int(own.loc["Full reward", "seeds"])
    return Finding(
        HOLDS if len(fallen) == 2 else PARTLY if fallen else _refuted("ablation"),
        f"{_SMALL} Valid at {where} after {_steps('ablation')} of the paper's {_PAPER_STEPS} "
        f"steps, {seeds} seeds each, from {before:.0f} % before: {shown}. Below that beginning, "
        f"by more than their intervals, are: {', '.join(fallen) or 'none'}. The same answers "
        f"repaired are so far below the optimum: {gaps}.",
        ("ablation.csv",),
    )


def dynamics() -> Finding:
    """Validity by weighting at both ends, and how soon it is high."""
    found = rows("dynamics.csv", "experiments.dynamics")
    valid = ends(found, "valid")
    curves = found[found["part"] == "valid"].pivot(index="step", columns="method", values="mean")
    level = 0.95 * curves.iloc[-1].max()
    soon = {name: _first(curves[name], level) for name in curves}
    reached = {name: step for name, step in soon.items() if step is not None}
    fastest = [name for name, step in reached.items() if step == min(reached.values())]
    expected = {RAISED["structure"], RAISED["depth"]}
    own = valid.loc[RAISED["performance"]]
    collapsed = own["last"] + own["last_half"] < own["first"]
    quick = set(fastest) == expected
    lows, highs = valid["last"] - valid["last_half"], valid["last"] + valid["last_half"]
    overlap = "some are apart" if lows.max() > highs.min() else "their intervals overlap"
    shown = "; ".join(
        f"{name} {interval(100 * row['last'], 100 * row['last_half'])} %"
        for name, row in valid.iterrows()
    )
    return Finding(
        HOLDS if quick and collapsed else PARTLY if quick or collapsed else _refuted("dynamics"),
        f"{_SMALL} In {_steps('dynamics')} of the paper's {_PAPER_STEPS} steps, "
        f"{found['seeds'].max()} seeds each, the share of valid answers goes from "
        f"{100 * valid['first'].min():.0f} to "
        f"{100 * valid['first'].max():.0f} % to: {shown}; {overlap}. With performance weighted up "
        f"it {'falls' if collapsed else 'does not fall'}. First above {100 * level:.0f} %: "
        f"{', '.join(fastest) or 'none'}.",
        ("dynamics.csv",),
    )


def _first(curve: pd.Series, level: float) -> int | None:
    """The first step from which a curve is at a level."""
    above = curve.index[curve >= level]
    return int(above[0]) if len(above) else None
