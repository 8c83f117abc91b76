"""Methods that are moved from home to another place, and what it costs to adapt them there."""

import dataclasses
import difflib
import pathlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

import lsajax as lsa
from experiments import train_agent
from experiments.methods import Method, Outcome, not_applicable
from lsajax.agents.joint import ActionSpaceTooLarge
from lsajax.runs.cli import Unavailable
from lsajax.runs.training import BudgetTooSmall

if TYPE_CHECKING:
    from llm.decision.slot import HostSlot
    from llm.models import Model
    from llm.sandbox import Sandbox

BEST = "Best program"
SOURCES = {
    "Sort both": "sort_both",
    "LAP on rates": "assign_rates",
    "LAP on values": "assign_values",
}
"""Programs that are optimal at home: name -> family of `llm.training.programs`."""

RETRAINED = ", retrained"


class Place(NamedTuple):
    """Where methods decide.

    Attributes:
        setting: what rates depend on.
        objective: what an assignment is worth.
        triple: N, M, K.
    """

    setting: str
    objective: str
    triple: tuple[int, int, int]

    @property
    def scenario(self) -> lsa.Scenario:
        """What its instances are drawn from."""
        num_users, num_channels, num_active = self.triple
        sizes = lsa.Scenario(num_users=num_users, num_channels=num_channels, num_active=num_active)
        return sizes.replace(**{**lsa.SETTINGS[self.setting], "objective": self.objective})


def lines_changed(before: str, after: str) -> int:
    """Lines of a diff: of each stretch that differs, the longer of both sides."""
    a, b = before.splitlines(), after.splitlines()
    found = difflib.SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for kind, i1, i2, j1, j2 in found if kind != "equal")


def prompt_lines(model: "Model", home: lsa.Instance, there: lsa.Instance) -> int:
    """Lines in which two prompts differ that show sizes alone of their slots."""
    from llm.decision.serialize import serialize

    texts = [
        serialize(inst, model.count_tokens, model.prompt_budget, detail=0.0).text
        for inst in (home, there)
    ]
    return lines_changed(*texts)


def with_columns(method: Method, **columns: Any) -> Method:
    """The method, with further columns in its rows."""

    def run(key: jax.Array, inst: lsa.Instance, budget_s: float) -> Outcome:
        outcome = method.run(key, inst, budget_s)
        return dataclasses.replace(outcome, columns={**outcome.columns, **columns})

    return dataclasses.replace(method, run=run)


def from_program(name: str, code: str, box: "Sandbox") -> Method:
    """A program in the form that a model writes, run in the sandbox and repaired likewise."""
    from llm.decision.execution import run_programs
    from llm.decision.namespace import raw_assignment
    from llm.decision.slot import host_slot, warm_up

    repair = jax.jit(lsa.repair)

    def run(key: jax.Array, inst: lsa.Instance, budget_s: float) -> Outcome:
        slot: HostSlot = host_slot(inst)
        (result,) = run_programs(box, [f"```python\n{code}```"], [slot])
        start = time.perf_counter()
        raw = raw_assignment(slot, result.action).raw
        assignment = np.asarray(repair(inst, raw))
        seconds = result.execute_s + time.perf_counter() - start
        columns = {"execute_s": result.execute_s, "completion": code, "detail": result.detail}
        return Outcome(assignment, seconds, result.status, columns=columns)

    def prepare(inst: lsa.Instance) -> None:
        warm_up(inst)
        jax.block_until_ready(repair(inst, np.full(inst.num_rows, -1, np.int32)))

    return Method(name, run, prepare)


_CANDIDATES = ("sort_both", "assign_rates", "assign_values", "improve")
_AS_GOOD = 1e-3  # of the way from random to best


def best_family(box: "Sandbox", place: Place, *, seed: int) -> str:
    """The family of programs that is best at a place, by running one of each; of equals the first.

    Raises:
        Unavailable: none is valid there.
    """
    from llm.training.evaluation import held_out
    from llm.training.programs import PROGRAMS
    from llm.training.prompts import Cell
    from llm.training.rewards import Terms, score

    cell = Cell(place.setting, place.objective, ",".join(map(str, place.triple)), 5.0)
    slots = held_out(cell, 4, seed)
    scores = score(
        [f"```python\n{PROGRAMS[family]}```" for family in _CANDIDATES for _ in slots],
        [inst for _ in _CANDIDATES for inst in slots],
        box,
        terms=Terms(form="ranked"),
        budget_s=cell.time_budget_s,
    )
    gain = np.where(scores.valid, scores.gain, -np.inf).reshape(len(_CANDIDATES), -1).mean(axis=1)
    if not np.isfinite(gain).any():
        raise Unavailable(f"no program is valid in {cell} on this machine")
    return _CANDIDATES[int(np.argmax(gain >= gain.max() - _AS_GOOD))]


@dataclasses.dataclass(frozen=True)
class Agents:
    """Trainings of one kind of agent, a folder for each place.

    Attributes:
        algorithm: "ppo" or "dqn".
        head: of `train_agent`.
        train_s: seconds of each training.
        seed: of the run.
        folder: of all agents' checkpoints.
    """

    algorithm: str
    head: str
    train_s: float
    seed: int
    folder: pathlib.Path

    @property
    def name(self) -> str:
        """In tables."""
        return f"{self.algorithm.upper()}, {self.head}"

    def trained(self, place: Place) -> "Trained | str":
        """An agent that was trained there, by this call or before; or why there is none."""
        config = train_agent.Config(
            algorithm=self.algorithm,  # type: ignore[arg-type]
            head=self.head,  # type: ignore[arg-type]
            triple=place.triple,
            setting=place.setting,  # type: ignore[arg-type]
            objective=place.objective,  # type: ignore[arg-type]
            seed=self.seed,
            seeds=1,
            budget_s=self.train_s,
        )
        parts = (self.algorithm, self.head, place.setting, place.objective, *place.triple)
        folder = self.folder / "-".join(map(str, parts))
        try:
            agent = train_agent.make_agent(config)
            found = train_agent.train(config, agent, folder)
        except (ActionSpaceTooLarge, BudgetTooSmall) as error:
            return str(error)
        steps = int(found.curve["steps"][0, -1]) if found.num_updates else 0
        return Trained(agent.methods(found)[0], found.seconds, steps)


class Trained(NamedTuple):
    """An agent as a method, and what its training took.

    Attributes:
        method: with one seed's weights.
        seconds: of the training, without compilation.
        steps: that it learned from.
    """

    method: Method
    seconds: float
    steps: int


def retrained(agents: Agents, there: "Trained | str") -> Method:
    """An agent that was trained at the place, or why there is none."""
    name = agents.name + RETRAINED
    if isinstance(there, str):
        return not_applicable(name, there)
    cost = {"adapt_s": there.seconds, "adapt_samples": there.steps, "retrained": 1}
    renamed = dataclasses.replace(there.method, name=name)
    return with_columns(renamed, lines_changed=0, **cost)


def from_home(agents: Agents, home: "Trained | str") -> Method:
    """An agent from home at another place; it skips what its network does not take."""
    if isinstance(home, str):
        return not_applicable(agents.name, home)
    from flax.errors import FlaxError

    method = home.method

    def skip(inst: lsa.Instance) -> str | None:
        try:
            method.prepare(inst)
        except ValueError as error:
            return str(error)
        except FlaxError as error:
            reason = str(error).splitlines()[0].split(" (http")[0]
            return f"its network does not take what it is shown there: {reason}"
        return None

    return dataclasses.replace(method, name=agents.name, skip=skip)
