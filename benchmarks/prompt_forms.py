"""Which form of the prompt a code model without training answers best.

`python -m benchmarks.prompt_forms --model FOLDER_OR_NAME` asks for programs in several forms of the
same prompt: the order of its blocks, its example, numbers of the slot or none, an answer that is
begun for the model, the chat template that `qwen-coder-0.5b` has here, and the temperature. Of each
the raw answers are run and valued on sampled slots, repair off, and written as CSV as they come:
started again, it goes on with the forms that are missing. It takes minutes a form on a GPU-less
machine; `--grid short` has the forms that tell most.
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Iterator
from typing import Any, Literal

import jax
import numpy as np
import pandas as pd
import tyro

import lsajax as lsa
from llm.models import ADAPTERS
from lsajax.hashing import named_key

TEMPLATE = ADAPTERS / "qwen-coder-0.5b" / "chat_template.jinja"
SHIPPED = "shipped"
EXAMPLE = "This program is valid, but random:\n"
_TAIL = "Answer with one ```python"
_RANDOM = """\
order = np.random.permutation(len(channels))
action = {int(users[i]): int(channels[j]) for i, j in enumerate(order[:len(users)])}
"""
EXAMPLES = {
    "random": _RANDOM,
    "random, rates": "rate = rate_bps()  # [K, C]\n" + _RANDOM,
    "sorted channels": _RANDOM.replace(
        "np.random.permutation(len(channels))", "np.argsort(-bandwidth_hz)"
    ),
    "random, comment": f"# users, channels, power_w, bandwidth_hz are given\n{_RANDOM}",
    "none": None,
}
ORDERS = ("example early", "example last", "state first")
DETAILS = ("numbers", "none")
GIVEN = "# users, channels, power_w, bandwidth_hz are given\n"
BEGUN = {
    "nothing": "",
    "fence": "```python\n",
    "comment": f"```python\n{GIVEN}",
    "rates": "```python\nrate = rate_bps()  # [K, C] bit/s\n",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The grid of prompts.

    Args:
        model: a folder or hub name of a transformers checkpoint.
        dtype: of its weights; bfloat16 is the fastest where the CPU has it.
        samples: answers of each form, shared out over the settings.
        settings: of the slots.
        scale: of the slots.
        grid: "all" forms, or the "short" one.
        new_tokens: of an answer at most.
        temperatures: of the chat template, beside 0.8.
        quick: two forms, four samples.
        out: file of the CSV.
        answers: file to which every answer is added, with what became of it, as JSON lines.
    """

    model: str
    dtype: str = "bfloat16"
    samples: int = 32
    settings: tuple[str, ...] = ("plain", "fading")
    scale: str = "I"
    grid: Literal["all", "short"] = "all"
    new_tokens: int = 192
    temperatures: tuple[float, ...] = (0.6, 1.0)
    quick: bool = False
    out: pathlib.Path = pathlib.Path("results/benchmarks/prompt_forms.csv")
    answers: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Form:
    """A form of the prompt.

    Attributes:
        order: of `ORDERS`.
        example: of `EXAMPLES`.
        begun: of `BEGUN`.
        detail: of `DETAILS`, whether sizes and statistics of the slot are told.
        template: in place of all that the chat template of this file, the prompt as it is.
        temperature: of the sampling.
    """

    order: str = ORDERS[0]
    example: str = "random"
    begun: str = "nothing"
    detail: str = "numbers"
    template: str = "its own"
    temperature: float = 0.8

    def text(self, prompt: str) -> str:
        """The prompt of `serialize`, put into this form."""
        if self.template == SHIPPED:
            return prompt
        rules, rest = prompt.split(EXAMPLE)
        _, rest = rest.split(_TAIL)
        answer, _, state = rest.partition("\n")
        *lines, closing = state.splitlines(keepends=True)
        if self.detail == "none":
            sizes = next(k for k, line in enumerate(lines) if line.startswith("Sizes: "))
            lines = lines[:sizes]
        code = EXAMPLES[self.example]
        kind = EXAMPLE.replace("random", "poor") if self.example == "sorted channels" else EXAMPLE
        example = "" if code is None else f"{kind}```python\n{code}```\n"
        last = f"{_TAIL}{answer}\n"
        if code is None:
            last = last.replace(" like it", "")
        parts = {
            "example early": [rules, example, last, *lines],
            "example last": [rules, *lines, example, last],
            "state first": [*lines, rules, example, last],
        }[self.order]
        return "".join([*parts, closing])


_LAST = {"detail": "none", "order": "example last"}
_SHORT = (
    Form(),
    Form(template=SHIPPED),
    Form(**_LAST),
    Form(**_LAST, example="random, comment", begun="comment"),
    Form(detail="none"),
    Form(order="example last"),
    Form(begun="fence"),
)


