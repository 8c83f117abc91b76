"""Writes the tables of README and docs from docs/results: `python -m experiments.pages`.

A page holds a line `<!-- table: FILE.csv -->`, or `<!-- table: FILE PART -->`; what follows is
replaced, up to `<!-- end of table -->`.
"""

import functools
import json
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd

from experiments import (
    code_curves,
    code_model,
    learning,
    pages_latency,
    pages_monte_carlo,
    pages_sentences,
    pages_speed,
    pages_training,
    recipes,
    rewards,
)

ROOT = pathlib.Path(__file__).parents[1]
PAGES = (
    "README.md",
    "docs/results.md",
    "docs/choice.md",
    "docs/rewards_table.md",
    "docs/language_models.md",
    "docs/agents.md",
    "docs/clusters.md",
    "docs/learning.md",
    "docs/ablations.md",
    "docs/code_model.md",
    "docs/training.md",
    "docs/findings.md",
    "docs/speed.md",
    "docs/solvers.md",
)
_TABLE = re.compile(r"(<!-- table: (\S+)(?: (\w+))? -->\n).*?(<!-- end of table -->)", re.DOTALL)


def scaling_table(summary: pd.DataFrame, axis: str = "scale") -> str:
    """Markdown of a summary of the scaling study: a row per method, the paper's in brackets."""
    places = list(summary[axis].unique())
    last = places[-1]
    head = [summary["unit"].iloc[0], *places, f"gap at {last}, %", f"ms at {last}"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for method, own in summary.groupby("method", sort=False):
        own = own.set_index(axis)
        cells = [str(method)]
        for place in places:
            paper = own.loc[place, "paper_mean"]
            mean = own.loc[place, "mean"]
            shown = "N/A" if pd.isna(mean) else f"{mean:.0f}"
            cells.append(shown if pd.isna(paper) else f"{shown} ({paper:.0f})")
        end = own.loc[last]
        gap = round(end["gap_percent"], 2) + 0.0  # no minus before a zero
        cells.append("–" if pd.isna(gap) else f"{gap:.2f} ± {end['gap_half_percent']:.2f}")
        ms = 1e3 * end["seconds"]
        cells.append("–" if pd.isna(ms) else f"{ms:{'.0f' if ms >= 10 else '.2g'}}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def small_table(summary: pd.DataFrame) -> str:
    """Markdown of a summary of the small-scale study, and why a method has no number."""
    skipped = summary.dropna(subset="skipped")
    reasons = [
        f"- {row['method']}, {row['triple']}: {row['skipped']}\n"
        for row in skipped.to_dict("records")
    ]
    return scaling_table(summary, "triple") + "\nN/A:\n\n" + "".join(reasons)


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


def forms_table(found: pd.DataFrame) -> str:
    """Markdown of `benchmarks.prompt_forms`: a row per form of the prompt."""
    head = ["order", "example", "numbers of the slot", "answer begun with", "T", "valid, %"]
    head += ["mapped, %", "cut off, %", "gain of valid"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in found.to_dict("records"):
        shares = [f"{100 * row[name]:.0f}" for name in ("valid", "mapped", "cut_off")]
        shares[0] += f" ({100 * row['valid_low']:.0f} to {100 * row['valid_high']:.0f})"
        gain = "–" if pd.isna(row["gain_of_valid"]) else f"{row['gain_of_valid'] + 0.0:.2f}"
        what = [row["order"], row["example"], row["detail"], row["begun"]]
        if row["template"] == "shipped":
            what = ["chat template of this package", "–", "–", "–"]
        cells = [*what, f"{row['temperature']:g}", *shares, gain]
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


def repair_table(found: pd.DataFrame) -> str:
    """Markdown of `benchmarks.repair_ratio`: worst ratios found, then those of random answers."""
    lines = ["| answers | slots of | rule | users x channels | worst | mean | locally optimal, % |"]
    lines.append(f"|{'---|' * 7}")
    for row in found.to_dict("records"):
        size = f"{row['users']} x {row['channels']}"
        rest = ["–", "–"]
        if row["what"] != "search":
            size = f"{row['size']}: {size}"
            rest = [f"{row['mean_ratio']:.5f}", f"{row['locally_optimal_percent']:.0f}"]
        cells = [row["what"], row["model"], row["rule"], size, f"{row['worst_ratio']:.4f}", *rest]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def training_speed(record: dict[str, Any]) -> str:
    """Markdown of `benchmarks.agents`: steps per second by the number of environments."""
    table = record["table"]
    lines = [f"| steps per second | {' | '.join(f'{n} at once' for n in table)} |"]
    lines.append(f"|{'---|' * (1 + len(table))}")
    for name in next(iter(table.values())):
        cells = [
            f"{pages_monte_carlo.large(row[name]['steps_per_s'])} ({row[name]['ours_over_it']:.2g})"
            for row in table.values()
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def shared_prompt(record: dict[str, Any]) -> str:
    """Markdown of `benchmarks.shared_prompt`: seconds of a group, both ways."""
    lines = ["| seconds of a group | prompt once | prompt with each completion | ratio |"]
    lines.append(f"|{'---|' * 4}")
    for part, row in record["table"].items():
        cells = [f"{row[name]:.3g}" for name in ("shared_s", "plain_s", "ratio")]
        lines.append(f"| {' | '.join([part, *cells])} |")
    return "\n".join(lines) + "\n"


def prefix_table(record: dict[str, Any]) -> str:
    """Markdown of `benchmarks.prefix`: seconds of a call, with and without reuse."""
    lines = ["| slots of a call | turns | without, s | with, s | ratio |", "|---|---|---|---|---|"]
    for row in record["results"]:
        seconds = [f"{row[name]:.3g}" for name in ("without_s", "with_s", "ratio")]
        lines.append(f"| {row['slots']} | {row['turns']} | {' | '.join(seconds)} |")
    return "\n".join(lines) + "\n"


def attention_table(record: dict[str, Any]) -> str:
    """Markdown of `benchmarks.attention`: seconds of a group's completions, both ways."""
    table = record["table"]
    cells = [f"{table[name]:.3g}" for name in ("grouped_s", "plain_s", "ratio")]
    return f"| heads together, s | plain, s | ratio |\n|---|---|---|\n| {' | '.join(cells)} |\n"


# By the word behind the file, for what is a part of it.
_PARTS: dict[str, Callable[[Any], str]] = {
    "groups": learning.group_markdown,
    "sampled": functools.partial(learning.group_markdown, ways=["sampled"]),
    "parts": pages_training.reward_parts,
    "shared": shared_prompt,
    "levels": pages_latency.levels_table,
    "costs": pages_monte_carlo.costs,
    "training": training_speed,
    "engines": pages_monte_carlo.engines,
    "overhead": pages_monte_carlo.overhead,
    "weak": pages_monte_carlo.weak_scaling,
    "loop": pages_speed.rewards,
    "paper": pages_sentences.of_the_paper,
    "leakage": pages_sentences.won_back,
}

# By the first word of the file.
_TABLES: dict[str, Callable[[Any], str]] = {
    "scaling": scaling_table,
    "small": small_table,
    "choice": choice_table,
    "rewards": rewards.markdown,
    "prompts": prompts_table,
    "prompt": forms_table,
    "code": code_model.markdown,
    "answers": code_curves.markdown,
    "agents": agents_table,
    "text": text_table,
    "prefix": prefix_table,
    "attention": attention_table,
    "learning": learning.markdown,
    "recipes": recipes.markdown,
    "repair": repair_table,
    "adaptation": pages_training.adaptation_table,
    "ablation": pages_training.ablation_table,
    "dynamics": pages_training.dynamics_table,
    "latency": pages_latency.latency_table,
    "context": pages_latency.context_table,
    "simulator": pages_speed.simulator,
    "sandbox": pages_speed.sandbox,
    "assignment": pages_speed.assignment,
}


def filled(page: str) -> str:
    """The text of a page with its tables made anew."""

    def made(found: re.Match[str]) -> str:
        file = ROOT / "docs" / "results" / found[2]
        make = _PARTS[found[3]] if found[3] else _TABLES[re.split(r"\W|_", found[2])[0]]
        if file.suffix == ".json":
            table = make(json.loads(file.read_text(encoding="utf-8")))
        else:
            table = make(pd.read_csv(file))
        return f"{found[1]}\n{table}\n{found[4]}"

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
