"""Completions and instances that the tests of rewards share."""

import functools

import jax

import lsajax as lsa


def block(code):
    return f"Here is the program.\n```python\n{code}\n```"


PERFECT = block(
    "order = np.argsort(-power_w.mean(axis=1))\n"
    "wide = channels[np.argsort(-bandwidth_hz)]\n"
    "action = {int(users[u]): int(c) for u, c in zip(order, wide)}"
)


@functools.cache
def instance(seed=0, channels=15, setting="plain"):
    scenario = lsa.Scenario(num_users=12, num_channels=channels, num_active=6)
    return lsa.sample_instance(jax.random.key(seed), scenario.replace(**lsa.SETTINGS[setting]))
