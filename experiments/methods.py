"""What a study compares: a name, and a function from an instance to an outcome.

A study has a plain dict of methods by name. Each is made by one of the functions below: from a
solver or what an agent's `make_solver(params)` returns, from an anytime solver, or from a language
model.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import Int32

import lsajax as lsa
from experiments.config import NO_MODEL, SlotConfig
from lsajax.runs.cli import Unavailable

if TYPE_CHECKING:
    from llm.models import Model
    from llm.sandbox import Sandbox

LLM = "LLM (code)"
LLM_RAW = "LLM, repair off"
RANDOM = "Random"
REPAIRED = "Random, repaired"
GROUPED = "Grouped-KM"
SORTED = "Sorted matching"
GREEDY = "Greedy"
OPTIMUM = "Exact optimum"
OPTIMUM_OF_RATES = "Optimum of Eq. (4)"
LOCAL_SEARCH = "Local search"
EXHAUSTIVE = "Exhaustive"
EVOLUTION = "Differential evolution"
AGENT = "Agent, one by one"
AGENT_OF_PRICES = "Agent, prices"
ORDER = "Order alone"
"""The sequential head without a network: in its order, each user takes his best free channel."""

Solver = Callable[[jax.Array, lsa.Instance], lsa.solvers.Solution]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a method did on one instance.

    Attributes:
        assignment: i32[users], feasible.
        seconds: wall time of the decision, without compilation [s].
        status: how it ended, in a word.
        raw: i32[users] before any repair, where the method repairs.
        columns: further columns of its row, see `experiments.rows.COLUMNS`.
        inst: the instance that the assignment is valued on, where the method changed it, such as by
            other powers.
    """

    assignment: Int32[np.ndarray, "users"]
    seconds: float
    status: str
    raw: Int32[np.ndarray, "users"] | None = None
    columns: dict[str, Any] = dataclasses.field(default_factory=dict)
    inst: lsa.Instance | None = None


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to assign channels.

    Attributes:
        name: in rows and tables; its random draws depend on it, and not on the other methods.
        run: `(key, inst, budget_s) -> Outcome`; methods that are not anytime ignore the budget [s].
        prepare: `(inst)` compiles for the shape of an instance; no outcome's seconds have that.
        skip: `(inst) -> reason` why the method does not apply (the paper's N/A), or None.
        raw_name: of a second row, the outcome's raw assignment valued as it came.
        batch: `(keys, instances)`, both with a leading axis, decides all of them at once, where the
            method can.
    """

    name: str
    run: Callable[[jax.Array, lsa.Instance, float], Outcome]
    prepare: Callable[[lsa.Instance], None] = lambda inst: None
    skip: Callable[[lsa.Instance], str | None] = lambda inst: None
    raw_name: str | None = None
    batch: Callable[[jax.Array, lsa.Instance], Any] | None = None


def from_solver(
    name: str, solver: Solver, skip: Callable[[lsa.Instance], str | None] = lambda inst: None
) -> Method:
    """A solver that jits, as those of `lsajax.solvers` are and as an agent is."""
    solve, solve_all = jax.jit(solver), jax.jit(jax.vmap(solver))

    def run(key: jax.Array, inst: lsa.Instance, budget_s: float) -> Outcome:
        start = time.perf_counter()
        solution = jax.block_until_ready(solve(key, inst))
        seconds = time.perf_counter() - start
        status = lsa.solvers.status_name(solution.status)
        return Outcome(np.asarray(solution.assignment), seconds, status)

    def prepare(inst: lsa.Instance) -> None:
        jax.block_until_ready(solve(jax.random.key(0), inst))

    def batch(keys: jax.Array, instances: lsa.Instance) -> Any:
        return jax.block_until_ready(solve_all(keys, instances))

    return Method(name, run, prepare, skip, batch=batch)


def from_anytime(name: str, solver: Callable[..., lsa.solvers.Solution]) -> Method:
    """A solver with `budget_s`, whose own clock leaves compilation out."""

    def run(key: jax.Array, inst: lsa.Instance, budget_s: float) -> Outcome:
        solution = jax.block_until_ready(solver(key, inst, budget_s=budget_s))
        times = np.asarray(solution.trace.time_s) if solution.trace else np.empty(0)
        # A search that has nothing to do, on a slot without users, looks at no clock.
        seconds = float(times[-1]) if times.size else 0.0
        columns = {"budget_s": budget_s, "rounds": int(times.size)}
        status = lsa.solvers.status_name(solution.status)
        return Outcome(np.asarray(solution.assignment), seconds, status, columns=columns)

    def prepare(inst: lsa.Instance) -> None:
        jax.block_until_ready(solver(jax.random.key(0), inst, budget_s=1e-3))

    return Method(name, run, prepare)


def open_model(
    spec: str,
    resources: contextlib.ExitStack,
    metadata: dict[str, Any],
    *,
    check: Callable[["Model"], None] = lambda model: None,
) -> tuple["Model", "Sandbox"]:
    """The language model of an option `--model`, and a sandbox for its programs.

    Args:
        spec: see `llm.models.load_model`.
        resources: closes the sandbox.
        metadata: of the run; is told the model's name and the sandbox's walls.
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
        # The program's own CPU limit is loose beside the milliseconds that an exact solver takes.
        limits = Limits(wall_s=10.0, cpu_s=5.0, memory_mb=1024)
        box = resources.enter_context(Sandbox(workers=1, limits=limits))
    except (ModelUnavailable, SandboxUnavailable) as error:
        raise Unavailable(str(error)) from error
    metadata |= {"model": model.name, "sandbox": box.metadata}
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
    box: "Sandbox",
    *,
    name: str = LLM,
    raw_name: str | None = LLM_RAW,
    prompt_tokens: int | None = None,
    prompt_detail: float | None = None,
    temperature: float = 0.0,
    time_budget_s: float | None = None,
) -> Method:
    """A language model that writes a program for each instance, alone in its batch.

    Its seconds are a latency: prompt, completion, program and repair.

    Args:
        model: from `llm.models.load_model`.
        box: runs the programs.
        name: of its rows.
        raw_name: of the rows with the raw assignment; None for none.
        prompt_tokens: prompt budget; None takes the model's own.
        prompt_detail: share of it for numbers of users and channels, see `serialize`.
        temperature: 0 is greedy.
        time_budget_s: CPU seconds that the prompt states and a program is held to; None for the
            limit of the box.
    """
    from llm.decision.namespace import check_size
    from llm.decision.policy import decide
    from llm.decision.serialize import serialize
    from llm.decision.slot import host_slot
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
                temperature=temperature,
                seed=int(jax.random.bits(key)) >> 1,
                time_budget_s=time_budget_s,
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

    def skip(inst: lsa.Instance) -> str | None:
        try:
            prompt = serialize(inst, model.count_tokens, budget, detail=prompt_detail)
        except ValueError as error:
            return f"prompt: {error}"
        context = getattr(model, "context", None)
        if context is not None and prompt.tokens + model.max_new_tokens > context:
            return (
                f"prompt: {prompt.tokens} tokens and {model.max_new_tokens} of the answer exceed "
                f"the model's context of {context}"
            )
        try:
            check_size(host_slot(inst))
        except ValueError as error:
            return f"data: {error}"
        return None

    return Method(name, run, skip=skip, raw_name=raw_name, batch=batch)


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
        "detail": decision.detail,
        "completion": decision.completion,
        **stages,
    }


