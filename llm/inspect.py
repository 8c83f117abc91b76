"""What a program does: its family, by its syntax tree and by what it answers.

`syntax` reads the program; `Probe` runs it on slots on which the families answer differently. What
it answers goes before how it looks: a program that writes out the rates itself is as much a LAP on
rates as one that calls `rate_bps`.
"""

import ast
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

import lsajax as lsa
from llm.decision.execution import run_programs
from llm.decision.helpers import bind
from llm.decision.namespace import program_data
from llm.decision.slot import HostSlot, host_slot
from llm.sandbox import Sandbox
from llm.training import programs
from lsajax.hashing import named_key

MAX_CHARS = 1 << 13
"""Longer programs are not parsed: `ast` recurses, and what a model wrote may nest."""

_LAPS = {"linear_sum_assignment", "min_weight_full_bipartite_matching"}
_DRAWS = {"permutation", "permuted", "shuffle", "choice", "sample", "random", "integers", "randint"}
_ORDERS = {"argsort", "sorted", "sort", "lexsort", "argpartition"}
_BEST = {"argmax", "argmin", "max", "min"}
_VALUES, _RATES = {"values", "value", "objective"}, {"rate_bps", "power_w"}
_OF_CHANNELS = {"bandwidth_hz", "noise_w", "interference_w"}

_OF_LAPS = (programs.ASSIGN_RATES, programs.ASSIGN_VALUES)

Columns = Int[np.ndarray, "users"] | None
"""Column of each user in a program's answer; None where it is not a whole matching."""


