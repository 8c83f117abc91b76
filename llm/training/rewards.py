"""Rewards of Eq. (12)-(14), R = w_s R_s + w_p R_p + w_d R_d, for a whole batch at once.

`score` is plain arrays, for any trainer; `llm.training.trl_rewards` hands the same parts to TRL.
The repair is off: an invalid answer is worth what it is worth.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

import lsajax as lsa
from llm.decision import execution, namespace
from llm.sandbox import Sandbox
from llm.training import structure


@dataclasses.dataclass(frozen=True)
class Terms:
    """Weights and constants of Eq. (12)-(14); each part is within [-1, 1.2] before its weight.

    Args:
        structure: w_s. R_s is within [0, 1.2], see `llm.training.structure`.
        performance: w_p. R_p = kappa (eta C(a) - C_rand) / C_rand, clipped to [-1, 1], with C_rand
            the exact expectation over random valid assignments. An answer that serves nobody has
            -1 (before clipping -kappa).
        depth: w_d. R_d = -delta max(0, 1 - L / L_min) is within [-delta, 0].
        kappa: scale of R_p.
        penalty: eta where users of a duplicated channel disturb each other.
        delta: depth of the penalty for short completions, within [0, 1].
        min_tokens: L_min.

    Raises:
        ValueError: a value out of range.
    """

    structure: float = 1.0
    performance: float = 1.0
    depth: float = 0.5
    kappa: float = 2.0
    penalty: float = 0.5
    delta: float = 0.5
    min_tokens: int = 100

    def __post_init__(self) -> None:
        for name, high in (("kappa", np.inf), ("penalty", 1.0), ("delta", 1.0)):
            value = getattr(self, name)
            if not (np.isfinite(value) and 0 <= value <= high):
                raise ValueError(f"{name} must be finite and within [0, {high}], got {value!r}")
        if self.min_tokens < 1:
            raise ValueError(f"min_tokens must be at least 1, got {self.min_tokens}")


class Scores(NamedTuple):
    """One entry per completion.

    Args:
        total: Eq. (12); a part that does not apply counts 0.
        structure: R_s.
        performance: R_p.
        depth: R_d; NaN where no lengths were given.
        gain: Eq. (13) before clipping.
        valid: the raw answer breaks nothing.
        status: `ok`, `no code`, or how the program failed.
        detail: what went wrong, in a line.
    """

    total: Float[np.ndarray, "n"]
    structure: Float[np.ndarray, "n"]
    performance: Float[np.ndarray, "n"]
    depth: Float[np.ndarray, "n"]
    gain: Float[np.ndarray, "n"]
    valid: np.ndarray
    status: list[str]
    detail: list[str]


def score(
    completions: Sequence[str],
    instances: Sequence[lsa.Instance],
    box: Sandbox | None,
    *,
    lengths: Sequence[int] | None = None,
    paradigm: str = "code",
    terms: Terms | None = None,
    baselines: Sequence[float] | None = None,
    device: jax.Device | None = None,
) -> Scores:
    """Rewards of completions, each on the instance beside it.

    Programs run in the sandbox, equal ones on one instance once; then one jitted call per shape of
    instance values all raw actions. Call it with the whole step: what an instance's completions
    share is computed once.

    Args:
        completions: texts as the model wrote them.
        instances: as many; the same object for the completions of one prompt.
        box: runs the programs; may be None in the text paradigm.
        lengths: tokens of each completion, for R_d; None leaves it out.
        paradigm: "code" or "text".
        terms: weights and constants.
        baselines: `random_baselines` of the instances, where the caller keeps them.
        device: where the evaluator runs; None is the first CPU device, which leaves a GPU to the
            trainer.

    Raises:
        ValueError: lengths of the arguments that disagree, an unknown paradigm, no sandbox.
        SandboxUnavailable: the sandbox broke; no reward is made up for that.
    """
    terms = terms or Terms()
    check_step(completions, instances, lengths, paradigm, box)
    if paradigm == "code":
        answers = execution.run_programs(box, completions, instances)
        structure_of = structure.code_structure
    else:
        answers = execution.read_mappings(completions)
        structure_of = structure.text_structure
    raw = [namespace.raw_assignment(i, a.action) for i, a in zip(instances, answers, strict=True)]
    actions = [r.assignment for r in raw]
    value = evaluate(instances, actions, terms, baselines=baselines, device=device)
    R_s = np.zeros(len(answers), np.float32)
    valid = np.zeros(len(answers), bool)
    for k, answer in enumerate(answers):
        counts = {kind: int(count[k]) for kind, count in value.violations.items()}
        known = len(answer.action or {}) - raw[k].unknown_users
        met = structure.shares(
            answer,
            users=int(value.users[k]),
            idle=int(value.idle[k]),
            known_users=known,
            counts=counts,
        )
        R_s[k] = structure_of(answer, met)
        # Every share is whole exactly when nothing is broken and all who can be are served.
        valid[k] = len(met) > 0 and min(met.values()) == 1.0
    R_p = np.clip(value.gain, -1.0, 1.0)
    R_d = _depth(lengths, terms, len(answers))
    total = terms.structure * R_s + terms.performance * R_p + terms.depth * np.nan_to_num(R_d)
    status = [answer.status for answer in answers]
    detail = [answer.detail for answer in answers]
    return Scores(total, R_s, R_p, R_d, value.gain, valid, status, detail)


def check_step(
    completions: Sequence[str],
    instances: Sequence[lsa.Instance],
    lengths: Sequence[int] | None,
    paradigm: str,
    box: Sandbox | None,
) -> None:
    """Raises ValueError where the arguments of `score` do not fit each other."""
    if paradigm not in ("code", "text"):
        raise ValueError(f"paradigm must be 'code' or 'text', got {paradigm!r}")
    if paradigm == "code" and box is None:
        raise ValueError("box must be a Sandbox in the code paradigm, got None")
    for name, other in (("instances", instances), ("lengths", lengths)):
        if other is not None and len(other) != len(completions):
            raise ValueError(
                f"{name} must have one entry per completion ({len(completions)}), got {len(other)}"
            )


def _depth(lengths: Sequence[int] | None, terms: Terms, count: int) -> Float[np.ndarray, "n"]:
    """Eq. (14)."""
    if lengths is None:
        return np.full(count, np.nan, np.float32)
    missing = np.maximum(0.0, 1.0 - np.asarray(lengths, np.float32) / terms.min_tokens)
    return (-terms.delta * missing).astype(np.float32)


class Evaluation(NamedTuple):
    """What the raw actions are worth: arrays [n], violations by kind."""

    gain: Float[np.ndarray, "n"]
    violations: dict[str, Int[np.ndarray, "n"]]
    users: Int[np.ndarray, "n"]
    idle: Int[np.ndarray, "n"]


def evaluate(
    instances: Sequence[lsa.Instance],
    raw: Sequence[Int[np.ndarray, "users"]],
    terms: Terms | None = None,
    *,
    baselines: Sequence[float] | None = None,
    device: jax.Device | None = None,
) -> Evaluation:
    """Eq. (13) and violations of raw actions, each on the instance beside it; no sandbox involved.

    Actions are grouped by instance and instances by shape; both counts are padded to powers of two,
    so that a training run compiles a handful of sizes and then no more.

    Args:
        instances: one per action, the same object for the actions of one prompt.
        raw: one assignment i32[K] per action.
        terms: weights and constants.
        baselines: `random_baselines(instances)`, one per action, where the caller keeps them: they
            are most of the arithmetic.
        device: None is the first CPU device.
    """
    terms = terms or Terms()
    n = len(raw)
    gain = np.zeros(n, np.float32)
    users, idle = np.zeros(n, np.int32), np.zeros(n, np.int32)
    broken = {kind: np.zeros(n, np.int32) for kind in lsa.Violations._fields}
    for batch, group, places in _batches(instances, raw):
        place = np.concatenate([np.asarray(row) for row in places])
        u = np.repeat(np.arange(len(places)), [len(row) for row in places])
        g = np.concatenate([np.arange(len(row)) for row in places])
        known = None
        if baselines is not None:
            known = np.ones(group.shape[0], np.float32)
            known[u] = np.asarray(baselines, np.float32)[place]
        with jax.default_device(device or jax.devices("cpu")[0]):
            found = _evaluate(batch, group, known, terms.kappa, terms.penalty)
        found_gain, found_broken, found_users, found_idle = jax.device_get(found)
        gain[place] = found_gain[u, g]
        users[place], idle[place] = found_users[u], found_idle[u]
        for kind, counts in zip(broken, found_broken, strict=True):
            broken[kind][place] = counts[u, g]
    return Evaluation(gain, broken, users, idle)


def random_baselines(
    instances: Sequence[lsa.Instance], *, device: jax.Device | None = None
) -> Float[np.ndarray, "instances"]:
    """C(a_rand) of each instance [bit/s], exact; for callers that meet an instance many times."""
    with jax.default_device(device or jax.devices("cpu")[0]):
        found = [_expected(jax.tree.map(np.asarray, inst)) for inst in instances]
    return np.array([float(value) for value in found], np.float32)


_expected = jax.jit(lsa.expected_random_throughput)


@jax.jit
def _evaluate(
    batch: lsa.Instance,
    group: Int[Array, "instances actions users"],
    baselines: Float[Array, "instances"] | None,
    kappa: Float[Array, ""],
    penalty: Float[Array, ""],
) -> tuple[Array, lsa.Violations, Array, Array]:
    key = jax.random.key(0)  # unused: the baseline is the exact expectation

    def one(
        inst: lsa.Instance, actions: Array, baseline: Array | None
    ) -> tuple[Array, lsa.Violations, Array, Array]:
        gain = lsa.performance_gain(
            key, inst, actions, baseline_bps=baseline, kappa=kappa, penalty=penalty
        )
        broken = jax.vmap(lsa.violations, (None, 0))(inst, actions)
        return gain, broken, jnp.sum(inst.user_mask), jnp.sum(~inst.occupied)

    return jax.vmap(one)(batch, group, baselines)


def _batches(
    instances: Sequence[lsa.Instance], raw: Sequence[np.ndarray]
) -> list[tuple[lsa.Instance, np.ndarray, list[list[int]]]]:
    """(instances [U, ...], actions [U, G, K], which completion each is) for each shape."""
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
        # The last instance is repeated, and actions of nobody fill a group up.
        chosen = [instances[row[0]] for row in rows] + [instances[rows[-1][0]]] * (U - len(rows))
        batch = jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *chosen)
        group = np.full((U, G, chosen[0].num_rows), -1, np.int32)
        for u, row in enumerate(rows):
            for g, k in enumerate(row):
                group[u, g] = raw[k]
        batches.append((batch, group, rows))
    return batches


def _padded(count: int) -> int:
    """The next power of two."""
    return 1 << (count - 1).bit_length()
