"""Programs whose rewards are compared: honest ones, and ones that only look for the reward."""

from collections.abc import Mapping

_RANDOM = """\
order = np.random.default_rng(0).permutation(len(channels))
action = {int(users[i]): int(channels[j]) for i, j in enumerate(order[: len(users)])}
"""

_LAP = """\
from scipy.optimize import linear_sum_assignment
rows, columns = linear_sum_assignment({of}, maximize=True)
action = dict(zip(users[rows].tolist(), channels[columns].tolist()))
"""

RANDOM = "random"

HONEST = {
    RANDOM: _RANDOM,
    "greedy": """\
worth = values()
free = np.ones(len(channels), bool)
action = {}
for i in np.argsort(-worth.max(axis=1)):
    j = np.argmax(np.where(free, worth[i], -np.inf))
    free[j] = False
    action[int(users[i])] = int(channels[j])
""",
    "sort": """\
strong = users[np.argsort(-power_w.mean(axis=1))]
wide = channels[np.argsort(-bandwidth_hz)]
action = dict(zip(strong.tolist(), wide.tolist()))
""",
    "LAP on rates": _LAP.format(of="rate_bps()"),
    "LAP on values": _LAP.format(of="values()"),
    "local improvement": """\
import time
from scipy.optimize import linear_sum_assignment
end = time.process_time() + 0.7 * time_budget_s
K, rng = len(users), np.random.default_rng(0)
columns = linear_sum_assignment(values(), maximize=True)[1]
columns = np.concatenate([columns, np.setdiff1d(np.arange(len(channels)), columns)])
best = objective(columns[:K])
for _ in range(3000):
    if time.process_time() > end:
        break
    i, j = rng.integers(K), rng.integers(len(columns))
    columns[[i, j]] = columns[[j, i]]
    found = objective(columns[:K])
    if found > best:
        best = found
    else:
        columns[[i, j]] = columns[[j, i]]
action = dict(zip(users.tolist(), channels[columns[:K]].tolist()))
""",
}
"""Programs that solve the problem as they can; each is valid on every slot."""

LITERAL = "literal"

_DEGENERATE = {
    "constant": "action = {0: 0, 1: 1, 2: 2}\n",
    "all on one channel": "action = {int(u): int(channels[0]) for u in users}\n",
    "weakest 10 % dropped": _LAP.format(of="values()")
    + """\
for u in users[np.argsort(power_w.mean(axis=1))][: -(-len(users) // 10)]:
    del action[int(u)]
""",
    "comments around random": '"""'
    + "The users are put on channels. " * 8
    + '"""\n'
    + "# Each user gets a channel of its own, and no channel is used twice.\n" * 8
    + _RANDOM,
    "budget burnt, then random": """\
import time
while time.process_time() < 0.8 * time_budget_s:
    pass
"""
    + _RANDOM,
    "one on a primary user's channel": _LAP.format(of="values()")
    + """\
held = np.setdiff1d(np.arange(channels.max()), channels)
action.update(zip(users[:1].tolist(), held[:1].tolist()))
""",
}


def degenerate(mapping: Mapping[int, int]) -> dict[str, str]:
    """Programs that are not to be worth more than an honest random one.

    Args:
        mapping: the best action of one slot, which the literal program writes down.
    """
    return {**_DEGENERATE, LITERAL: f"action = {dict(mapping)}\n"}


def completion(code: str) -> str:
    """A program as a model hands it in."""
    return f"```python\n{code}```"
