"""Allocation algorithms as programs of the documented namespace, in several styles each."""

from collections.abc import Callable

from llm.embedded.corpus.style import Rng, Style, ending, pick

_POWER_KEYS = ("power_w.mean(axis=1)", "power_w.max(axis=1)", "power_w[:, 0]")
_CHANNEL_KEYS = ("bandwidth_hz", "rate_bps().mean(axis=0)", "rate_bps().sum(axis=0)")
_NOISE_KEYS = (
    "bandwidth_hz / (noise_w + interference_w)",
    "np.log2(1.0 + power_w.mean() / (noise_w + interference_w)) * bandwidth_hz",
)


def _all_users(rng: Rng, s: Style) -> str:
    return f"{s.rows} = {pick(rng, ('np.arange(len(users))', 'np.arange(users.size)'))}\n"


def _best_users(rng: Rng, s: Style) -> str:
    key = pick(rng, _POWER_KEYS)
    form = pick(rng, ("np.argsort(-{})", "np.argsort({})[::-1]"))
    return s.note("strongest users first") + f"{s.rows} = {form.format(key)}\n"


def _best_channels(rng: Rng, s: Style, kind: str) -> str:
    keys = _CHANNEL_KEYS + (_NOISE_KEYS if kind.startswith("interference") else ())
    form = pick(rng, ("np.argsort(-{})", "np.argsort({})[::-1]"))
    # The bare width is what most programs sort by.
    key = keys[0] if rng.random() < 0.4 else pick(rng, keys)
    text = form.format(f"({key})" if " " in key else key)
    return s.note("best channels first") + f"{s.cols} = {text}\n"


def _random(rng: Rng, s: Style, kind: str) -> str:
    draw = pick(
        rng,
        (
            "np.random.permutation(len(channels))",
            "np.random.default_rng().permutation(len(channels))",
            "np.random.default_rng(0).permutation(channels.size)",
        ),
    )
    note = s.note("a random channel for each user")
    return note + _all_users(rng, s) + f"{s.cols} = {draw}[:len(users)]\n"


def _first_fit(rng: Rng, s: Style, kind: str) -> str:
    first = pick(rng, ("np.arange(len(channels))", "np.arange(channels.size)"))
    return s.note("the first idle channels") + _all_users(rng, s) + f"{s.cols} = {first}\n"


def _sort_users(rng: Rng, s: Style, kind: str) -> str:
    return _best_users(rng, s) + f"{s.cols} = np.arange(len(channels))\n"


def _sort_channels(rng: Rng, s: Style, kind: str) -> str:
    return _all_users(rng, s) + _best_channels(rng, s, kind)


def _sort_both(rng: Rng, s: Style, kind: str) -> str:
    return _best_users(rng, s) + _best_channels(rng, s, kind)


def _worth(rng: Rng, kind: str) -> str:
    """The matrix that a program looks at: where rates are what counts, mostly those."""
    rates_count = not kind.endswith((", fair", ", priorities"))
    return "rate_bps()" if rng.random() < (0.7 if rates_count else 0.2) else "values()"


def _greedy(rng: Rng, s: Style, kind: str) -> str:
    order = pick(
        rng, (f"np.argsort(-{pick(rng, _POWER_KEYS)})", f"np.argsort(-{s.rates}.max(axis=1))")
    )
    mark = pick(rng, ("mask", "overwrite"))
    head = f"{s.rates} = {_worth(rng, kind)}\n{s.rows}, {s.cols} = [], []\n"
    limit = "min(len(users), len(channels))"
    note = s.note("each user takes the best channel that is left")
    if mark == "mask":
        return (
            f"{head}free = np.ones(len(channels), bool)\n{note}for i in {order}[:{limit}]:\n"
            f"    j = int(np.argmax(np.where(free, {s.rates}[i], -1.0)))\n"
            f"    free[j] = False\n    {s.rows}.append(i)\n    {s.cols}.append(j)\n"
        )
    return (
        f"{head}{note}for i in {order}[:{limit}]:\n    j = int({s.rates}[i].argmax())\n"
        f"    {s.rates}[:, j] = -1.0\n    {s.rows}.append(i)\n    {s.cols}.append(j)\n"
    )


