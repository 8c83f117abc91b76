"""Writes the tables of README and docs from docs/results: `python -m experiments.pages`.

A page holds a line `<!-- table: FILE.csv -->`; what follows is replaced, up to
`<!-- end of table -->`.
"""

import pathlib
import re
import sys

import pandas as pd

from experiments import learning, rewards

ROOT = pathlib.Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/results.md",
    "docs/choice.md",
    "docs/rewards_table.md",
    "docs/language_models.md",
    "docs/agents.md",
    "docs/learning.md",
)
_TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def scaling_table(summary: pd.DataFrame) -> str:
    """Markdown of a summary of the scaling study: a row per method, the paper's in brackets."""
    scales = list(summary["scale"].unique())
    last = scales[-1]
    head = [summary["unit"].iloc[0], *scales, f"gap at {last}, %", f"ms at {last}"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for method, own in summary.groupby("method", sort=False):
        own = own.set_index("scale")
        end = own.loc[last]
        cells = [str(method)]
        for scale in scales:
            paper = own.loc[scale, "paper_mean"]
            mean = own.loc[scale, "mean"]
            shown = "N/A" if pd.isna(mean) else f"{mean:.0f}"
            cells.append(shown if pd.isna(paper) else f"{shown} ({paper:.0f})")
        gap = round(end["gap_percent"], 2) + 0.0  # no minus before a zero
        cells.append("–" if pd.isna(gap) else f"{gap:.2f} ± {end['gap_half_percent']:.2f}")
        milliseconds = 1e3 * end["seconds"]
        cells.append(f"{milliseconds:{'.0f' if milliseconds >= 10 else '.2g'}}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def choice_table(summary: pd.DataFrame) -> str:
    """Markdown of a summary of the choice study: the best method by deadline, with its gap."""
    deadlines = sorted(summary["deadline_s"].unique())
    head = ["setting", "goal", *(f"due in {deadline:g} s" for deadline in deadlines)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for place, own in summary.groupby(["setting", "goal"], sort=False):
        best = own[own["best"]].set_index("deadline_s")
        cells = [
            f"{best.loc[t, 'method']} ({max(best.loc[t, 'gap_percent'], 0):.2f} %)"
            if t in best.index
            else "none in time"
            for t in deadlines
        ]
        lines.append(f"| {' | '.join([*place, *cells])} |")
    return "\n".join(lines) + "\n"


def prompts_table(found: pd.DataFrame) -> str:
    """Markdown of `benchmarks.prompts`: tokens and the share that two slots have in common."""
    lines = ["| budget | detail | settings that fit | tokens | shared by two slots |"]
    lines.append(f"|{'---|' * 5}")
    for (budget, detail), own in found.groupby(["budget", "detail"]):
        there = own.dropna(subset="tokens")
        tokens = shared = "–"
        if len(there):
            tokens = f"{there['tokens'].min():.0f} to {there['tokens'].max():.0f}"
            shared = f"{there['shared'].min():.2f} to {there['shared'].max():.2f}"
        fit = f"{len(there)} of {len(own)}"
        lines.append(f"| {budget} | {detail:.2g} | {fit} | {tokens} | {shared} |")
    return "\n".join(lines) + "\n"


def text_table(found: pd.DataFrame) -> str:
    """Markdown of `benchmarks.text_validity`: mappings without and with a grammar."""
    head = ["model", "N, M, K", "mappings", "valid", "valid, constrained", "gain, constrained"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for (model, triple), own in found.groupby(["model", "triple"], sort=False):
        free, bound = (own[own["constrained"] == c].iloc[0] for c in (False, True))
        cells = [str(model), str(triple).replace(",", ", ")]
        if pd.isna(free["valid"]):
            cells += [f"N/A: {free['tokens_needed']:.0f} tokens", "–", "–", "–"]
        else:
            cells.append(f"{free['mapped']:.0f} of {free['samples']:.0f}")
            for row in (free, bound):
                interval = f"{100 * row['valid_low']:.0f} to {100 * row['valid_high']:.0f} %"
                cells.append(f"{row['valid']:.0f} ({interval})")
            cells.append(f"{bound['gain']:.2f} ± {1.96 * bound['gain_error']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


_NOT_SHOWN = ("Greedy", "Sorted matching", "Exact optimum")  # 0 % by definition, or far off


def agents_table(summary: pd.DataFrame) -> str:
    """Markdown of summaries of trainings: a row per size and method, seeds taken together."""
    head = ["N, M, K", "method", "minus greedy, %", "gap, %", "ms", "training of a seed, s"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    shown = summary["agent_seed"].isna() & ~summary["method"].isin(_NOT_SHOWN)
    for row in summary[shown].to_dict("records"):
        share = 100 / (row["mean"] - row["difference"])
        minus = f"{share * row['difference'] + 0.0:+.2f} ± {share * row['difference_half']:.2f}"
        gap = f"{max(row['gap_percent'], 0.0):.2f} ± {row['gap_half_percent']:.2f}"
        spent = "–" if pd.isna(row["training_s"]) else f"{row['training_s']:.0f}"
        ms = 1e3 * row["seconds"]
        shown_ms = f"{ms:.0f}" if ms >= 10 else f"{ms:.2g}"
        cells = [row["size"], row["method"], minus, gap, shown_ms, spent]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


# By the first word of the file.
_TABLES = {
    "scaling": scaling_table,
    "choice": choice_table,
    "rewards": rewards.markdown,
    "prompts": prompts_table,
    "agents": agents_table,
    "text": text_table,
    "learning": learning.markdown,
}


def filled(page: str) -> str:
    """The text of a page with its tables made anew."""

    def made(found: re.Match[str]) -> str:
        read = pd.read_csv(ROOT / "docs" / "results" / found[2])
        table = _TABLES[re.split(r"\W|_", found[2])[0]](read)
        return f"{found[1]}\n{table}\n{found[3]}"

    return _TABLE.sub(made, page)


def main() -> None:
    """Rewrites the pages that changed and says which."""
    for name in PAGES:
        before = (ROOT / name).read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            (ROOT / name).write_text(after, encoding="utf-8")
            print(f"wrote {name}", file=sys.stderr)


if __name__ == "__main__":
    main()
