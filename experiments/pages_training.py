"""Tables of docs/ablations.md and docs/learning.md: adaptation, weightings, parts of the reward."""

import math

import pandas as pd

from experiments import learning, shares
from experiments.dynamics import ends
from experiments.report_numbers import interval, number

_MOST = {"structure": 0.4, "performance": 1.6}  # of the ranked form, `llm.training.terms`


def adaptation_table(summary: pd.DataFrame) -> str:
    """Markdown of a summary of the study of adaptation, and why a method has no number."""
    head = ["move", "method", "gap at home, %", "gap moved, %", "gap adapted, %", "lost, %"]
    head += ["lines", "prompt lines", "training, s", "samples", "ms"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    own = summary[(summary["move"] != "home") & (summary["method"] != "Random")]
    for row in own.to_dict("records"):
        moved = _percent(row["gap_percent"], row["gap_half_percent"])
        cells = [
            row["move"],
            row["method"],
            _percent(row["home_gap_percent"]),
            "N/A" if isinstance(row["skipped"], str) else moved,
            _percent(row["made_gap_percent"]),
            interval(row["lost_percent"], row["lost_half_percent"]),
            # What writes a program anew has no lines of its own that change.
            number(row["lines_changed"] if pd.isna(row["prompt_lines"]) else math.nan),
            number(row["prompt_lines"]),
            number(row["adapt_s"], 2),
            number(row["adapt_samples"]),
            number(1e3 * row["seconds"], 2),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    reasons = own.dropna(subset="skipped")
    listed = [
        f"- {row['method']}, {row['move']}: {row['skipped']}\n"
        for row in reasons.to_dict("records")
    ]
    more = "\nN/A:\n\n" + "".join(listed) if listed else ""
    return "\n".join(lines) + "\n" + more


def ablation_table(summary: pd.DataFrame) -> str:
    """Markdown of a summary of the ablation, seeds taken together."""
    head = ["setting", "N, M, K", "trained with", "valid, %", "n", "worst seed, %"]
    head += ["gap, %", "gap repaired, %", "training of a seed, s", "paper, valid %"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    own = summary[summary["agent_seed"].isna()]
    for row in own.to_dict("records"):
        skipped = isinstance(row["skipped"], str)
        valid = shares.valid(row)
        cells = [
            row["setting"],
            str(row["size"]).replace(",", ", "),
            row["method"],
            valid.text(),
            valid.counted,
            number(row["raw_valid_low_percent"], 3),
            "N/A" if skipped else _percent(row["gap_percent"], row["gap_half_percent"]),
            _percent(row["repaired_gap_percent"], row["repaired_gap_half_percent"]),
            number(row["training_s"], 2),
            number(row["paper_valid_percent"], 3),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    reasons = own.dropna(subset="skipped").drop_duplicates(["method", "skipped"])
    listed = [f"- {row['method']}: {row['skipped']}\n" for row in reasons.to_dict("records")]
    more = "\nN/A:\n\n" + "".join(listed) if listed else ""
    return "\n".join(lines) + "\n" + more


def dynamics_table(summary: pd.DataFrame) -> str:
    """Markdown of a summary of the dynamics: each part in the first and last stretch of steps."""
    parts = ("structure", "performance", "depth")
    head = ["weighting", *parts, "valid, %", "worst seed, %"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    found = {part: ends(summary, part) for part in (*parts, "valid")}
    valid = found["valid"]
    for name in valid.index:
        cells = [str(name)]
        cells += [_first_last(found[part].loc[name], 1.0) for part in parts]
        cells += [_first_last(valid.loc[name], 100.0), number(100 * valid.loc[name, "last_low"], 3)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _first_last(row: pd.Series, size: float) -> str:
    first = number(size * row["first"], 2)
    return f"{first} → {interval(size * row['last'], size * row['last_half'])}"


def _percent(value: float, half: float = float("nan")) -> str:
    shown = max(value, 0.0) if value == value else value
    return interval(shown, half) if half == half else number(shown, 3)


def reward_parts(table: pd.DataFrame) -> str:
    """Markdown of the rows of `experiments.learning`: parts of the ranked reward, of their most."""
    head = ["cells", "answers", *(f"{name}, % of {most}" for name, most in _MOST.items())]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for cells_of_group, way, means in learning.by_group(table, columns=tuple(_MOST)):
        row = [cells_of_group, way]
        for name, most in _MOST.items():
            share = means[name] / most
            row.append(learning.change(share.loc[learning.BASE], share.drop(learning.BASE), 100.0))
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"
