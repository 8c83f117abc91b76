"""The model card, filled in from what the training script measured."""
# ruff: noqa: E501 - lines of a document

from collections.abc import Iterable

from llm.embedded import corpus
from llm.embedded.corpus.tokenizer import MAX_TOKEN_CHARS
from llm.embedded.network import CONTEXT

_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# Embedded model, as pretrained

This is **not a code model**. It is a network of {parameters:.2f} million parameters, trained from
scratch in minutes on programs that a script generated. It takes the place of a real code model (such as
Qwen2.5-Coder) where none can be downloaded, so that prompts, sandbox, rewards, training and
experiments run end to end on any machine. It has no general ability: it knows the prompt of
`llm/decision/paradigm.py` in its code form, and answers with a short Python program of the kinds below.
What an experiment reports with it says nothing about what a language model can do.

This is where reinforcement learning starts from, `load_model("embedded-base")`. What came of it is in
`llm/embedded/checkpoint`, `load_model("embedded")`.

## What it was trained on
Prompts of random slots, from 1 to 800 users, with time budgets from {shortest:g} to {longest:g} s, of the
kinds {kinds}; not of {held_out}, which are kept for tests. And programs of the families
{families}, in several styles of each. {broken:.0f} % of the programs hold a mistake on purpose
({mistakes}), and {right:.0f} % are of the family that is right for the prompt, so that something is left
for reinforcement learning. See `llm/embedded/corpus/`.

## How
Qwen3 architecture, hidden size {hidden}, {layers} layers, context {context} tokens; byte-level BPE of
{vocabulary} pieces of at most {piece} letters, and a token for each line of the instructions. AdamW with
peak learning rate {learning_rate:g}, {batch} prompts with {samples} completions each a step; {steps} steps
in {train_s:.0f} s on a CPU ({threads} thread(s), other work beside it), seed {seed}, after {setup_s:.0f} s
of making tokenizer and prompts. Mean loss at the end: {loss:.2f} nat per completion token.

Train it again with

    python -m llm.embedded.pretrain --out llm/embedded/base --steps {asked} --minutes {minutes:g} --seed {seed} --threads {threads}

which also writes this card and `eval.json`; where the minutes end it, another machine makes other weights. Needed when the prompt changes: `llm/decision/paradigm.py`, `task.py`, `serialize.py`, `numbers.py`.

## Measured
On {slots} slots that it was not trained on, of all these kinds, before any repair:

| temperature | samples | ran | valid | right | different programs | tokens a completion |
|---|---|---|---|---|---|---|
| 1 | {t1[samples]} | {t1_ran:.1f} % | {t1_valid:.1f} % | {t1_right:.1f} % | {t1[distinct_programs]} | {t1[mean_tokens]:.0f} |
| 0 | {t0[samples]} | {t0_ran:.1f} % | {t0_valid:.1f} % | {t0_right:.1f} % | {t0[distinct_programs]} | {t0[mean_tokens]:.0f} |

*Ran*: the sandbox ran it to an `action` of integers. *Valid*: every user served, no channel unknown,
occupied or used twice. *Right*: valid, and of a family that is within 1 % of the way from random to best
of the best one that ends in time.
"""


def card(report: dict) -> str:
    """The text of the card for the `eval.json` content `report`."""
    t1, t0 = (report["evaluation"][f"temperature_{t}"] for t in (1, 0))
    shares = {
        f"{name}_{share}": 100 * own[share]
        for name, own in (("t1", t1), ("t0", t0))
        for share in ("ran", "valid", "right")
    }
    return _CARD.format(
        **{k: v for k, v in report["config"].items() if k != "steps"},
        asked=report["config"]["steps"],
        **report["training"],
        **shares,
        t1=t1,
        t0=t0,
        parameters=report["parameters"] / 1e6,
        slots=report["evaluation"]["slots"],
        broken=100 * corpus.BROKEN_SHARE,
        right=100 * corpus.RIGHT_SHARE,
        shortest=min(corpus.TIME_BUDGETS_S),
        longest=max(corpus.TIME_BUDGETS_S),
        context=CONTEXT,
        piece=MAX_TOKEN_CHARS,
        kinds="; ".join(corpus.KINDS),
        held_out="; ".join(corpus.HELD_OUT),
        families=_listed(corpus.FAMILIES),
        mistakes=_listed(corpus.MISTAKES),
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
