"""Spectrum access over slots as an environment for reinforcement learning, in gymnax 1.0's form.

`JointAccess` takes one action per slot, `SequentialAccess` one per user. For Gymnasium see
`lsajax.gymnasium_env`.
"""

from lsajax.env import spaces
from lsajax.env.base import Access, Slot
from lsajax.env.features import CANDIDATE_FEATURES, CONTEXT_FEATURES, SequentialObservation
from lsajax.env.joint import JointAccess, JointObservation, JointState, decode, num_joint_actions
from lsajax.env.sequential import SequentialAccess, SequentialState

__all__ = [
    "CANDIDATE_FEATURES",
    "CONTEXT_FEATURES",
    "Access",
    "JointAccess",
    "JointObservation",
    "JointState",
    "SequentialAccess",
    "SequentialObservation",
    "SequentialState",
    "Slot",
    "decode",
    "num_joint_actions",
    "spaces",
]
