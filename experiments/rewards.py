"""Rewards of programs in both forms: programs x settings x objectives x sizes.

Honest programs, from random to local improvement, and degenerate ones, which only look for the
reward. The paper's form values one slot; the form ranked one, and four of the same setting.
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import lsajax as lsa
from lsajax.runs import cli

if TYPE_CHECKING:
    import pandas as pd

    from llm.sandbox import Sandbox

SIZES = {"10 x 15 x 3": (10, 15, 3), "200 x 200 x 40": (200, 200, 40)}
"""Registered users x channels x requesting users."""
SETTINGS = ("plain", "fading", "interference", "multipath")
OBJECTIVES = ("throughput", "fair", "coupled")
SLOTS = 4
CELL = ["size", "setting", "objective"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Rewards of programs in both forms.

    Args:
        seed: of the slots.
        budget_s: CPU seconds that each program is told and held to.
        out: file of the table; `python -m experiments.pages` then puts it into docs.
    """

    seed: int = 0
    budget_s: float = 1.0
    out: pathlib.Path = pathlib.Path("docs/results/rewards_forms.csv")


def check(config: Config) -> Config:
    """Raises ValueError, naming the option, on a value out of range."""
    if not 0 <= config.seed < 2**31:
        raise ValueError(f"--seed must be within 0..2^31 - 1, got {config.seed}")
    if not 0.1 <= config.budget_s <= 3600:
        raise ValueError(f"--budget-s must be within 0.1..3600 seconds, got {config.budget_s}")
    if not config.out.parent.is_dir():
        raise ValueError(f"--out must be a file in a folder that exists, got {config.out}")
    return config


def cells() -> Iterator[tuple[dict[str, str], lsa.Scenario]]:
    """Every size, setting and objective; channels are held by primary users at each size."""
    for size, (num_users, num_channels, num_active) in SIZES.items():
        for setting in SETTINGS:
            for objective in OBJECTIVES:
                scenario = lsa.Scenario(
                    num_users=num_users,
                    num_channels=num_channels,
                    num_active=num_active,
                    occupancy=0.3,
                )
                changes = lsa.SETTINGS[setting] | {"objective": objective}
                yield (
                    {"size": size, "setting": setting, "objective": objective},
                    scenario.replace(**changes),
                )


def rows(
    cell: dict[str, str], scenario: lsa.Scenario, box: "Sandbox", *, seed: int, budget_s: float
) -> list[dict[str, Any]]:
    """One row per form and program of a cell.

    The objective beside them is that of the first slot, over the mean of random valid answers.
    """
    import jax
    import numpy as np
    from transformers import AutoTokenizer

    from experiments.reward_programs import HONEST, completion, degenerate
    from llm.models import EMBEDDED
    from llm.training.rewards import Terms, score

    keys = jax.random.split(jax.random.key(seed), SLOTS)
    sample = jax.jit(lsa.sample_instance)
    slots = [sample(key, scenario) for key in keys]
    exact = jax.jit(lsa.solvers.hungarian)(keys[0], slots[0].without_coupling()).assignment
    pairs = zip(np.asarray(slots[0].user_id).tolist(), np.asarray(exact).tolist(), strict=True)
    programs = HONEST | degenerate({user: channel for user, channel in pairs if channel >= 0})
    tokenizer = AutoTokenizer.from_pretrained(str(EMBEDDED))

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    paper = Terms()
    forms = {
        "paper": (paper, slots[:1]),
        "ranked": (Terms(form="ranked"), slots[:1]),
        f"ranked, {SLOTS} slots": (Terms(form="ranked"), slots),
    }
    texts = [completion(code) for code in programs.values()]
    scored = {
        form: score(texts, [own] * len(texts), box, lengths=count, terms=terms, budget_s=budget_s)
        for form, (terms, own) in forms.items()
    }
    value = 1 + scored["paper"].gain / paper.kappa  # Eq. (13) solved for the objective
    found = []
    for form, scores in scored.items():
        parts = ("total", "structure", "performance", "depth", "gain", "valid", "status")
        for k, name in enumerate(programs):
            row = {part: getattr(scores, part)[k] for part in parts}
            kind = {"program": name, "honest": name in HONEST, "objective_over_random": value[k]}
            found.append(cell | kind | {"form": form} | row)
    return found


def markdown(table: "pd.DataFrame") -> str:
    """A section per cell, a row per program: each form's total, and parts."""
    paper, one, several = table["form"].unique()
    columns = {
        "objective / random": ("objective_over_random", paper),
        "paper": ("total", paper),
        "R_s": ("structure", paper),
        "R_p": ("performance", paper),
        "R_d": ("depth", paper),
        one: ("total", one),
        several: ("total", several),
        "structure": ("structure", several),
        "performance": ("performance", several),
    }
    lines: list[str] = []
    for cell, own in table.groupby(CELL, sort=False):
        wide = own.pivot(index="program", columns="form").reindex(own["program"].unique())
        lines += ["", f"### {', '.join(cell)}", ""]
        lines += [f"| program | {' | '.join(columns)} |", f"|{'---|' * (1 + len(columns))}"]
        for program, row in wide.iterrows():
            numbers = [f"{round(row[column], 2) + 0.0:.2f}" for column in columns.values()]
            lines.append(f"| {' | '.join([str(program), *numbers])} |")
    return "\n".join(lines).lstrip() + "\n"


def run(config: Config) -> None:
    """All cells, one after the other, then the CSV."""
    import sys

    import pandas as pd

    from llm.sandbox import Limits, Sandbox

    found: list[dict[str, Any]] = []
    with Sandbox(workers=2, limits=Limits(wall_s=20.0, cpu_s=5.0)) as box:
        for cell, scenario in cells():
            print(", ".join(cell.values()), file=sys.stderr)
            found += rows(cell, scenario, box, seed=config.seed, budget_s=config.budget_s)
    pd.DataFrame(found).to_csv(config.out, index=False, float_format="%.4f")
    print(f"wrote {config.out}")


if __name__ == "__main__":
    cli.main(Config, check, run, __doc__, advice="start again: nothing was written")