def _exact(rng: Rng, s: Style, matrix: str) -> str:
    call = pick(
        rng,
        ("linear_sum_assignment({}, maximize=True)", "linear_sum_assignment(-{})"),
    )
    note = s.note("exact assignment")
    if rng.random() < 0.5:
        inner = f"{s.rates} = {matrix}\n{note}{s.rows}, {s.cols} = {call.format(s.rates)}\n"
    else:
        inner = f"{note}{s.rows}, {s.cols} = {call.format(matrix)}\n"
    return f"from scipy.optimize import linear_sum_assignment\n{inner}"


def _assign_rates(rng: Rng, s: Style, kind: str) -> str:
    return _exact(rng, s, "rate_bps()")


def _assign_values(rng: Rng, s: Style, kind: str) -> str:
    return _exact(rng, s, "values()")


def _local_search(rng: Rng, s: Style, kind: str) -> str:
    start = _best_channels(rng, s, kind) if rng.random() < 0.6 else ""
    start = start or f"{s.cols} = np.random.permutation(len(channels))\n"
    rounds = pick(rng, (500, 1000, 2000))
    r, i, j = s.rates, s.rows, s.cols
    return (
        f"{r} = {_worth(rng, kind)}\n{_best_users(rng, s)}{start}"
        f"n = min(len(users), len(channels))\nrng = np.random.default_rng(0)\n"
        f"{s.note('swap two users where that helps')}for _ in range({rounds}):\n"
        f"    a, b = rng.integers(n, size=2)\n"
        f"    old = {r}[{i}[a], {j}[a]] + {r}[{i}[b], {j}[b]]\n"
        f"    new = {r}[{i}[a], {j}[b]] + {r}[{i}[b], {j}[a]]\n"
        f"    if new > old:\n        {j}[a], {j}[b] = {j}[b], {j}[a]\n"
        f"{i}, {j} = np.array({i}[:n]), np.array({j}[:n])\n"
    )


def _improve(rng: Rng, s: Style, kind: str) -> str:
    """For coupled users: an exact start, then user after user moves to the best free channel."""
    i, j, R = s.rows, s.cols, s.rates
    passes = pick(rng, (3, 5, 10))
    tap = "adjacent_leakage"
    return (
        f"from scipy.optimize import linear_sum_assignment\n{R} = values()\n"
        f"{s.note('exact assignment')}{i}, {j} = linear_sum_assignment({R}, maximize=True)\n"
        f"near = np.linalg.norm(position_m[:, None] - position_m, axis=2)\n"
        f"near = np.exp(-near / coupling_length_m) - np.eye(len(users))\n"
        f"near = np.pad(near, ((0, 0), (0, 1)))\n"
        f"leak = np.array([{tap}**2, {tap}, 0, {tap}, {tap}**2])\n"
        f"held = np.full(channels.max() + 5, -1)\nheld[channels[{j}] + 2] = {i}\n"
        f"{s.note('each user moves to the best free channel')}for _ in range({passes}):\n"
        f"    for k, a in enumerate({i}):\n        held[channels[{j}[k]] + 2] = -1\n"
        f"        loss = 2 * coupling_bps * np.convolve(near[a, held], leak, 'valid')[channels]\n"
        f"        free = held[channels + 2] < 0\n"
        f"        {j}[k] = np.argmax(np.where(free, {R}[a] - loss, -np.inf))\n"
        f"        held[channels[{j}[k]] + 2] = a\n"
    )


FAMILIES: dict[str, Callable[[Rng, Style, str], str]] = {
    "random": _random,
    "first_fit": _first_fit,
    "sort_users": _sort_users,
    "sort_channels": _sort_channels,
    "sort_both": _sort_both,
    "greedy": _greedy,
    "assign_rates": _assign_rates,
    "assign_values": _assign_values,
    "local_search": _local_search,
    "improve": _improve,
}


def program(rng: Rng, family: str, style: Style, kind: str) -> str:
    """A program of `family` that is right."""
    head = "import numpy as np\n" if style.imports else ""
    return head + FAMILIES[family](rng, style, kind) + ending(style)
