"""Summary, printed table and figure of the ablation, beside the paper's Table VIII."""

import pathlib
from typing import Any

import pandas as pd

from experiments import plotting, shares, tables
from experiments.ablation import NAMES, PAPER_SIZE, Answering, Config
from experiments.study import Study
from experiments.summary import mean_interval, summarise
from experiments.tables import Column

PAPER_MBPS = {NAMES["full"]: 26545.0, NAMES["text"]: 22893.0}
PAPER_VALID_PERCENT = {NAMES["full"]: 100.0, NAMES["text"]: 78.0}
PAPER_VALID_PERCENT |= {NAMES["no-structure"]: 0.0, NAMES["no-depth"]: 0.0}
"""Table VIII of the paper, scale I, repair off."""


def table(
    study: Study, models: list[Answering], spent: dict[str, list[float]], rows: pd.DataFrame
) -> pd.DataFrame:
    """A row per setting, size and kind of model, and one per seed behind it.

    Value, gap and validity are those of the raw answers; `repaired_gap_percent` is that of the same
    answers, repaired. Of a kind with seeds, intervals are over them; else over instances.
    """
    each = summarise(rows, axes=study.axes, reference=study.reference, paper={})
    each = each.set_index([*study.axes, "method"])
    made = []
    for cell in study.cells:
        place = tuple(cell.axes.values())
        for kind in dict.fromkeys(model.kind for model in models):
            own = [
                {
                    **cell.axes,
                    "method": kind,
                    **each.loc[(*place, model.raw_name)].to_dict(),
                    "repaired_gap_percent": each.loc[(*place, model.name), "gap_percent"],
                    "repaired_gap_half_percent": each.loc[(*place, model.name), "gap_half_percent"],
                    "seconds": each.loc[(*place, model.name), "seconds"],
                    "agent_seed": model.seed,
                    "seeds": 1,
                }
                for model in models
                if model.kind == kind
            ]
            made.append(_together(own, spent.get(kind, []), place))
            made += own if len(own) > 1 else []
        random = each.loc[(*place, study.reference)].to_dict()
        made.append({**cell.axes, "method": study.reference, **random, "agent_seed": None})
    columns = ["difference", "difference_half"]
    return pd.DataFrame(made).drop(columns=columns)


def _together(own: list[dict[str, Any]], spent: list[float], place: tuple[Any, ...]) -> dict:
    """The row of all seeds of a kind."""
    each = pd.DataFrame(own)
    row = {**own[0], "seeds": len(own), "agent_seed": None}
    if len(own) > 1:
        for mean, half in (
            ("mean", "mean_half"),
            ("gap_percent", "gap_half_percent"),
            ("raw_valid_percent", "raw_valid_half_percent"),
            ("repaired_gap_percent", "repaired_gap_half_percent"),
        ):
            row[mean], row[half] = mean_interval(each[mean])
        row["raw_valid_low_percent"] = each["raw_valid_percent"].min()
    if spent:
        row["training_s"] = sum(spent) / len(spent)
    if place == ("plain", PAPER_SIZE):
        row["paper_mean"] = PAPER_MBPS.get(row["method"], float("nan"))
        row["paper_valid_percent"] = PAPER_VALID_PERCENT.get(row["method"], float("nan"))
    return row


def print_table(config: Config, summary: pd.DataFrame) -> None:
    """Validity and value without the repair, and the gap with it."""
    shown = summary[summary["agent_seed"].isna()]
    found = [shares.valid(row) for row in shown.to_dict("records")]
    shown = shown.assign(low=[s.low for s in found], high=[s.high for s in found])
    columns = [
        Column("Valid,\n%", "raw_valid_percent", None, ".0f", ".1f"),
        Column("from", "low", None, ".0f", ".1f"),
        Column("to", "high", None, ".0f", ".1f"),
        Column("Worst\nseed, %", "raw_valid_low_percent", None, ".0f", ".1f"),
        Column("Mean", "mean", "mean_half", ".0f", ".1f"),
        Column("Gap, %", "gap_percent", "gap_half_percent", ".1f", ".1f"),
        Column("Repaired,\n%", "repaired_gap_percent", "repaired_gap_half_percent", ".1f", ".1f"),
        Column("Train,\ns", "training_s", None, ".0f", ".1f"),
        Column("Paper", "paper_mean", None, ".0f", ".0f"),
        Column("Paper,\nvalid", "paper_valid_percent", None, ".0f", ".0f"),
    ]
    for name in ("paper_mean", "paper_valid_percent", "training_s"):
        if name not in shown:
            shown = shown.assign(**{name: float("nan")})
    if "raw_valid_low_percent" not in shown:
        shown = shown.assign(raw_valid_low_percent=float("nan"))
    tables.print_columns(
        shown,
        axes=["setting", "size"],
        title=f"Terms of the reward, {config.model}, {config.steps} steps, repair off",
        columns=columns,
        caption=f"Mbit/s; ± half width of the 95 % t interval over {config.seeds} seeds, or over "
        "instances where there is one model",
        notes=[
            "Valid, from, to: its 95 % interval, over seeds, within 0 and 100; of a single model, "
            "or where all seeds agree, Wilson's of the answers. Repaired: the gap of the same "
            "answers after the repair. Train: of a seed."
        ],
    )


def figure(summary: pd.DataFrame, stem: pathlib.Path) -> None:
    """Validity, and gaps without and with the repair, by setting and size."""
    own = summary[summary["agent_seed"].isna()]
    place = own["setting"] + "\n" + own["size"].astype(str)
    names = list(own["method"].unique())
    found = [shares.valid(row) for row in own.to_dict("records")]
    bounds = {"low": [s.low for s in found], "high": [s.high for s in found]}
    panels = (
        ("raw_valid_percent", None, "Valid answers, repair off [%]"),
        ("gap_percent", "gap_half_percent", "Gap to the optimum, repair off [%]"),
        ("repaired_gap_percent", "repaired_gap_half_percent", "The same, repaired [%]"),
    )
    with plotting.figure(stem, columns=len(panels)) as axes:
        for ax, (value, half, title) in zip(axes, panels, strict=True):
            shown = own.assign(place=place, mean=own[value])
            shown = shown.assign(**(bounds if half is None else {"half": own[half]}))
            plotting.points_panel(ax, shown[shown["mean"].notna()], "place", title, order=names)
