"""instance -> prompt -> completion -> code block -> execution -> raw action -> repaired action."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int32

import lsajax as lsa
from llm.decision import namespace
from llm.decision.execution import Answer, read_mappings, run_programs
from llm.decision.serialize import Prompt, serialize, static_text
from llm.models import Completion, Model
from llm.sandbox import Sandbox


class Seconds(NamedTuple):
    """Wall seconds of one decision, stage by stage; `execute` holds the data's packing too.

    Compilation of the JAX functions is not in it: it happens once per shape.
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

    Args:
        assignment: i32[K] channel per row after the repair; feasible.
        raw: i32[K] channel per row as the model's answer has it, -1 where it has none.
        valid: the raw answer broke nothing: as many users served as there can be (all, unless
            channels are short), no channel unknown, occupied or used twice, no key that is not a
            requesting user.
        violations: counts by kind of `raw`, as `lsajax.violations` names them, and `unknown_user`.
        status: `ok`, `no code`, or the sandbox's word for how the program failed.
        detail: what went wrong, in a line; empty where nothing did.
        code: the program, or None.
        completion: what the model wrote.
        prompt: the prompt with its token counts and levels.
        completion_tokens: tokens generated.
        seconds: wall time by stage.
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
    seconds: Seconds

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
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    num_samples: int = 1,
    repair_rule: str = "sorted",
) -> list[Decision]:
    """`num_samples` decisions for each instance, those of an instance side by side.

    A program that fails in any way, or a completion without one, leaves a raw action of -1, which
    the repair turns into a feasible assignment like any other.

    Args:
        model: from `llm.models.load_model`.
        box: runs the programs; may be None in the text paradigm, which runs none. The program is
            told the box's CPU limit as its time budget.
        instances: unbatched instances of any shapes.
        paradigm: "code" (the model writes a program) or "text" (the mapping itself).
        budget: prompt tokens; None takes the model's own.
        max_new_tokens: None takes the model's own.
        temperature: 0 is greedy.
        seed: of the sampling.
        num_samples: completions per instance.
        repair_rule: of `lsajax.repair`.

    Raises:
        ValueError: an option out of range, or a budget too small for an instance; before any
            generation.
        ModelUnavailable: a server failed.
    """
    static_text(paradigm)
    if paradigm == "code" and box is None:
        raise ValueError("box must be a Sandbox in the code paradigm, got None")
    if repair_rule not in ("sorted", "greedy"):
        raise ValueError(f"repair_rule must be 'sorted' or 'greedy', got {repair_rule!r}")
    budget = model.prompt_budget if budget is None else budget
    for inst in instances:
        _warm_up(inst, repair_rule)
    prompts, serialize_s = [], []
    for inst in instances:
        start = time.perf_counter()
        prompts.append(serialize(inst, model.count_tokens, budget, paradigm=paradigm))
        serialize_s.append(time.perf_counter() - start)
    completions = model.generate(
        [prompt.text for prompt in prompts],
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        num_samples=num_samples,
    )
    of = [i for i in range(len(instances)) for _ in range(num_samples)]
    texts = [completion.text for completion in completions]
    if paradigm == "text":
        answers = read_mappings(texts)
    else:
        answers = run_programs(box, texts, [instances[i] for i in of])
    return [
        _finish(instances[i], prompts[i], completion, answer, serialize_s[i], repair_rule)
        for i, completion, answer in zip(of, completions, answers, strict=True)
    ]


def _finish(
    inst: lsa.Instance,
    prompt: Prompt,
    completion: Completion,
    answer: Answer,
    serialize_s: float,
    repair_rule: str,
) -> Decision:
    start = time.perf_counter()
    raw, unknown_users = namespace.raw_assignment(inst, answer.action)
    parse_s = answer.parse_s + time.perf_counter() - start
    start = time.perf_counter()
    assignment = np.asarray(_repair(repair_rule)(inst, raw))
    repair_s = time.perf_counter() - start
    counts = {k: int(v) for k, v in _violations(inst, raw)._asdict().items()}
    counts["unknown_user"] = unknown_users
    return Decision(
        assignment=assignment,
        raw=raw,
        valid=answer.status == "ok" and is_valid(inst, counts),
        violations=counts,
        status=answer.status,
        detail=answer.detail,
        code=answer.code,
        completion=completion.text,
        prompt=prompt,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        seconds=Seconds(serialize_s, completion.seconds, parse_s, answer.execute_s, repair_s),
    )


def is_valid(inst: lsa.Instance, counts: dict[str, int]) -> bool:
    """Whether `counts` (of `Decision.violations`) are those of an answer that breaks nothing."""
    users = int(np.sum(np.asarray(inst.user_mask)))
    idle = int(np.sum(~np.asarray(inst.occupied)))
    broken = sum(count for kind, count in counts.items() if kind != "unserved")
    return broken == 0 and counts["unserved"] == max(0, users - idle)


_violations = jax.jit(lsa.violations)


@functools.cache
def _repair(rule: str) -> Any:
    return jax.jit(functools.partial(lsa.repair, rule=rule))


def _warm_up(inst: lsa.Instance, repair_rule: str) -> None:
    """Compile for this shape, unless that is done already, so that no stage's time has it."""
    raw = np.full(inst.num_rows, -1, np.int32)
    jax.block_until_ready(_repair(repair_rule)(inst, raw))
    namespace.warm_up(inst)
