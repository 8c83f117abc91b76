"""Deep reinforcement learning inside one jit: networks, PPO and double DQN.

Needs the extra `agents` (Flax, optax); `import lsajax` alone does not import it.
"""