def forms(grid: str, quick: bool) -> Iterator[Form]:
    """Each choice against today's, and orders, examples and beginnings together."""
    if quick or grid == "short":
        yield from _SHORT[: 2 if quick else None]
        return
    for order, example, begun in itertools.product(ORDERS, EXAMPLES, BEGUN):
        changed = (order != ORDERS[0]) + (example != "random") + (begun != "nothing")
        if example == "none" and order != ORDERS[0]:
            continue
        if changed <= 1 or (order == "example last" and begun != "nothing"):
            yield Form(order, example, begun)
    yield from _SHORT


def measure(form: Form, model: Any, box: Any, config: Config) -> dict[str, Any]:
    """Shares of the answers that are valid, that are a mapping at all, and what valid ones gain.

    The gain is 0 for the mean of random answers and 1 for the best.
    """
    from llm.decision.serialize import serialize
    from llm.training.evaluation import wilson
    from llm.training.rewards import Terms, score

    begun = BEGUN[form.begun]
    model.begun = begun
    own = model.tokenizer.chat_template
    if form.template == SHIPPED:
        model.tokenizer.chat_template = TEMPLATE.read_text()
    texts, slots = [], []
    for setting in config.settings:
        scenario = lsa.SCALES[config.scale].replace(**lsa.SETTINGS[setting])
        for r in range(2):
            inst = lsa.sample_instance(named_key(jax.random.key(r), "prompt forms"), scenario)
            prompt = serialize(inst, model.count_tokens, model.prompt_budget)
            texts.append(form.text(prompt.text))
            slots.append(inst)
    each = max(1, config.samples // len(texts))
    made = model.generate(
        texts,
        max_new_tokens=config.new_tokens,
        temperature=form.temperature,
        seed=0,
        num_samples=each,
    )
    model.tokenizer.chat_template = own
    instances = [inst for inst in slots for _ in range(each)]
    whole = [begun + completion.text for completion in made]
    scores = score(whole, instances, box, terms=Terms(form="ranked"), budget_s=5.0)
    status = np.array(scores.status)
    if config.answers is not None:
        with config.answers.open("a") as file:
            for completion, outcome, detail, gain in zip(
                made, scores.status, scores.detail, scores.gain.tolist(), strict=True
            ):
                found = {"status": outcome, "detail": detail, "gain": gain}
                file.write(json.dumps(dataclasses.asdict(form) | found | {"text": completion.text}))
                file.write("\n")
    valid = float(scores.valid.mean())
    low, high = wilson(valid, len(made))
    return {
        **dataclasses.asdict(form),
        "samples": len(made),
        "valid": valid,
        "valid_low": low,
        "valid_high": high,
        "mapped": float((status == "ok").mean()),
        "no_code": float((status == "no code").mean()),
        "gain_of_valid": float(scores.gain[scores.valid].mean()) if scores.valid.any() else np.nan,
        "tokens": float(np.mean([completion.completion_tokens for completion in made])),
        "cut_off": float(np.mean([completion.finish_reason == "length" for completion in made])),
        "seconds": float(np.sum([completion.seconds for completion in made])),
    }


def main(config: Config) -> None:
    """Measures what is missing, one form after the other, and writes each as it comes."""
    from llm.models.local import LocalModel
    from llm.sandbox import Sandbox

    class Begun(LocalModel):
        """A model whose answer is begun for it."""

        begun = ""

        def _ids(self, prompt: str) -> list[int]:
            begun = self.tokenizer(self.begun, add_special_tokens=False)["input_ids"]
            return super()._ids(prompt) + begun

    if config.quick:
        config = dataclasses.replace(config, samples=4)
    model = Begun(config.model, dtype=config.dtype, batch_size=config.samples)
    found = pd.read_csv(config.out) if config.out.exists() else pd.DataFrame()
    config.out.parent.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in dataclasses.fields(Form)]
    with Sandbox(workers=2) as box:

        def add(form: Form) -> None:
            nonlocal found
            key = dataclasses.asdict(form)
            if len(found) and (found[names] == pd.Series(key)[names]).all(axis=1).any():
                return
            row = {"model": pathlib.Path(config.model).name, **measure(form, model, box, config)}
            found = pd.concat([found, pd.DataFrame([row])], ignore_index=True)
            found.to_csv(config.out, index=False, float_format="%.4f")
            print(
                f"{', '.join(map(str, key.values()))}: valid {100 * row['valid']:.0f} %, mapped "
                f"{100 * row['mapped']:.0f} % of {row['samples']}",
                flush=True,
            )

        for form in forms(config.grid, config.quick):
            add(form)
        for temperature in () if config.quick else config.temperatures:
            add(Form(template=SHIPPED, temperature=temperature))
    print(f"wrote {config.out}")


if __name__ == "__main__":
    main(tyro.cli(Config, prog="python -m benchmarks.prompt_forms", description=__doc__))