def with_model(
    others: list[Method],
    config: SlotConfig,
    resources: contextlib.ExitStack,
    metadata: dict[str, Any],
) -> list[Method]:
    """`others` behind the language model of a study's options, where they name one.

    It comes first since its seconds are the budget of the anytime methods.

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

    model, box = open_model(config.model, resources, metadata, check=check)
    method = from_language_model(
        model,
        box,
        prompt_tokens=config.prompt_tokens,
        prompt_detail=config.prompt_detail,
        temperature=config.temperature,
        time_budget_s=config.time_budget_s,
    )
    return [method, *others]


def classical(objective: str) -> list[Method]:
    """The methods without a language model, in the order of the tables.

    Of 'coupled' no exact optimum is known: the solvers of assignment problems take its separable
    part, without the leakage, and local search alone knows of leakage. For 'fair' the optimum of
    the rates is a method beside that of the utilities.
    """
    separable = objective != "coupled"
    found = [
        from_solver(RANDOM, lsa.solvers.random),
        from_solver(GREEDY, lsa.solvers.greedy),
        from_solver(SORTED, lsa.solvers.sorted_matching),
        from_anytime(GROUPED, _without_coupling(lsa.solvers.grouped)),
    ]
    if objective != "throughput":
        found.append(from_solver(OPTIMUM_OF_RATES, optimum_of_rates))
    if separable:
        found.append(from_solver(OPTIMUM, lsa.solvers.hungarian))
    else:
        found.append(from_anytime(LOCAL_SEARCH, lsa.solvers.local_search))
    return found


def agents(objective: str) -> list[Method]:
    """The trained agents that ship with the package, none of which saw these sizes.

    PPO's sequential head, trained with fading on slots of up to 20 requests, on Eq. (8) where it is
    to be used for that; and the dual head's prices with a greedy decode, of Eq. (8) on its
    separable part.

    Raises:
        Unavailable: Flax is not installed.
    """
    try:
        from lsajax.agents import dual, sequential
    except ImportError as error:
        raise Unavailable(f"trained agents need the extra 'agents': {error}") from error

    params = sequential.load("sequential_coupled" if objective == "coupled" else "sequential")
    return [
        from_solver(AGENT, sequential.make_solver(params)),
        from_solver(AGENT_OF_PRICES, dual.make_solver(dual.load(), exact=False)),
    ]


def optimum_of_rates(key: jax.Array, inst: lsa.Instance) -> lsa.solvers.Solution:
    """Exact optimum of Eq. (4), whatever the objective: without leakage, priorities and needs."""
    return lsa.solvers.hungarian(key, inst.of_rates())


def _without_coupling(solver: Callable[..., lsa.solvers.Solution]) -> Callable[..., Any]:
    def solve(key: jax.Array, inst: lsa.Instance, **options: Any) -> lsa.solvers.Solution:
        return solver(key, inst.without_coupling(), **options)

    return solve
