"""One program per family in plain style: what others are compared with, and what they may learn."""

RANDOM = "random"
FIRST_FIT = "first_fit"
SORT_USERS = "sort_users"
SORT_CHANNELS = "sort_channels"
SORT_BOTH = "sort_both"
GREEDY = "greedy"
ASSIGN_RATES = "assign_rates"
ASSIGN_VALUES = "assign_values"
LOCAL_SEARCH = "local_search"
IMPROVE = "improve"
UNKNOWN = "unknown"

FAMILIES = {
    RANDOM: "a random channel for each user",
    FIRST_FIT: "the first idle channels, in the order of the ids",
    SORT_USERS: "strong users first, on channels in the order of the ids",
    SORT_CHANNELS: "users in the order of the ids, on the best channels",
    SORT_BOTH: "strong users on the best channels",
    GREEDY: "one user after the other takes the best channel that is left",
    ASSIGN_RATES: "exact assignment (LAP) on the rates",
    ASSIGN_VALUES: "exact assignment (LAP) on what pairs are worth to the objective",
    LOCAL_SEARCH: "changes that help, from a start that is not a LAP's",
    IMPROVE: "changes that help, from a LAP's answer",
}
"""What each family does."""

_ENDING = "action = dict(zip(users[rows].tolist(), channels[cols].tolist()))\n"
_ALL_USERS = "rows = np.arange(len(users))\n"
_STRONG = "rows = np.argsort(-power_w.mean(axis=1))\n"
_WIDE = "cols = np.argsort(-bandwidth_hz)\n"
_IN_ORDER = "cols = np.arange(len(channels))\n"
_LAP = """\
from scipy.optimize import linear_sum_assignment
rows, cols = linear_sum_assignment({}, maximize=True)
"""

PROGRAMS = {
    RANDOM: f"{_ALL_USERS}cols = np.random.default_rng(0).permutation(len(channels))\n{_ENDING}",
    FIRST_FIT: _ALL_USERS + _IN_ORDER + _ENDING,
    SORT_USERS: _STRONG + _IN_ORDER + _ENDING,
    SORT_CHANNELS: _ALL_USERS + _WIDE + _ENDING,
    SORT_BOTH: _STRONG + _WIDE + _ENDING,
    GREEDY: f"""\
worth = values()
free = np.ones(len(channels), bool)
rows, cols = [], []
for i in np.argsort(-power_w.mean(axis=1))[:len(channels)]:
    j = int(np.argmax(np.where(free, worth[i], -np.inf)))
    free[j] = False
    rows.append(i)
    cols.append(j)
{_ENDING}""",
    ASSIGN_RATES: _LAP.format("rate_bps()") + _ENDING,
    ASSIGN_VALUES: _LAP.format("values()") + _ENDING,
    IMPROVE: f"""\
from scipy.optimize import linear_sum_assignment
worth = values()
rows, cols = linear_sum_assignment(worth, maximize=True)
near = np.exp(-np.linalg.norm(position_m[:, None] - position_m, axis=2) / coupling_length_m)
near = np.pad(near - np.eye(len(users)), ((0, 0), (0, 1)))
leak = np.array([adjacent_leakage ** abs(d) if d else 0.0 for d in (-2, -1, 0, 1, 2)])
place = channels + 2
holder = np.full(place.max() + 3, -1)
holder[place[cols]] = rows
for _ in range(5):
    for k, i in enumerate(rows):
        holder[place[cols[k]]] = -1
        loss = 2 * coupling_bps * np.convolve(near[i, holder], leak, "valid")
        cols[k] = np.argmax(np.where(holder[place] < 0, worth[i] - loss[channels], -np.inf))
        holder[place[cols[k]]] = i
{_ENDING}""",
}
"""Family -> program. That of `IMPROVE` is for the objective coupled, whose names it reads: user
after user moves to the channel that is best beside the others."""
