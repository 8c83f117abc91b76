"""A language model as a method of a study: what it writes for each instance, run and repaired."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

import lsajax as lsa
from experiments.config import NO_MODEL, SlotConfig
from experiments.methods import LLM, LLM_COLD, LLM_RAW, LLM_TEXT, Method, Outcome
from lsajax.runs.cli import Unavailable

if TYPE_CHECKING:
    from llm.decision.serialize import Prompt
    from llm.decision.slot import HostSlot
    from llm.models import Model
    from llm.sandbox import Sandbox


def open_model(
    spec: str,
    resources: contextlib.ExitStack,
    metadata: dict[str, Any],
    *,
    paradigm: str = "code",
    check: Callable[["Model"], None] = lambda model: None,
) -> tuple["Model", "Sandbox | None"]:
    """The language model of an option `--model`, and a sandbox for its programs.

    Args:
        spec: see `llm.models.load_model`.
        resources: closes the sandbox.
        metadata: of the run; is told the model's name and the sandbox's walls.
        paradigm: "code" or "text", which has no sandbox.
        check: of the model, before the sandbox is started; raises ValueError.

    Raises:
        Unavailable: there is no such model, or no sandbox on this machine.
        ValueError: of `check`.
    """
    from llm.models import ModelUnavailable, load_model
    from llm.sandbox import Limits, Sandbox, SandboxUnavailable

    try:
        model = load_model(spec)
        check(model)
        box = None
        if paradigm == "code":
            # Its own CPU limit is loose beside the milliseconds that an exact solver takes.
            limits = Limits(wall_s=10.0, cpu_s=5.0, memory_mb=1024)
            box = resources.enter_context(Sandbox(workers=1, limits=limits))
    except (ModelUnavailable, SandboxUnavailable) as error:
        raise Unavailable(str(error)) from error
    metadata |= {"model": model.name, "sandbox": None if box is None else box.metadata}
    return model, box


def check_budget(model: "Model", budget: int) -> None:
    """Raises ValueError where the budget is too small for any prompt, or leaves no room."""
    from llm.decision.serialize import serialize

    # No prompt is shorter than that of one user and one channel.
    try:
        serialize(lsa.make_instance(np.array([1e-9]), np.array([1e7])), model.count_tokens, budget)
    except ValueError as error:
        raise ValueError(f"--prompt-tokens is too small: {error}") from None
    context = getattr(model, "context", None)
    if context is not None and budget + model.max_new_tokens > context:
        raise ValueError(
            f"--prompt-tokens must be at most {context - model.max_new_tokens}, the model's "
            f"context of {context} less {model.max_new_tokens} for its answer, got {budget}"
        )


def from_language_model(
    model: "Model",
    box: "Sandbox | None",
    *,
    name: str = LLM,
    raw_name: str | None = LLM_RAW,
    prompt_tokens: int | None = None,
    prompt_detail: float | None = None,
    prompt_level: str | None = None,
    temperature: float = 0.0,
    time_budget_s: float | None = None,
    paradigm: str = "code",
    constrain: bool = False,
) -> Method:
    """A language model that decides about each instance, alone in its batch.

    Its seconds are a latency: prompt, completion, program and repair.

    Args:
        model: from `llm.models.load_model`.
        box: runs the programs; None in the text paradigm.
        name: of its rows.
        raw_name: of the rows with the raw assignment; None for none.
        prompt_tokens: prompt budget; None takes the model's own.
        prompt_detail: share of it for numbers of users and channels, see `serialize`.
        prompt_level: the last level of detail; instances whose prompts do not reach it are skipped.
            None for all that fit.
        temperature: 0 is greedy.
        time_budget_s: CPU seconds that the prompt states and a program is held to; None for the
            limit of the box.
        paradigm: "code" (a program for each instance) or "text" (the mapping itself).
        constrain: of mappings, see `llm.decision.policy.decide`.
    """
    from llm.decision.policy import decide, stated_time
    from llm.decision.serialize import serialize
    from llm.models import ModelUnavailable
    from llm.sandbox import SandboxUnavailable

    budget = model.prompt_budget if prompt_tokens is None else prompt_tokens

    def decisions(key: jax.Array, instances: list[lsa.Instance]) -> list[Any]:
        try:
            return decide(
                model,
                box,
                instances,
                budget=budget,
                detail=prompt_detail,
                last_level=prompt_level,
                temperature=temperature,
                seed=int(jax.random.bits(key)) >> 1,
                time_budget_s=time_budget_s,
                paradigm=paradigm,
                constrain=constrain,
            )
        except (ModelUnavailable, SandboxUnavailable) as error:
            raise Unavailable(str(error)) from error

    def batch(keys: jax.Array, instances: lsa.Instance) -> Any:
        rows = range(keys.shape[0])
        return decisions(keys[0], [jax.tree.map(lambda x: x[i], instances) for i in rows])  # noqa: B023

    def run(key: jax.Array, inst: lsa.Instance, budget_s: float) -> Outcome:
        (decision,) = decisions(key, [inst])
        columns = _columns(decision)
        return Outcome(
            decision.assignment, decision.total_s, decision.status, decision.raw, columns
        )

    written = functools.partial(
        serialize,
        count_tokens=model.count_tokens,
        budget=budget,
        paradigm=paradigm,
        detail=prompt_detail,
        time_budget_s=stated_time(box, time_budget_s),
    )

    def skip(inst: lsa.Instance) -> str | None:
        return _skipped(model, inst, written, paradigm, prompt_level)

    return Method(name, run, skip=skip, raw_name=raw_name, batch=batch)


def _skipped(
    model: "Model",
    inst: lsa.Instance,
    written: "functools.partial[Prompt]",
    paradigm: str,
    level: str | None,
) -> str | None:
    """Why a model cannot be asked about an instance, or None."""
    from llm.decision.mapping import CompletionTooLongError, mapping_limit
    from llm.decision.namespace import check_size
    from llm.decision.slot import host_slot

    slot = host_slot(inst)
    try:
        prompt = written(slot, last_level=level)
    except ValueError as error:
        return f"prompt: {error}"
    if level is not None and (missed := _missed(slot, prompt, written, paradigm, level)):
        return f"prompt: {missed}"
    context = getattr(model, "context", None)
    if context is not None and prompt.tokens + model.max_new_tokens > context:
        return (
            f"prompt: {prompt.tokens} tokens and {model.max_new_tokens} of the answer exceed "
            f"the model's context of {context}"
        )
    try:
        if paradigm == "text":
            mapping_limit(model, [(slot, prompt.tokens)])
        else:
            check_size(slot)
    except CompletionTooLongError as error:
        return f"completion: {error}"
    except ValueError as error:
        return f"data: {error}"
    return None


def _missed(
    slot: "HostSlot",
    prompt: "Prompt",
    written: "functools.partial[Prompt]",
    paradigm: str,
    level: str,
) -> str | None:
    """Why a prompt says no more with a level than without it, or None where it does."""
    from llm.decision.paradigm import paradigm_named
    from llm.decision.serialize import levels_of

    if level not in levels_of(slot, paradigm):
        return f"slots of this setting have no {level}"
    if level not in prompt.levels:
        return f"{written.keywords['budget']} tokens have no room for {level}"
    before = paradigm_named(paradigm).levels_up_to(level)[:-1]
    # Shipped templates of code models leave numbers out that small models would transcribe.
    if before and written(slot, last_level=before[-1]).tokens == prompt.tokens:
        return f"the model's chat template leaves {level} out"
    return None


def _columns(decision: Any) -> dict[str, Any]:
    stages = {f"{name}_s": value for name, value in decision.seconds._asdict().items()}
    return {
        "raw_valid": decision.valid,
        "raw_served": int((decision.raw >= 0).sum()),
        "prompt_tokens": decision.prompt_tokens,
        "static_tokens": decision.prompt.static_tokens,
        "prompt_levels": " ".join(decision.prompt.levels),
        "completion_tokens": decision.completion_tokens,
        "finish_reason": decision.finish_reason,
        "prefill_s": decision.prefill_s,
        "detail": decision.detail,
        "completion": decision.completion,
        **stages,
    }


def with_model(
    others: list[Method],
    config: SlotConfig,
    resources: contextlib.ExitStack,
    metadata: dict[str, Any],
    *,
    text: bool = False,
    cold: bool = False,
) -> list[Method]:
    """`others` behind the language model of a study's options, where they name one.

    It comes first since its seconds are the budget of the anytime methods. With `cold`, one that
    keeps prefixes is there once more without; with `text`, one that is asked for programs is asked
    for mappings too, at the end.

    Raises:
        Unavailable: there is no such model, or no sandbox on this machine.
        ValueError: the prompt budget is too small for the instructions, or leaves no room for the
            answer in the model's context.
    """
    if config.model == NO_MODEL:
        return others

    def check(model: "Model") -> None:
        asked = config.prompt_tokens
        check_budget(model, model.prompt_budget if asked is None else asked)

    model, box = open_model(
        config.model, resources, metadata, paradigm=config.paradigm, check=check
    )
    asked = functools.partial(
        from_language_model, prompt_tokens=config.prompt_tokens, temperature=config.temperature
    )
    configured = functools.partial(
        asked,
        box=box,
        prompt_detail=config.prompt_detail,
        time_budget_s=config.time_budget_s,
        paradigm=config.paradigm,
        constrain=config.constrain,
    )
    found = [configured(model)]
    if cold and getattr(model, "reuse_prefix", False):
        without = model.without_prefix()  # type: ignore[attr-defined]
        # The same draws, so that both write the same programs and differ by the cache alone.
        same = configured(without, name=LLM_COLD, raw_name=None)
        found.append(dataclasses.replace(same, draws_as=LLM))
    found += others
    if text and config.paradigm != "text":
        found.append(asked(model, box=None, name=LLM_TEXT, raw_name=None, paradigm="text"))
    return found
