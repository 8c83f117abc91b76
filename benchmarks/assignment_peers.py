"""What else solves a batch of assignment problems [batch, n, n]: columns by row, to maximise."""

import importlib
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize


def by_scipy(values: np.ndarray) -> np.ndarray:
    """SciPy, one problem after another."""
    solve = scipy.optimize.linear_sum_assignment
    return np.stack([solve(one, maximize=True)[1] for one in values])


def by_lapx(values: np.ndarray) -> np.ndarray:
    """lapx's fastest way: `lapjvr`, each row from its maximum; the batched call for a batch."""
    lap = importlib.import_module("lap")
    cost = values.max(axis=2, keepdims=True) - values
    if len(cost) == 1:
        return np.asarray(lap.lapjvr(cost[0])[-1])[None]
    return np.stack(lap.lapjvr_batch(cost, return_cost=False)[1])


def by_optax(values: jax.Array) -> jax.Array:
    """optax's Hungarian under vmap."""
    hungarian = importlib.import_module("optax").assignment.hungarian_algorithm

    def solve(x: jax.Array) -> jax.Array:
        rows, columns = hungarian(-x)
        return jnp.zeros(x.shape[0], jnp.int32).at[rows].set(columns)

    return jax.vmap(solve)(values)


def by_ott(values: jax.Array) -> jax.Array:
    """ott-jax's Sinkhorn, its plan rounded row by row: approximate."""
    geometry = importlib.import_module("ott.geometry.geometry")
    linear = importlib.import_module("ott.solvers.linear")

    def solve(x: jax.Array) -> jax.Array:
        cost = jnp.max(x, axis=1, keepdims=True) - x
        geom = geometry.Geometry(cost_matrix=cost / jnp.mean(cost), epsilon=1e-2)
        plan = linear.solve(geom, max_iterations=2000).matrix

        def take(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            plan, columns = carry
            best = jnp.argmax(plan)
            row, column = best // x.shape[1], best % x.shape[1]
            plan = plan.at[row].set(-1.0).at[:, column].set(-1.0)
            return plan, columns.at[row].set(column)

        start = (plan, jnp.zeros(x.shape[0], jnp.int32))
        return jax.lax.fori_loop(0, x.shape[0], take, start)[1]

    return jax.vmap(solve)(values)


def by_torch(values: np.ndarray) -> np.ndarray:
    """torch-linear-assignment's batched solver, on the CPU."""
    torch = importlib.import_module("torch")
    batch = importlib.import_module("torch_linear_assignment").batch_linear_assignment
    return batch(torch.from_numpy(-values)).numpy()


def installed(*modules: str) -> bool:
    """Whether all of these can be imported."""
    return all(importlib.util.find_spec(name) for name in modules)
