"""Networks, and what masks do to their outputs.

A network is a Flax module with `apply(params, obs) -> (scores f32[actions], value f32[])` for one
observation; scores are logits of a policy, or Q-values. An observation is any pytree; where it has
an attribute `action_mask` (bool[actions]), other actions are never taken.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

HIDDEN = 128
"""Units of a hidden layer, as in the paper."""

_MASKED = -1e9
"""Score of an action that cannot be taken: its probability is 0, and 0 log 0 stays 0."""


class MLP(nn.Module):
    """Two perceptrons for flat observations, one for the scores and one for the value.

    Attributes:
        num_actions: scores of the output.
        hidden: units of each hidden layer.
        activation: after each hidden layer.
        score_scale: of the last layer's weights; 0.01 starts near the uniform policy.
        has_value: whether there is a value; it is 0 otherwise.
    """

    num_actions: int
    hidden: tuple[int, ...] = (HIDDEN, HIDDEN)
    activation: Callable[[Array], Array] = nn.tanh
    score_scale: float = 0.01
    has_value: bool = True

    @nn.compact
    def __call__(self, obs: Any) -> tuple[Float[Array, "actions"], Float[Array, ""]]:
        """Scores and value of one observation, whose leaves but the mask are laid end to end."""
        x = flat(obs)
        scores = self._perceptron(x, self.num_actions, self.score_scale, "score")
        if not self.has_value:
            return scores, jnp.zeros(())
        return scores, self._perceptron(x, 1, 1.0, "value")[0]

    def _perceptron(self, x: Array, outputs: int, scale: float, name: str) -> Array:
        for i, units in enumerate(self.hidden):
            x = self.activation(nn.Dense(units, kernel_init=scaled(2**0.5), name=f"{name}_{i}")(x))
        return nn.Dense(outputs, kernel_init=scaled(scale), name=f"{name}_out")(x)


def scaled(scale: float) -> Callable[..., Array]:
    """Normal weights of variance scale^2 over the number of inputs.

    As large as orthogonal ones, which would need a QR decomposition: over several seeds at once
    those have been seen to block each other on XLA's CPU threads.
    """
    return nn.initializers.variance_scaling(scale**2, "fan_in", "normal")


def policy(num_actions: int) -> MLP:
    """Logits and value, which PPO takes by default."""
    return MLP(num_actions)


def q_values(num_actions: int) -> MLP:
    """Q-values alone, which DQN takes by default."""
    return MLP(num_actions, activation=nn.relu, score_scale=1.0, has_value=False)


def flat(obs: Any) -> Float[Array, "features"]:
    """The observation's numbers end to end; the mask is left out."""
    if action_mask(obs) is not None and hasattr(obs, "_asdict"):
        obs = {name: leaf for name, leaf in obs._asdict().items() if name != "action_mask"}
    leaves = [jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(obs)]
    return jnp.concatenate(leaves)


def action_mask(obs: Any) -> Bool[Array, "actions"] | None:
    """Which actions can be taken; None where all can."""
    return getattr(obs, "action_mask", None)


def masked(scores: Float[Array, "actions"], obs: Any) -> Float[Array, "actions"]:
    """Scores with the actions that cannot be taken out of reach of argmax and softmax."""
    mask = action_mask(obs)
    return scores if mask is None else jnp.where(mask, scores, _MASKED)


def log_policy(scores: Float[Array, "actions"], obs: Any) -> Float[Array, "actions"]:
    """Log-probabilities of the policy whose logits the scores are."""
    return jax.nn.log_softmax(masked(scores, obs))


def entropy(log_probs: Float[Array, "actions"]) -> Float[Array, ""]:
    """Entropy [nat]; masked actions add nothing."""
    return -jnp.sum(jnp.exp(log_probs) * log_probs)
