"""Generated programs that the embedded model learns from: families x styles, and broken ones."""

import dataclasses
from collections.abc import Callable

import numpy as np

Rng = np.random.Generator

KINDS = ("plain", "fading", "wideband", "interference")

FAMILY_WEIGHTS: dict[str, tuple[int, ...]] = {
    "random": (18, 16, 16, 18),
    "first_fit": (12, 10, 10, 12),
    "sort_users": (12, 10, 10, 10),
    "sort_channels": (14, 10, 12, 12),
    "sort_both": (20, 16, 18, 18),
    "greedy": (12, 20, 18, 16),
    "assignment": (6, 10, 8, 7),
    "local_search": (6, 8, 8, 7),
}
"""How often a program is of a family, per kind of `KINDS`. Every kind has every family, and the best
(`assignment`) is rare everywhere: what a setting calls for is left to reinforcement learning."""

BROKEN_SHARE = 0.2
"""Share of programs with a mistake, as a model in training makes them."""

_INTROS = (
    "",
    "Here is the program:\n",
    "This program sets `action`:\n",
    "The following code allocates the channels:\n",
)
_POWER_KEYS = ("power_w.mean(axis=1)", "power_w.max(axis=1)", "power_w[:, 0]")
_CHANNEL_KEYS = ("bandwidth_hz", "rate_bps().mean(axis=0)", "rate_bps().sum(axis=0)")
_NOISE_KEYS = (
    "bandwidth_hz / (noise_w + interference_w)",
    "np.log2(1.0 + power_w.mean() / (noise_w + interference_w)) * bandwidth_hz",
)


