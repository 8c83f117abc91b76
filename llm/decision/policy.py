"""instance -> prompt -> completion -> program -> action -> raw -> assignment."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int32

import lsajax as lsa
from llm.decision.execution import ActionResult
from llm.decision.mapping import constraint_of, mapping_limit
from llm.decision.namespace import (
    UNASSIGNED,
    UNKNOWN_USER,
    check_size,
    is_valid,
    raw_assignment,
)
from llm.decision.paradigm import Paradigm, paradigm_named
from llm.decision.serialize import Prompt, serialize
from llm.decision.slot import HostSlot, host_slot, warm_up
from llm.models import Completion, Model
from llm.sandbox import Sandbox
from llm.sandbox.limits import check_cpu


class Seconds(NamedTuple):
    """Wall seconds of one decision, stage by stage.

    Compilation of the JAX functions is not in it: it happens once per shape.

    Attributes:
        serialize: from the instance to the prompt.
        generate: see `Completion.seconds`.
        parse: from the completion to the program, and from its action to `raw`.
        execute: packing the data and running the program, as if it ran alone.
        repair: from `raw` to the assignment.
    """

    serialize: float
    generate: float
    parse: float
    execute: float
    repair: float

    @property
    def total(self) -> float:
        """From the instance to the repaired assignment."""
        return sum(self)


@dataclasses.dataclass(frozen=True)
class Decision:
    """One completion for one instance, and what became of it.

    Attributes:
        assignment: channel per row after the repair; feasible.
        raw: channel per row as the model's action has it, -1 where it says nothing.
        valid: `namespace.is_valid`: `raw` breaks nothing, and as many users are served as there
            can be (all, unless channels are short).
        violations: counts by kind of `raw`, as `lsajax.violations` names them, and `unknown_user`,
            keys of the action that are no requesting user.
        status: `ok`, `no code`, or the sandbox's word for how the program failed.
        detail: what went wrong, in a line; empty where nothing did.
        code: the program's text, or None.
        completion: what the model wrote.
        prompt: the prompt with its token counts and levels.
        prompt_tokens: tokens of the prompt as the model counted them.
        completion_tokens: tokens generated.
        finish_reason: of the completion; "length" where the token limit cut it off.
        seconds: wall time by stage.
        prefill_s: of the completion, see there.
    """

    assignment: Int32[np.ndarray, "users"]
    raw: Int32[np.ndarray, "users"]
    valid: bool
    violations: dict[str, int]
    status: str
    detail: str
    code: str | None
    completion: str
    prompt: Prompt
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    seconds: Seconds
    prefill_s: float | None = None

    @property
    def total_s(self) -> float:
        """Wall seconds of the whole decision."""
        return self.seconds.total


def decide(
    model: Model,
    box: Sandbox | None,
    instances: Sequence[lsa.Instance],
    *,
    paradigm: str = "code",
    budget: int | None = None,
    detail: float | None = None,
    last_level: str | None = None,
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    num_samples: int = 1,
    repair_rule: str = "sorted",
    time_budget_s: float | None = None,
    constrain: bool = False,
) -> list[Decision]:
    """`num_samples` decisions for each instance, those of an instance side by side.

    A program that fails in any way, or a completion without one, leaves all users unassigned,
    which the repair turns into a feasible assignment like any other.

    Args:
        model: from `llm.models.load_model`.
        box: runs the programs; may be None in the text paradigm, which runs none.
        instances: unbatched instances of any shapes.
        paradigm: "code" (the model writes a program) or "text" (the mapping itself).
        budget: prompt tokens; None takes the model's own.
        detail: share of the budget for numbers of users and channels, see `serialize`.
        last_level: the last level of detail, see there.
        max_new_tokens: None takes the model's own, or for mappings that need more what they need.
        temperature: 0 is greedy.
        seed: of the sampling.
        num_samples: completions per instance.
        repair_rule: of `lsajax.repair`.
        time_budget_s: CPU seconds that the prompt states and a program is held to; None takes the
            box's limit.
        constrain: decode nothing but mappings of known users to idle channels, see
            `llm.models.Constraint`; for the text paradigm.

    Raises:
        CompletionTooLongError: a mapping that outgrows `max_new_tokens` or the model's context; a
            ValueError like the next.
        ValueError: an option out of range, a budget too small for an instance, or an instance too
            large for a program's data; before any generation.
        ModelUnavailable: a server failed.
    """
    asked = paradigm_named(paradigm)
    asked.check_box(box)
    if repair_rule not in ("sorted", "greedy"):
        raise ValueError(f"repair_rule must be 'sorted' or 'greedy', got {repair_rule!r}")
    if time_budget_s is not None and not asked.runs_programs:
        raise ValueError(
            f"time_budget_s is for programs, and {asked.name} asks for none: give None"
        )
    if constrain and asked.runs_programs:
        raise ValueError(f"constrain is for mappings, and {asked.name} asks for programs")
    asks = _asks(
        instances,
        asked,
        count_tokens=model.count_tokens,
        budget=model.prompt_budget if budget is None else budget,
        detail=detail,
        last_level=last_level,
        time_budget_s=stated_time(box, time_budget_s),
        repair_rule=repair_rule,
    )
    if not asked.runs_programs:
        sizes = [(ask.slot, ask.prompt.tokens) for ask in asks]
        max_new_tokens = mapping_limit(model, sizes, max_new_tokens)
    constraints = {"constraints": [constraint_of(ask.slot) for ask in asks]} if constrain else {}
    completions = model.generate(
        [ask.prompt.text for ask in asks],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        num_samples=num_samples,
        **constraints,
    )
    repeated = [ask for ask in asks for _ in range(num_samples)]
    results = asked.to_actions(
        box,
        [completion.text for completion in completions],
        [ask.slot for ask in repeated],
        None,
        None if time_budget_s is None else [time_budget_s] * len(repeated),
    )
    return [
        _finish(ask, completion, result, repair_rule)
        for ask, completion, result in zip(repeated, completions, results, strict=True)
    ]


class _Ask(NamedTuple):
    """An instance, what a model is told of it, and how long that took."""

    inst: lsa.Instance
    slot: HostSlot
    prompt: Prompt
    serialize_s: float


def stated_time(box: Sandbox | None, time_budget_s: float | None) -> float:
    """CPU seconds that a prompt states: those given, or the limit of the box [s]."""
    if time_budget_s is not None:
        check_cpu("time_budget_s", time_budget_s)
        return time_budget_s
    return 1.0 if box is None else box.limits.cpu_s


def _asks(
    instances: Sequence[lsa.Instance],
    asked: Paradigm,
    *,
    count_tokens: Callable[[str], int],
    budget: int,
    detail: float | None,
    last_level: str | None,
    time_budget_s: float,
    repair_rule: str,
) -> list[_Ask]:
    """Prompts of the instances; each shape is compiled beforehand."""
    for inst in instances:
        _warm_up(inst, repair_rule)
    found = []
    for inst in instances:
        start = time.perf_counter()
        slot = host_slot(inst)
        if asked.runs_programs:
            check_size(slot)
        prompt = serialize(
            slot,
            count_tokens,
            budget,
            paradigm=asked.name,
            time_budget_s=time_budget_s,
            detail=detail,
            last_level=last_level,
        )
        found.append(_Ask(inst, slot, prompt, time.perf_counter() - start))
    return found


def _finish(ask: _Ask, completion: Completion, result: ActionResult, repair_rule: str) -> Decision:
    inst, slot, prompt, serialize_s = ask
    start = time.perf_counter()
    raw, unknown_users = raw_assignment(slot, result.action)
    parse_s = result.parse_s + time.perf_counter() - start
    start = time.perf_counter()
    assignment = np.asarray(_repair(repair_rule)(inst, raw))
    repair_s = time.perf_counter() - start
    counts = {kind: int(count) for kind, count in _violations(inst, raw)._asdict().items()}
    counts[UNKNOWN_USER] = unknown_users
    return Decision(
        assignment=assignment,
        raw=raw,
        valid=is_valid(slot, result.action, counts),
        violations=counts,
        status=result.status,
        detail=result.detail,
        code=result.code,
        completion=completion.text,
        prompt=prompt,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        finish_reason=completion.finish_reason,
        seconds=Seconds(serialize_s, completion.seconds, parse_s, result.execute_s, repair_s),
        prefill_s=completion.prefill_s,
    )


_violations = jax.jit(lsa.violations)


@functools.cache
def _repair(rule: str) -> Any:
    return jax.jit(functools.partial(lsa.repair, rule=rule))


def _warm_up(inst: lsa.Instance, repair_rule: str) -> None:
    """Compile for this shape, unless that is done already, so that no stage's time has it."""
    raw = np.full(inst.num_rows, UNASSIGNED, np.int32)
    jax.block_until_ready(_repair(repair_rule)(inst, raw))
    warm_up(inst)
