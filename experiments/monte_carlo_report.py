"""What `experiments.monte_carlo` shows: its table, its figures, and how far a run is."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lsajax as lsa
from experiments.monte_carlo_measure import DIFFERENCE, SHOWN, UNITS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from experiments.monte_carlo import Cell, Config
    from lsajax.accumulators import Summaries, Summary

QUANTILES = (0.05, 0.5, 0.95)


def name_of(axes: Mapping[str, Any]) -> str:
    """Of a combination of swept values; its folder, too."""
    return ",".join(f"{name}={value}" for name, value in axes.items()) or "all"


def table(
    config: "Config", cells: "Sequence[Cell]", found: "Sequence[Summaries]"
) -> "pd.DataFrame":
    """A row per cell, metric and method.

    Returns:
        The swept fields; `metric`, `unit`, `method`; `realizations`, and `missing`, those without
        a value; mean, half width of its 95 % t interval, standard deviation, smallest, largest,
        quantiles; difference to the first method with its half width, paired by realisation.
        `rate` pools users, which are not independent: it has no interval.
    """
    import pandas as pd

    rows = []
    for cell, summaries in zip(cells, found, strict=True):
        for metric in config.metrics:
            for method in config.methods:
                own = summaries[f"{metric}.{method}"]
                paired = summaries.get(f"{DIFFERENCE}.{metric}.{method}")
                rows.append(
                    {
                        **cell.axes,
                        "metric": metric,
                        "unit": _unit(metric, cell.job.scenario),
                        "method": SHOWN[method],
                        **_statistics(own),
                        "difference": float(paired.mean) if paired else math.nan,
                        "difference_half": float(paired.half_width()) if paired else math.nan,
                    }
                )
    return pd.DataFrame(rows)


def _unit(metric: str, scenario: lsa.Scenario) -> str:
    if metric == "objective":
        return "utility" if scenario.objective == "fair" else "Mbit/s"
    return UNITS[metric]


def _statistics(own: "Summary") -> dict[str, Any]:
    pooled = own.pooled()
    alone = own.count.ndim == 0
    quantiles = {f"q{100 * q:02.0f}": float(own.quantile(q)) for q in QUANTILES}
    return {
        "realizations": int((own.count + own.missing).max()),
        "missing": int(own.missing.sum()) if alone else 0,
        "mean": float(pooled.mean),
        "half": float(own.half_width()) if alone else math.nan,
        "std": float(pooled.variance**0.5),
        "smallest": float(pooled.smallest),
        "largest": float(pooled.largest),
        **quantiles,
    }


def write(results: "pd.DataFrame", path: pathlib.Path) -> None:
    """As Parquet, whole or not at all."""
    from lsajax.runs import provenance

    provenance.replace_file(path, results.to_parquet(index=False))


def print_table(config: "Config", results: "pd.DataFrame") -> None:
    """The means with their intervals, and the paired differences."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    axes = [column for column in results.columns if column in lsa.Scenario.__dataclass_fields__]
    least, most = results["realizations"].min(), results["realizations"].max()
    count = f"{most}" if least == most else f"{least} to {most}"
    shown = Table(
        title=f"Monte Carlo, {count} realisations, seed {config.seed}",
        caption="± half width of the 95 % t interval; differences are paired by realisation",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("Method", overflow="fold")
    first = SHOWN[config.methods[0]]
    for heading in ("Mean", f"Minus {first}", "5 %", "50 %", "95 %"):
        shown.add_column(heading, justify="right", overflow="fold")
    for place, block in results.groupby([*axes, "metric", "unit"], sort=False):
        *values, metric, unit = place
        where = [f"{name} {value}" for name, value in zip(axes, values, strict=True)]
        shown.add_row(f"[bold]{', '.join([*where, metric])}, {unit}[/]")
        for row in block.to_dict("records"):
            shown.add_row(
                row["method"],
                _number(row["mean"], row["half"]),
                _number(row["difference"], row["difference_half"]),
                *(_number(row[f"q{100 * q:02.0f}"]) for q in QUANTILES),
            )
        shown.add_section()
    console = Console()
    (console if console.is_terminal else Console(width=100)).print(shown)


def _number(value: float, half: float = math.nan) -> str:
    """To two digits of its half width, or to four of its own where it has none."""
    if math.isnan(value):
        return "–"
    if math.isnan(half) or half == 0:
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    places = max(0, 1 - math.floor(math.log10(half)))
    return f"{value:.{places}f} ± {half:.{places}f}"


def figures(
    config: "Config",
    cells: "Sequence[Cell]",
    results: "pd.DataFrame",
    found: "Sequence[Summaries]",
) -> list[str]:
    """A figure per sweep, at the first values of the others; and the rates' distribution."""
    from experiments import plotting

    names: list[str] = []
    swept = list(cells[0].axes)
    scalar = [metric for metric in config.metrics if metric != "rate"]
    for name in swept if scalar else ():
        own = results
        for other in swept:
            if other != name:
                own = own[own[other] == own[other].iloc[0]]
        stem = config.out / f"sweep_{name}"
        with plotting.figure(stem, columns=len(scalar)) as panels:
            for axes, metric in zip(panels, scalar, strict=True):
                of_metric = own[own["metric"] == metric]
                quantity = f"{metric} [{of_metric['unit'].iloc[0]}]"
                plotting.sweep_panel(axes, of_metric, name, quantity)
        names.append(f"{stem.name}.png")
    if "rate" in config.metrics:
        stem = config.out / "rates"
        with plotting.figure(stem, columns=1) as (axes,):
            plotting.cdf_panel(axes, _rates(config, found[0]), "Rate of a user [Mbit/s]")
            axes.set_title(name_of(cells[0].axes) if swept else "")
        names.append(f"{stem.name}.png")
    return names


def _rates(config: "Config", summaries: "Summaries") -> "dict[str, tuple[np.ndarray, np.ndarray]]":
    import numpy as np

    share = np.linspace(0, 1, 401)
    return {
        SHOWN[method]: (summaries[f"rate.{method}"].quantile(share), share)
        for method in config.methods
    }


def print_status(cells: "Sequence[Cell]") -> None:
    """A line per cell: how much is there, how fast it comes, when the last part came."""
    from lsajax.runs import montecarlo as on_disk

    for cell in cells:
        try:
            now = on_disk.status(cell.job.folder)
        except ValueError:
            print(f"{name_of(cell.axes)}: not begun")
            continue
        line = f"{name_of(cell.axes)}: {now.realizations} of {now.wanted} realisations"
        if now.realizations < now.wanted and not math.isnan(now.per_s):
            left = (now.wanted - now.realizations) / now.per_s
            line += f", {now.per_s:.3g} a second, some {left:.0f} s left"
        if not math.isnan(now.last_s):
            line += f"; the last part came {now.last_s:.0f} s ago"
        print(line)
