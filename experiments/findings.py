"""Writes what holds of the paper's claims into docs/findings.md: `python -m experiments.findings`.

The page holds a line `<!-- finding: NAME -->` for each claim, and `<!-- findings -->` for the list
of all; what follows is replaced, up to `<!-- end of finding -->`. All numbers are those of
docs/results; a claim whose rows are not there yet says by which command they will be.
"""

import dataclasses
import pathlib
import re
import sys
from collections.abc import Callable

from experiments import (
    findings_adaptation,
    findings_code,
    findings_repair,
    findings_small,
    findings_training,
)
from experiments import findings_claims as claims
from experiments.findings_rows import ROOT, Finding, NotMeasured, has

PAGE = ROOT / "docs" / "findings.md"
_BLOCK = re.compile(r"(<!-- finding: (\w+) -->\n).*?(<!-- end of finding -->)", re.DOTALL)
_LIST = re.compile(r"(<!-- findings -->\n).*?(<!-- end of finding -->)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        where: in the paper.
        text: what is claimed, in our words.
        found: what was measured.
    """

    where: str
    text: str
    found: Callable[[], Finding]


CLAIMS: dict[str, Claim] = {
    "intractable": Claim(
        "Abstract",
        "Optimal allocation is intractable for solvers at large scale.",
        claims.intractable,
    ),
    "near_optimal": Claim(
        "Abstract, Table V",
        "Programs of the trained code model come close to the optimum at large scale.",
        claims.near_optimal,
    ),
    "above_grouped": Claim(
        "Table V",
        "From scale II on they are above Grouped-KM, which has as much time.",
        claims.above_grouped,
    ),
    "text_scale": Claim(
        "Table V",
        "The text paradigm ends at scale I; programs go on.",
        claims.text_scale,
    ),
    "budget": Claim(
        "Contributions",
        "The state of any number of users fits into a prompt of 2048 tokens.",
        claims.budget,
    ),
    "prefix": Claim(
        "Contributions",
        "What never changes comes first, so that its cache serves all slots.",
        claims.prefix,
    ),
    "context": Claim(
        "Table VI",
        "2048 tokens are best: with 1024 and with 4096 the throughput is lower.",
        claims.context,
    ),
    "context_seconds": Claim(
        "Table VI",
        "Latency grows with the budget: 4.63, 7.46 and 16.32 s for 1024, 2048 and 4096 tokens.",
        claims.context_seconds,
    ),
    "small_quality": Claim(
        "Table III",
        "At small scales the model is near Exhaustive, above Random and differential evolution.",
        findings_small.small_quality,
    ),
    "small_rows": Claim(
        "Table III",
        "Kuhn-Munkres is below Exhaustive; at some triples the model, DQN and PPO are above "
        "Kuhn-Munkres, and DQN above Exhaustive.",
        findings_small.small_rows,
    ),
    "evolution": Claim(
        "Table III",
        "Differential evolution is below Random at all triples.",
        findings_small.evolution,
    ),
    "memory": Claim(
        "Table III",
        "DQN and PPO, whose output enumerates joint actions, run out of memory from (12,15,6) on.",
        findings_small.memory,
    ),
    "flat": Claim(
        "Table IV",
        "The model's seconds do not grow with the size, those of enumeration do.",
        findings_small.flat,
    ),
    "adaptation": Claim(
        "Table VII",
        "A new topology, size or objective needs another prompt alone, where DQN and PPO need a "
        "new network and training.",
        findings_adaptation.adaptation,
    ),
    "recomputed": Claim(
        "Table VII",
        "After a move Kuhn-Munkres recomputes its matrix, differential evolution is tuned again.",
        findings_adaptation.recomputed,
    ),
    "validity": Claim(
        "Table VIII",
        "After GRPO all programs are valid without repair; of text answers 78 % are.",
        findings_training.validity,
    ),
    "direct": Claim(
        "Training, Table VIII",
        "The code paradigm needs no SFT: GRPO directly from the base model.",
        findings_code.direct,
    ),
    "code_text": Claim(
        "Tables V and VIII",
        "Code gives more throughput than text at scale I, 26545 against 22893 Mbit/s.",
        findings_training.code_text,
    ),
    "ablation": Claim(
        "Table VIII",
        "Without the structural or the depth term training diverges.",
        findings_training.ablation,
    ),
    "dynamics": Claim(
        "Figure 2",
        "Weighting structure or depth up converges fastest; weighting performance up collapses.",
        findings_training.dynamics,
    ),
    "punished": Claim(
        "Eq. (12)", "With the repair off an invalid answer is punished.", claims.punished
    ),
    "feasible": Claim(
        "Theorem 1",
        "The repair's result is feasible and keeps as many suggestions as any.",
        findings_repair.feasible,
    ),
    "locally_optimal": Claim(
        "Theorem 1, our question",
        "No single move or swap that keeps as many suggestions improves the result.",
        findings_repair.locally_optimal,
    ),
    "factor": Claim(
        "Theorem 1, our question",
        "It is within a constant factor of the best that keeps as many suggestions.",
        findings_repair.factor,
    ),
}
"""Name -> claim, in the order of the list."""


def _link(file: str) -> str:
    """A table of docs/results, with the rows that it sums up where they ship."""
    text, rows = f"[{file}](results/{file})", file.removesuffix("csv") + "rows.parquet"
    return f"{text} ([rows](results/{rows}))" if has(rows) else text


def measured() -> dict[str, Finding]:
    """What was found of each claim, by its name."""
    return {name: _found(claim) for name, claim in CLAIMS.items()}


def filled(page: str) -> str:
    """The text of the page with its findings made anew.

    Raises:
        ValueError: the page names a claim that there is not, or leaves one out.
    """
    named = [name for _, name, _ in _BLOCK.findall(page)]
    if sorted(named) != sorted(CLAIMS):
        other = sorted(set(named) ^ set(CLAIMS)) or named
        raise ValueError(f"the page must have each claim once, got another number of {other}")
    found = measured()

    def block(match: re.Match[str]) -> str:
        claim, own = CLAIMS[match[2]], found[match[2]]
        files = ", ".join(map(_link, own.files))
        rows = f" Rows: {files}." if files else ""
        text = f"**{claim.where}.** {claim.text}\n\n**{own.verdict}** {own.text}{rows}"
        return f"{match[1]}\n{text}\n\n{match[3]}"

    lines = ["| where | claim | verdict |", "|---|---|---|"]
    lines += [
        f"| {CLAIMS[name].where} | {CLAIMS[name].text} | {own.verdict.rstrip('.')} |"
        for name, own in found.items()
    ]
    listed = "\n".join(lines)
    page = _BLOCK.sub(block, page)
    return _LIST.sub(lambda match: f"{match[1]}\n{listed}\n\n{match[2]}", page)


def _found(claim: Claim) -> Finding:
    try:
        return claim.found()
    except NotMeasured as missing:
        return missing.finding


def main() -> None:
    """Rewrites the page where it changed."""
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before)
    if after != before:
        PAGE.write_text(after, encoding="utf-8")
        print(f"wrote {PAGE.relative_to(pathlib.Path.cwd())}", file=sys.stderr)


if __name__ == "__main__":
    main()
