"""The model card, filled in from what the training script measured."""
# ruff: noqa: E501 - lines of a document

_CARD = """\
---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# Embedded model

This is **not a code model**. It is a network of {parameters:.2f} million parameters, trained from
scratch in minutes on programs that a script generated. It takes the place of a real code model (such as
Qwen2.5-Coder) where none can be downloaded, so that prompts, sandbox, rewards, training and
experiments run end to end on any machine. It has no general ability: it knows the prompt of
`llm/decision/paradigm.py` in its code form, and answers with a short Python program of the kinds below.
What an experiment reports with it says nothing about what a language model can do.

## What it was trained on
Prompts of random slots, from 1 to 400 users, of the kinds {kinds}; and programs of the families
{families}, in several styles of each. {broken:.0f} % of the programs hold a mistake on purpose
({mistakes}), and the best family is rare in every kind, so that something is left for
reinforcement learning. See `llm/embedded/corpus/`.

## How
Qwen3 architecture, hidden size {hidden}, {layers} layers, context {context} tokens; byte-level BPE of
{vocabulary} tokens that splits at line ends alone, so that a frequent line is one token. AdamW with
peak learning rate {learning_rate:g}, {batch} prompts with {samples} completions each a step; {steps} steps
in {train_s:.0f} s on a CPU ({threads} thread(s), other work beside it), seed {seed}, after {setup_s:.0f} s
of making tokenizer and prompts. Mean loss at the end: {loss:.2f} nat per completion token.

Train it again with

    python -m llm.embedded.pretrain --out llm/embedded/checkpoint --steps {steps} --minutes 0 --seed {seed} --threads {threads}

which also writes this card and `eval.json`. Needed when the prompt changes: `llm/decision/paradigm.py`, `task.py`, `serialize.py`.

## Measured
On {slots} slots that it was not trained on, from 5 channels to 2000, of all kinds; by the policy of
`llm/decision/policy.py`, before any repair:

| temperature | samples | ran | valid | different programs | tokens a completion |
|---|---|---|---|---|---|
| 1 | {t1[samples]} | {t1_ran:.1f} % | {t1_valid:.1f} % | {t1[distinct_programs]} | {t1[mean_tokens]:.0f} |
| 0 | {t0[samples]} | {t0_ran:.1f} % | {t0_valid:.1f} % | {t0[distinct_programs]} | {t0[mean_tokens]:.0f} |

*Ran*: the sandbox ran it to an `action` of integers. *Valid*: every user served, no channel unknown,
occupied or used twice.
"""


def card(report: dict, context: int, families: list, mistakes: list, kinds: list) -> str:
    """The text of the card for the `eval.json` content `report`."""
    evaluation = report["evaluation"]
    t1, t0 = evaluation["temperature_1"], evaluation["temperature_0"]
    return _CARD.format(
        **{k: v for k, v in report["config"].items() if k != "steps"},
        **report["training"],
        parameters=report["parameters"] / 1e6,
        slots=evaluation["slots"],
        broken=100 * report["broken_share"],
        context=context,
        kinds=", ".join(kinds),
        families=", ".join(f"`{family}`" for family in families),
        mistakes=", ".join(f"`{mistake}`" for mistake in mistakes),
        t1=t1,
        t0=t0,
        t1_ran=100 * t1["ran"],
        t1_valid=100 * t1["valid"],
        t0_ran=100 * t0["ran"],
        t0_valid=100 * t0["valid"],
    )
