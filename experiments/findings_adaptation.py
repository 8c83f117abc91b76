"""What the rows say of the claims about adaptation, Table VII."""

import pandas as pd

from experiments.findings_rows import FAILS, HOLDS, PARTLY, Finding, milliseconds, rows
from experiments.report_numbers import interval, number

_LOST = 1.0  # percent of the best that may be lost without being said to be lost
_NOTHING = 0.005  # percent that are none
_BOUND = "below the optimum or, in coupled, an upper bound"


def adaptation() -> Finding:
    """What the prompt alone keeps, and what solvers, agents and searches keep unchanged."""
    moved = _moved()
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
        f"{count} moves; {_most_lost(model)}. But a solver need not be "
        f"rebuilt for a size or a setting: a linear assignment on the objective's values {solver}. "
        f"PPO with a joint head cannot run after {len(ends_at)} moves ({ended}), and loses at "
        f"least {_LOST:.0f} % after {worse}, DQN after {other_ends} and {other_worse}; trained "
        f"there PPO takes "
        f"{number(trained['adapt_s'].median(), 2)} s and "
        f"{number(trained['adapt_samples'].median(), 3)} steps, where it fits at all. PPO that "
        f"serves one user at a time runs everywhere unchanged and is at most "
        f"{_worst(sequential, 'gap_percent')} {_BOUND}; the best program there is "
        f"{_beside(moved, sequential)} below it. Local search, which only evaluates "
        f"the objective, is at most {_worst(search, 'gap_percent')} below without any change, "
        f"where the best program is {_beside(moved, search)} below. At "
        f"the slowest place a decision of the model takes {_slowest(moved, 'LLM (code)')} in the "
        f"median, one of the best program {_slowest(moved, 'Best program')}.",
        ("adaptation.csv",),
    )


def recomputed() -> Finding:
    """Where an assignment on the rates and differential evolution do with what home had."""
    moved = _moved()
    count = moved["move"].nunique()
    matrix, evolution, best = (
        _by_move(moved, name) for name in ("LAP on rates", "Differential evolution", "Best program")
    )
    same = int((matrix["lines_changed"] == 0).sum())
    behind = evolution["gap_percent"] - best["gap_percent"].reindex(evolution.index)
    retuned = list(behind.index[behind >= _LOST])
    named = ", ".join(
        f"{_percent(evolution.loc[move], 'gap')} ('{move}'; best program "
        f"{_percent(best.loc[move], 'gap')})"
        for move in retuned
    )
    tuned = f"is at least {_LOST:.0f} % behind the best program in {len(retuned)}"
    return Finding(
        HOLDS if len(retuned) == count else PARTLY if retuned else FAILS,
        "A matrix of rates is computed for every slot, at home too, so that this is no adaptation: "
        f"an assignment on the rates keeps all of its lines in {same} of {count} moves, and "
        f"takes at most {_slowest(moved, 'LAP on rates')} a decision. Differential evolution with "
        f"home's options {tuned}{named and f', {_BOUND} by {named}'}; in the other "
        f"{count - len(retuned)} it needs no tuning.",
        ("adaptation.csv",),
    )


def _moved() -> pd.DataFrame:
    found = rows("adaptation.csv", "experiments.adaptation")
    return found[found["move"] != "home"]


def _by_move(moved: pd.DataFrame, method: str) -> pd.DataFrame:
    return moved[moved["method"] == method].set_index("move")


def _slowest(moved: pd.DataFrame, method: str) -> str:
    return milliseconds(_by_move(moved, method)["seconds"].max())


def _percent(row: pd.Series, what: str) -> str:
    return f"{interval(max(row[f'{what}_percent'], 0.0), row[f'{what}_half_percent'])} %"


def _worst(own: pd.DataFrame, column: str = "lost_percent") -> str:
    move = own[column].idxmax()
    return f"{_percent(own.loc[move], column.removesuffix('_percent'))} ('{move}')"


def _most_lost(own: pd.DataFrame) -> str:
    if own["lost_percent"].max() < _NOTHING:
        return "it loses nothing in any move"
    return f"the most that it loses is {_worst(own)}"


def _beside(moved: pd.DataFrame, own: pd.DataFrame) -> str:
    """The best program's gap where a method's is the largest."""
    move = own["gap_percent"].idxmax()
    return _percent(_by_move(moved, "Best program").loc[move], "gap")