@dataclasses.dataclass(frozen=True)
class Style:
    """How a program is written: names, comments, form of the last step."""

    rows: str
    cols: str
    rates: str
    comments: bool
    ending: str
    imports: bool

    def note(self, text: str) -> str:
        """A comment line, or nothing."""
        return f"# {text}\n" if self.comments else ""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One generated completion.

    Args:
        text: the completion as a chat model writes it.
        code: the program in it.
        family: key of `FAMILY_WEIGHTS`.
        mistake: key of `MISTAKES`, or None where the program is right.
    """

    text: str
    code: str
    family: str
    mistake: str | None


def sample_completion(
    rng: Rng, kind: str, *, family: str | None = None, mistake: str | bool | None = True
) -> Sample:
    """A completion for a setting of `kind`.

    Args:
        rng: source of all choices.
        kind: one of `KINDS`; of a combination such as "fading+wideband" the first counts.
        family: None draws one by `FAMILY_WEIGHTS`.
        mistake: a key of `MISTAKES`; None for a program that is right; True draws.
    """
    kind = kind.split("+")[0]
    if family is None:
        share = np.array([FAMILY_WEIGHTS[f][KINDS.index(kind)] for f in FAMILIES], float)
        family = str(rng.choice(list(FAMILIES), p=share / share.sum()))
    if mistake is True:
        mistake = str(rng.choice(list(MISTAKES))) if rng.random() < BROKEN_SHARE else None
    style = sample_style(rng)
    code = program(rng, family, style, kind)
    if mistake:
        code = MISTAKES[mistake](rng, code, style)
    fence = str(rng.choice(("```python", "```"), p=(0.95, 0.05)))
    return Sample(f"{_pick(rng, _INTROS)}{fence}\n{code}```", code, family, mistake or None)


def sample_style(rng: Rng) -> Style:
    """A style at random."""
    rows, cols = _pick(rng, (("rows", "cols"), ("order", "best"), ("i_user", "i_channel")))
    return Style(
        rows=rows,
        cols=cols,
        rates=_pick(rng, ("rates", "rate", "R")),
        comments=bool(rng.random() < 0.4),
        ending=_pick(rng, tuple(ENDINGS)),
        imports=bool(rng.random() < 0.15),
    )


def program(rng: Rng, family: str, style: Style, kind: str) -> str:
    """A program of `family` that is right."""
    head = "import numpy as np\n" if style.imports else ""
    return head + FAMILIES[family](rng, style, kind) + _ending(style)


def _pick(rng: Rng, options: tuple) -> object:
    return options[int(rng.integers(len(options)))]


def _ending(s: Style) -> str:
    text = ENDINGS[s.ending].format(rows=s.rows, cols=s.cols)
    return s.note("positions become ids") + text


ENDINGS = {
    "comprehension": (
        "action = {{int(users[i]): int(channels[j]) for i, j in zip({rows}, {cols})}}\n"
    ),
    "dict": "action = dict(zip(users[{rows}].tolist(), channels[{cols}].tolist()))\n",
    "loop": (
        "action = {{}}\nfor i, j in zip({rows}, {cols}):\n"
        "    action[int(users[i])] = int(channels[j])\n"
    ),
}


def _all_users(rng: Rng, s: Style) -> str:
    return f"{s.rows} = {_pick(rng, ('np.arange(len(users))', 'np.arange(users.size)'))}\n"


def _best_users(rng: Rng, s: Style) -> str:
    key = _pick(rng, _POWER_KEYS)
    form = _pick(rng, ("np.argsort(-{})", "np.argsort({})[::-1]"))
    return s.note("strongest users first") + f"{s.rows} = {form.format(key)}\n"


def _best_channels(rng: Rng, s: Style, kind: str) -> str:
    keys = _CHANNEL_KEYS + (_NOISE_KEYS if kind == "interference" else ())
    form = _pick(rng, ("np.argsort(-{})", "np.argsort({})[::-1]"))
    # The bare width is what most programs sort by.
    key = keys[0] if rng.random() < 0.4 else _pick(rng, keys)
    text = form.format(f"({key})" if " " in key else key)
    return s.note("best channels first") + f"{s.cols} = {text}\n"


def _random(rng: Rng, s: Style, kind: str) -> str:
    draw = _pick(
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
    first = _pick(rng, ("np.arange(len(channels))", "np.arange(channels.size)"))
    return s.note("the first idle channels") + _all_users(rng, s) + f"{s.cols} = {first}\n"


def _sort_users(rng: Rng, s: Style, kind: str) -> str:
    return _best_users(rng, s) + f"{s.cols} = np.arange(len(channels))\n"


def _sort_channels(rng: Rng, s: Style, kind: str) -> str:
    return _all_users(rng, s) + _best_channels(rng, s, kind)


def _sort_both(rng: Rng, s: Style, kind: str) -> str:
    return _best_users(rng, s) + _best_channels(rng, s, kind)


def _greedy(rng: Rng, s: Style, kind: str) -> str:
    order = _pick(
        rng, (f"np.argsort(-{_pick(rng, _POWER_KEYS)})", f"np.argsort(-{s.rates}.max(axis=1))")
    )
    mark = _pick(rng, ("mask", "overwrite"))
    head = f"{s.rates} = rate_bps()\n{s.rows}, {s.cols} = [], []\n"
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


def _assignment(rng: Rng, s: Style, kind: str) -> str:
    call = _pick(
        rng,
        ("linear_sum_assignment({}, maximize=True)", "linear_sum_assignment(-{})"),
    )
    note = s.note("exact assignment")
    if rng.random() < 0.5:
        inner = f"{s.rates} = rate_bps()\n{note}{s.rows}, {s.cols} = {call.format(s.rates)}\n"
    else:
        inner = f"{note}{s.rows}, {s.cols} = {call.format('rate_bps()')}\n"
    return f"from scipy.optimize import linear_sum_assignment\n{inner}"


def _local_search(rng: Rng, s: Style, kind: str) -> str:
    start = _best_channels(rng, s, kind) if rng.random() < 0.6 else ""
    start = start or f"{s.cols} = np.random.permutation(len(channels))\n"
    rounds = _pick(rng, (500, 1000, 2000))
    r, i, j = s.rates, s.rows, s.cols
    return (
        f"{r} = rate_bps()\n{_best_users(rng, s)}{start}n = min(len(users), len(channels))\n"
        f"rng = np.random.default_rng(0)\n"
        f"{s.note('swap two users where that helps')}for _ in range({rounds}):\n"
        f"    a, b = rng.integers(n, size=2)\n"
        f"    old = {r}[{i}[a], {j}[a]] + {r}[{i}[b], {j}[b]]\n"
        f"    new = {r}[{i}[a], {j}[b]] + {r}[{i}[b], {j}[a]]\n"
        f"    if new > old:\n        {j}[a], {j}[b] = {j}[b], {j}[a]\n"
        f"{i}, {j} = np.array({i}[:n]), np.array({j}[:n])\n"
    )


FAMILIES: dict[str, Callable[[Rng, Style, str], str]] = {
    "random": _random,
    "first_fit": _first_fit,
    "sort_users": _sort_users,
    "sort_channels": _sort_channels,
    "sort_both": _sort_both,
    "greedy": _greedy,
    "assignment": _assignment,
    "local_search": _local_search,
}


def _forget_action(rng: Rng, code: str, s: Style) -> str:
    return code.replace("action", str(_pick(rng, ("result", "assignment", "allocation"))))


def _positions_as_ids(rng: Rng, code: str, s: Style) -> str:
    for right, wrong in (
        ("int(users[i])", "int(i)"),
        ("int(channels[j])", "int(j)"),
        (f"users[{s.rows}].tolist()", f"list({s.rows})"),
        (f"channels[{s.cols}].tolist()", f"list({s.cols})"),
    ):
        code = code.replace(right, wrong)
    return code


def _same_channel(rng: Rng, code: str, s: Style) -> str:
    wrong = _pick(rng, ("rate_bps().argmax(axis=1)", "np.zeros(len(users), int)"))
    return f"{s.rows} = np.arange(len(users))\n{s.cols} = {wrong}\n{_ending(s)}"


def _with_replacement(rng: Rng, code: str, s: Style) -> str:
    draw = "np.random.randint(0, len(channels), len(users))"
    return f"{s.rows} = np.arange(len(users))\n{s.cols} = {draw}\n{_ending(s)}"


def _half(rng: Rng, code: str, s: Style) -> str:
    half = f"{s.rows} = {s.rows}[:len({s.rows}) // 2]\n{s.cols} = {s.cols}[:len({s.rows})]\n"
    return code.replace(_ending(s), half + _ending(s))


def _syntax(rng: Rng, code: str, s: Style) -> str:
    wrong = ((")}\n", "}\n"), (")))\n", "))\n"), ("]):\n", "])\n"), ("):\n", ")\n"))
    for right, broken in wrong:
        if right in code:
            return code.replace(right, broken)
    return code.replace(")\n", "\n", 1)


def _unknown_name(rng: Rng, code: str, s: Style) -> str:
    right, wrong = _pick(
        rng, (("channels", "idle_channels"), ("users", "user_ids"), ("users[", "user["))
    )
    return code.replace(right, wrong)


MISTAKES: dict[str, Callable[[Rng, str, Style], str]] = {
    "forget_action": _forget_action,
    "positions_as_ids": _positions_as_ids,
    "same_channel": _same_channel,
    "with_replacement": _with_replacement,
    "half": _half,
    "syntax": _syntax,
    "unknown_name": _unknown_name,
}
