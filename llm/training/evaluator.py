"""Eq. (13) and violations of many raw assignments at once, jitted per shape of instance."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

import lsajax as lsa
from llm.decision.namespace import UNASSIGNED


class Evaluation(NamedTuple):
    """What raw assignments are worth.

    Attributes:
        gain: Eq. (13) of the instance's objective before clipping, or the gain that is anchored at
            `best` too; 0 where no user can be served.
        violations: counts by kind, as `lsajax.violations` names them.
    """

    gain: Float[np.ndarray, "n"]
    violations: dict[str, Int[np.ndarray, "n"]]


def evaluate(
    instances: Sequence[lsa.Instance],
    raw: Sequence[Int[np.ndarray, "users"]],
    *,
    kappa: float = 2.0,
    penalty: float = 0.5,
    baselines: Sequence[float] | None = None,
    best: Sequence[float] | None = None,
    device: jax.Device | None = None,
) -> Evaluation:
    """Eq. (13) and violations of raw assignments, each on the instance beside it; no sandbox.

    They are grouped by instance and the instances by shape; both counts are padded to powers of
    two, so that a training run compiles a handful of sizes and then no more.

    Args:
        instances: one per raw assignment, the same object for those of one prompt.
        raw: channel per row, any integers.
        kappa: see `Terms`.
        penalty: see `Terms`.
        baselines: `random_baselines(instances)`, one per raw assignment, where the caller keeps
            them: they are most of the arithmetic.
        best: `best_values(instances)` for the gain that is anchored at both ends, see
            `lsajax.performance_gain`; None for Eq. (13) itself.
        device: None is the first CPU device.

    Raises:
        ValueError: the arguments are not equally many, or a baseline or best value is not finite.
    """
    n = len(raw)
    check_counts(n, "raw assignment", instances=instances, baselines=baselines, best=best)
    anchors = _anchor("baselines", baselines), _anchor("best", best)
    gain = np.zeros(n, np.float32)
    broken = {kind: np.zeros(n, np.int32) for kind in lsa.Violations._fields}
    for batch, group, places in _batches(instances, raw):
        place = np.concatenate([np.asarray(row) for row in places])
        u = np.repeat(np.arange(len(places)), [len(row) for row in places])
        g = np.concatenate([np.arange(len(row)) for row in places])
        known = [_by_instance(values, u, place, group.shape[0]) for values in anchors]
        with jax.default_device(device or jax.devices("cpu")[0]):
            found_gain, found_broken = jax.device_get(
                _evaluate(batch, group, *known, kappa, penalty)
            )
        gain[place] = found_gain[u, g]
        for kind, counts in zip(broken, found_broken, strict=True):
            broken[kind][place] = counts[u, g]
    return Evaluation(gain, broken)


def _anchor(name: str, values: Sequence[float] | None) -> Float[np.ndarray, "n"] | None:
    if values is None:
        return None
    known = np.asarray(values, np.float32)
    if not np.all(np.isfinite(known)):
        raise ValueError(f"{name} must be finite, got {known[~np.isfinite(known)][0]:g}")
    return known


def _by_instance(
    values: np.ndarray | None, u: np.ndarray, place: np.ndarray, count: int
) -> Float[np.ndarray, "instances"] | None:
    """One value per instance of a batch, from one per raw assignment; 1 for the filling."""
    if values is None:
        return None
    found = np.ones(count, np.float32)
    found[u] = values[place]
    return found


def check_counts(count: int, of: str, **arguments: Sequence[Any] | None) -> None:
    """Raises ValueError where an argument that is given has not `count` entries, one per `of`."""
    for name, values in arguments.items():
        if values is not None and len(values) != count:
            raise ValueError(f"{name} must have one entry per {of} ({count}), got {len(values)}")


def random_baselines(
    instances: Sequence[lsa.Instance], *, device: jax.Device | None = None
) -> Float[np.ndarray, "instances"]:
    """C(a_rand) of each instance, exact, in the unit of its objective; for callers that keep it."""
    with jax.default_device(device or jax.devices("cpu")[0]):
        found = [_expected(jax.tree.map(np.asarray, inst)) for inst in instances]
    return np.array([float(value) for value in found], np.float32)


def best_values(
    instances: Sequence[lsa.Instance], *, device: jax.Device | None = None
) -> Float[np.ndarray, "instances"]:
    """C(a) of the best assignment of each instance, in the unit of its objective.

    The optimum where the objective is separable; `lsajax.solvers.coupled_bound` for 'coupled'.
    """
    found: dict[int, float] = {}  # the same object is solved once
    with jax.default_device(device or jax.devices("cpu")[0]):
        for inst in instances:
            if id(inst) not in found:
                found[id(inst)] = float(_best(jax.tree.map(np.asarray, inst)))
    return np.array([found[id(inst)] for inst in instances], np.float32)


@jax.jit
def _best(inst: lsa.Instance) -> Float[Array, ""]:
    if inst.objective == "coupled":
        return lsa.solvers.coupled_bound(inst)
    return jnp.asarray(lsa.solvers.hungarian(jax.random.key(0), inst).value)


_expected = jax.jit(lsa.expected_random_value)


@jax.jit
def _evaluate(
    batch: lsa.Instance,
    group: Int[Array, "instances group users"],
    baselines: Float[Array, "instances"] | None,
    best: Float[Array, "instances"] | None,
    kappa: ArrayLike,
    penalty: ArrayLike,
) -> tuple[Float[Array, "instances group"], lsa.Violations]:
    key = jax.random.key(0)  # unused: the baseline is the exact expectation

    def one(
        inst: lsa.Instance, raw: Array, baseline: Array | None, best: Array | None
    ) -> tuple[Array, lsa.Violations]:
        gain = lsa.performance_gain(
            key, inst, raw, baseline=baseline, best=best, kappa=kappa, penalty=penalty
        )
        return gain, jax.vmap(lsa.violations, (None, 0))(inst, raw)

    return jax.vmap(one)(batch, group, baselines, best)


def _batches(
    instances: Sequence[lsa.Instance], raw: Sequence[np.ndarray]
) -> list[tuple[lsa.Instance, np.ndarray, list[list[int]]]]:
    """(instances [U, ...], raw assignments [U, G, K], whose they are) for each shape."""
    by_instance: dict[int, list[int]] = {}
    for k, inst in enumerate(instances):
        by_instance.setdefault(id(inst), []).append(k)
    by_shape: dict[Any, list[list[int]]] = {}
    for places in by_instance.values():
        leaves, tree = jax.tree.flatten(instances[places[0]])
        shape = (tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
        by_shape.setdefault(shape, []).append(places)
    batches = []
    for rows in by_shape.values():
        U = _padded(len(rows))
        G = _padded(max(len(row) for row in rows))
        # The last instance is repeated, and a group is filled up with empty assignments.
        chosen = [instances[row[0]] for row in rows] + [instances[rows[-1][0]]] * (U - len(rows))
        batch = jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *chosen)
        group = np.full((U, G, chosen[0].num_rows), UNASSIGNED, np.int32)
        for u, row in enumerate(rows):
            for g, k in enumerate(row):
                group[u, g] = raw[k]
        batches.append((batch, group, rows))
    return batches


def _padded(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()
