"""Weights and constants of the rewards, and the two forms that they can have.

- `paper`: Eq. (12)-(14) of LSA.
- `ranked`: programs in the order of the objective. An answer that is not wholly valid earns a part
  of 0.4 by its structure; a valid one has all of it, and a performance part above 0.3.
"""

import dataclasses
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from llm.training.structure import MAX_STRUCTURE

Form = Literal["paper", "ranked"]

STEP = 0.6
"""Performance part of a valid answer that is worth the mean of random ones, in the form ranked."""
BELOW_RANDOM = 0.3
"""How far, in the form ranked, that part falls at most for a valid answer that is worth less."""
STRUCTURE_SHARE = 0.4
"""Structure part of a valid answer in the form ranked."""

_PAPER_ONLY = ("depth", "kappa", "delta", "min_tokens")


@dataclasses.dataclass(frozen=True)
class Terms:
    """Weights and constants of Eq. (12)-(14), for either form.

    The form `ranked` has the parts of `ranked_parts` instead, and no depth: with weights of 1 an
    answer that is not valid has less than 0.4, a valid one more than 0.7, with 1 for the mean of
    random ones and 2 for the best. Whatever the weights above 0, valid answers rank before others,
    and by the objective among themselves.

    Attributes:
        structure: w_s, at least 0. R_s is within [0, 1.2], see `llm.training.structure`.
        performance: w_p, at least 0. R_p = kappa (eta C(a) - C_rand) / C_rand, clipped to [-1, 1],
            with C_rand the exact expectation over random valid assignments. An action that serves
            no user has -1 (before clipping -kappa). In a slot where no user can be served R_p is 0.
        depth: w_d, at least 0. R_d = -delta max(0, 1 - L / L_min) is within [-delta, 0].
        kappa: scale of R_p.
        penalty: eta where users of a duplicated channel disturb each other, within [0, 1].
        delta: depth of the penalty for short completions, within [0, 1].
        min_tokens: L_min, at least 1. None takes for programs, where the tokenizer's count is
            known, `llm.training.depth.shortest_exact_tokens` of it, and else the paradigm's own.
        form: "paper" or "ranked". `depth`, `kappa`, `delta` and `min_tokens` belong to the paper's.

    Raises:
        ValueError: a value out of range, or one that the form does not read.
    """

    structure: float = 1.0
    performance: float = 1.0
    depth: float = 0.5
    kappa: float = 2.0
    penalty: float = 0.5
    delta: float = 0.5
    min_tokens: int | None = None
    form: Form = "paper"

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ValueError(f"form must be one of {', '.join(get_args(Form))}, got {self.form!r}")
        high = {"penalty": 1.0, "delta": 1.0}
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if name == "form":
                continue
            if self.form == "ranked" and name in _PAPER_ONLY and value != field.default:
                raise ValueError(f"{name} is read by the form 'paper' alone, got {value!r}")
            low = 1 if name == "min_tokens" else 0
            if value is None and name == "min_tokens":
                continue
            if not (np.isfinite(value) and low <= value <= high.get(name, np.inf)):
                accepted = f"within [0, {high[name]}]" if name in high else f"at least {low}"
                raise ValueError(f"{name} must be finite and {accepted}, got {value!r}")


def ranked_parts(
    R_s: Float[np.ndarray, "n"], gain: Float[np.ndarray, "n"], valid: Bool[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Structure and performance part of the form ranked.

    A valid answer has 0.4 and 0.6 + q, with q = g for g >= 0 and 0.3 g / (1 - g) for g < 0, which
    falls towards -0.3; any other has 0.4 R_s / 1.2 and 0. How a valid program looks is nothing to
    this form.

    Args:
        R_s: structural term, within [0, 1.2].
        gain: g, anchored at 0 for the mean of random answers and 1 for the best; increasing in the
            objective, not clipped.
        valid: wholly valid answers.
    """
    below = np.minimum(gain, 0.0)
    q = np.where(gain < 0, BELOW_RANDOM * below / (1.0 - below), gain)
    structure = np.where(valid, STRUCTURE_SHARE, STRUCTURE_SHARE * R_s / MAX_STRUCTURE)
    return structure.astype(np.float32), np.where(valid, STEP + q, 0.0).astype(np.float32)
