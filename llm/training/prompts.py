"""Prompts to train on: freshly sampled instances of mixed cells, each a function of (seed, index).

Nothing is kept: the stream may be read from any place on, by any process, and is the same.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

import lsajax as lsa
from llm.decision.serialize import serialize
from llm.sandbox.limits import check_cpu
from llm.training.entries import MAX_SLOTS, Entry
from lsajax.hashing import named_key

OBJECTIVES: dict[str, dict[str, Any]] = {
    "throughput": {},
    "priorities": {"weight_max": 10.0},
    "fair": {"objective": "fair"},
    "coupled": {"objective": "coupled"},
}
"""What may be asked for, as changes of a scenario."""

SETTINGS = {name: made for name, made in lsa.SETTINGS.items() if "objective" not in made}
"""What rates may depend on, as changes of a scenario."""

_KEPT = 512  # entries of the steps at hand


class Cell(NamedTuple):
    """What a prompt is about, but for the instance itself.

    Attributes:
        setting: key of `SETTINGS`.
        objective: key of `OBJECTIVES`.
        size: "N,M,K", or the paper's "I", "II", "III".
        time_budget_s: CPU seconds that a program is told and held to.
    """

    setting: str = "plain"
    objective: str = "throughput"
    size: str = "III"
    time_budget_s: float = 1.0

    @property
    def scenario(self) -> lsa.Scenario:
        """What its instances are drawn from."""
        changes = SETTINGS[self.setting] | OBJECTIVES[self.objective]
        return scale_named(self.size).replace(**changes)


def scale_named(size: str) -> lsa.Scenario:
    """The scenario of "I", "II", "III" or "users,channels,requests".

    Raises:
        ValueError: anything else, or sizes that no scenario has.
    """
    if size in lsa.SCALES:
        return lsa.SCALES[size]
    parts = size.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        names = ", ".join(lsa.SCALES)
        raise ValueError(f"--scales must be {names} or users,channels,requests, got {size!r}")
    N, M, K = map(int, parts)
    try:
        return lsa.Scenario(num_users=N, num_channels=M, num_active=K)
    except ValueError as error:
        raise ValueError(f"--scales {size}: {error}") from None


def cells(
    settings: Sequence[str],
    objectives: Sequence[str],
    scales: Sequence[str],
    time_budgets: Sequence[float] = (1.0,),
) -> list[Cell]:
    """All combinations.

    Raises:
        ValueError: a name that is not known, or nothing to combine.
    """
    for option, names, known in (
        ("settings", settings, SETTINGS),
        ("objectives", objectives, OBJECTIVES),
    ):
        for name in names:
            if name not in known:
                raise ValueError(f"--{option} must be of {', '.join(known)}, got {name!r}")
    for budget in time_budgets:
        check_cpu("--time_budgets", budget)
    found = [Cell(*c) for c in itertools.product(settings, objectives, scales, time_budgets)]
    if not found:
        raise ValueError("settings, objectives, scales and time_budgets must have one entry each")
    if twice := len(found) - len(set(found)):
        raise ValueError(f"settings, objectives, scales and time_budgets name {twice} cells twice")
    for cell in found:
        _ = cell.scenario  # sizes that are none are refused here
    return found


def asked_cells(options: Any) -> list[Cell]:
    """The cells of a training's options: those that are named one by one, or all combinations.

    Raises:
        ValueError: a name that is not known, or nothing to combine.
    """
    if options.cells:
        return [cell_named(text) for text in options.cells]
    return cells(options.settings, options.objectives, options.scales, options.time_budgets)


def cell_named(text: str) -> Cell:
    """The cell "setting/objective/size/seconds".

    Raises:
        ValueError: another form, or a name that is not known.
    """
    try:
        setting, objective, size, seconds = text.split("/")
        budget_s = float(seconds)
    except ValueError:
        raise ValueError(
            f"--cells must be setting/objective/size/seconds each, got {text!r}"
        ) from None
    return cells([setting], [objective], [size], [budget_s])[0]


@jax.jit
def _sample(key: jax.Array, scenario: lsa.Scenario) -> lsa.Instance:
    return lsa.sample_instance(key, scenario)


class Stream(Sequence[Entry]):
    """Entries by index, in an order in which neighbours are of different cells.

    Every block of `len(cells)` indices has each cell once, shuffled anew: all are met equally
    often, and the prompts of a step are mixed.

    Args:
        cells: what is mixed.
        length: entries; they cost nothing until asked for.
        seed: of order and instances.
        slots: instances of an entry; the prompt shows the first.
        purpose: streams of other purposes share no instance.

    Raises:
        ValueError: `slots` out of range.
    """

    def __init__(
        self, cells: Sequence[Cell], length: int, *, seed: int, slots: int = 1, purpose: str
    ) -> None:
        if not 1 <= slots <= MAX_SLOTS:
            raise ValueError(f"--slots must be 1 to {MAX_SLOTS}, got {slots}")
        self.cells = list(cells)
        self.length = length
        self.slots = slots
        self._key = named_key(jax.random.key(seed), purpose)
        self._seed = [seed, *purpose.encode()]
        # One object per entry: the completions of a prompt are scored on the same one.
        self._entry = functools.lru_cache(_KEPT)(self._drawn)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return self._entry(int(index))

    def __iter__(self) -> Iterator[Entry]:
        return (self[i] for i in range(self.length))

    def cell(self, index: int) -> Cell:
        """What entry `index` is of."""
        block, place = divmod(int(index), len(self.cells))
        return self.cells[_order(tuple(self._seed), block, len(self.cells))[place]]

    def _drawn(self, index: int) -> Entry:
        key = jax.random.fold_in(self._key, index)
        scenario = self.cell(index).scenario
        keys = [jax.random.fold_in(key, s) for s in range(self.slots)]
        # A GPU is the trainer's.
        with jax.default_device(jax.devices("cpu")[0]):
            drawn = [jax.device_get(_sample(k, scenario)) for k in keys]
        return drawn[0] if self.slots == 1 else tuple(drawn)


@functools.lru_cache(64)
def _order(seed: tuple[int, ...], block: int, count: int) -> np.ndarray:
    return np.random.default_rng([*seed, block]).permutation(count)


class Prompts:
    """Fills in the prompts of rows that hold an index alone: a data collator.

    Args:
        stream: of the instances.
        count_tokens: see `serialize`.
        budget: the most tokens of a prompt.
        paradigm: "code" or "text".
    """

    def __init__(
        self, stream: Stream, count_tokens: Callable[[str], int], budget: int, paradigm: str
    ) -> None:
        self.stream = stream
        self._of = functools.lru_cache(_KEPT)(
            functools.partial(_text, stream, count_tokens, budget, paradigm)
        )

    def text(self, index: int) -> str:
        """The prompt of entry `index`."""
        return self._of(int(index))

    def __call__(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            row | {"prompt": [{"role": "user", "content": self.text(row["instance"])}]}
            for row in rows
        ]


def _text(
    stream: Stream, count_tokens: Callable[[str], int], budget: int, paradigm: str, index: int
) -> str:
    entry = stream[index]
    shown = entry if isinstance(entry, lsa.Instance) else entry[0]
    budget_s = stream.cell(index).time_budget_s
    return serialize(shown, count_tokens, budget, paradigm=paradigm, time_budget_s=budget_s).text