def syntax(code: str) -> str:
    """The family that a program looks like, of `llm.training.programs.FAMILIES`, or "unknown".

    It need not be valid, but for what cannot be parsed. Variables are followed through assignments,
    without scopes.
    """
    if len(code) > MAX_CHARS:
        return programs.UNKNOWN
    try:
        seen = _Reading(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return programs.UNKNOWN
    if seen.lap is not None:
        if seen.in_loops & (_BEST | {"if"}):
            return programs.IMPROVE
        if seen.lap & _VALUES:
            return programs.ASSIGN_VALUES
        return programs.ASSIGN_RATES if seen.lap & _RATES else programs.UNKNOWN
    if "if" in seen.in_loops and "objective" not in seen.called & _BEST:
        swaps = seen.in_loops & (_DRAWS | {"objective"})
        if swaps or not seen.in_loops & _BEST:
            return programs.LOCAL_SEARCH
    if seen.in_loops & _BEST:
        return programs.GREEDY
    users, channels = _sorted_sides(seen)
    if users and channels:
        return programs.SORT_BOTH
    if users or channels:
        return programs.SORT_USERS if users else programs.SORT_CHANNELS
    if seen.called & _DRAWS:
        return programs.RANDOM
    return programs.FIRST_FIT if "action" in seen.made_of else programs.UNKNOWN


def _sorted_sides(seen: "_Reading") -> tuple[bool, bool]:
    """Whether a program sorts users, and channels: by names, or by the axis of a mean of pairs."""
    users = channels = False
    for names, axes in seen.orders:
        if names & (_RATES | _VALUES) and axes:
            users, channels = users or 1 in axes, channels or 0 in axes
        elif names & _OF_CHANNELS:
            channels = True
        else:
            users |= bool(names & (_RATES | _VALUES))
    return users, channels


class _Reading:
    """What a program calls, and on what.

    Attributes:
        made_of: names that each variable was made of.
        called: names of functions and methods that are called.
        in_loops: those called in the body of a loop, and "if" where it has a condition.
        lap: what a LAP was solved for was made of; None without one.
        orders: of each sorting, what it was made of, and the axes that were reduced for it.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.made_of: dict[str, set[str]] = {}
        nodes = list(ast.walk(tree))
        for node in [*nodes, *nodes]:  # twice: a loop may read what it sets further down
            if isinstance(node, ast.Assign) or getattr(node, "value", None) is not None:
                self._bind(node)
        renamed = {
            name.asname: name.name
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for name in node.names
            if name.asname
        }
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        names = [renamed.get(_called(call), _called(call)) for call in calls]
        loops = [n for n in nodes if isinstance(n, ast.For | ast.While)]
        inside = [n for loop in loops for line in loop.body for n in ast.walk(line)]
        self.called = set(names)
        self.in_loops = {
            renamed.get(_called(n), _called(n)) for n in inside if isinstance(n, ast.Call)
        }
        if any(isinstance(node, ast.If) for node in inside):
            self.in_loops.add("if")
        laps = [c for name, c in zip(names, calls, strict=True) if name in _LAPS]
        self.lap = set().union(*map(self._names, laps)) if laps else None
        self.orders = [
            (self._names(call), _axes(call))
            for name, call in zip(names, calls, strict=True)
            if name in _ORDERS
        ]

    def _bind(self, node: ast.AST) -> None:
        targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
        for target in targets:
            for inner in ast.walk(target) if isinstance(target, ast.expr) else ():
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    found = self._names(node.value) - {inner.id}  # type: ignore[attr-defined]
                    self.made_of.setdefault(inner.id, set()).update(found)

    def _names(self, node: ast.AST) -> set[str]:
        names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        return names.union(*(self.made_of.get(name, set()) for name in names))


def _called(call: ast.Call) -> str:
    """The last part of a called name: `argsort` of `np.argsort`."""
    function = call.func
    return getattr(function, "attr", getattr(function, "id", ""))


def _axes(node: ast.AST) -> set[int]:
    return {
        inner.value.value
        for inner in ast.walk(node)
        if isinstance(inner, ast.keyword)
        and inner.arg == "axis"
        and isinstance(inner.value, ast.Constant)
        and isinstance(inner.value.value, int)
    }


class Probe:
    """Names programs by what they answer on two slots, and where that says nothing by `syntax`.

    On the first slot, with fading, priorities and the objective coupled, exact assignment on rates,
    on values, and what improves on it differ; on the second, where the power of a user is the same
    on all channels, the ways to sort do. Each program is looked at once.

    Args:
        box: runs them.
        time_budget_s: that they are told and may use [s].
    """

    def __init__(self, box: Sandbox, *, time_budget_s: float = 1.0) -> None:
        self._box, self._budget_s = box, time_budget_s
        base = lsa.Scenario(num_users=24, num_channels=30, num_active=12)
        mixed = base.replace(fading=True, weight_max=10.0, objective="coupled", coupling_bps=3e8)
        key = jax.random.key(0)
        self._slots = [
            host_slot(lsa.sample_instance(named_key(key, "probe", i), scenario))
            for i, scenario in enumerate((mixed, base))
        ]
        data = program_data(self._slots[0], time_budget_s)
        found = bind(data)
        self._rates, self._values = found["rate_bps"](), found["values"]()
        self._objective = found["objective"]
        self._by_rates = linear_sum_assignment(self._rates, maximize=True)[1]
        self._by_values = linear_sum_assignment(self._values, maximize=True)[1]
        self._known: dict[str, str] = {}

    def families(self, codes: Sequence[str]) -> list[str]:
        """The family of each program."""
        new = [code for code in dict.fromkeys(codes) if code not in self._known]
        texts = [f"```python\n{code}\n```" for code in new]
        answers = [self._columns(slot, texts) for slot in self._slots]
        for code, mixed, plain in zip(new, *answers, strict=True):
            self._known[code] = self._family(syntax(code), mixed, plain)
        return [self._known[code] for code in codes]

    def _columns(self, slot: HostSlot, texts: Sequence[str]) -> list[Columns]:
        """What each program answers."""
        place = {int(channel): j for j, channel in enumerate(slot.channels)}
        budgets = [self._budget_s] * len(texts)
        found: list[Columns] = []
        for result in run_programs(self._box, texts, [slot] * len(texts), None, budgets):
            action = result.action or {}
            cols = [place.get(int(action.get(int(user), -1)), -1) for user in slot.users]
            whole = min(cols) >= 0 and len(set(cols)) == len(cols)
            found.append(np.array(cols) if whole else None)
        return found

    def _family(self, looks: str, mixed: Columns, plain: Columns) -> str:
        searches = looks in (programs.IMPROVE, programs.LOCAL_SEARCH)
        if mixed is not None:
            if np.array_equal(mixed, self._by_rates):
                return programs.ASSIGN_RATES
            if np.array_equal(mixed, self._by_values):
                return programs.ASSIGN_VALUES
            if searches:
                return looks
            if is_greedy(self._rates, mixed) or is_greedy(self._values, mixed):
                return programs.GREEDY
            better = self._objective(mixed) > self._objective(self._by_values)
            if better and looks in (*_OF_LAPS, programs.UNKNOWN):
                return programs.IMPROVE
        if plain is None or searches or looks in _OF_LAPS:
            return looks
        if looks.startswith("sort"):  # by what may be alike for all on that slot
            return looks
        return _order(self._slots[1], plain) or looks


def _order(slot: HostSlot, cols: Int[np.ndarray, "users"]) -> str | None:
    """The way of sorting that puts the users of a plain slot on these columns."""
    K, C = len(slot.users), len(slot.channels)
    strong = np.argsort(-slot.power_w()[:, 0])
    wide = np.argsort(-slot.bandwidth_hz)
    ways = {
        programs.SORT_BOTH: (strong, wide[:K]),
        programs.SORT_USERS: (strong, np.arange(C)[:K]),
        programs.SORT_CHANNELS: (np.arange(K), wide[:K]),
        programs.FIRST_FIT: (np.arange(K), np.arange(C)[:K]),
    }
    for name, (rows, own) in ways.items():
        if np.array_equal(cols[rows], own):
            return name
    return None


def is_greedy(worth: Float[np.ndarray, "users channels"], cols: Int[np.ndarray, "users"]) -> bool:
    """Whether users in some order take the best channel left, and most of them their very best.

    Any answer that is best for a weighting of users comes of such an order, so that those of a LAP
    have to be told apart before.

    Args:
        worth: of each pair.
        cols: column of each user.
    """
    left, free = set(range(len(cols))), np.ones(worth.shape[1], bool)
    while left:
        best = {i: int(np.argmax(np.where(free, worth[i], -np.inf))) for i in left}
        done = [i for i in left if best[i] == cols[i]]
        if not done:
            return False
        for i in done:
            free[cols[i]] = False
            left.remove(i)
    return True
