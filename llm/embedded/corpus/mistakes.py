"""Mistakes that a model in training makes, put into programs that are right."""

from collections.abc import Callable

from llm.embedded.corpus.style import Rng, Style, ending, pick


def _forget_action(rng: Rng, code: str, s: Style) -> str:
    return code.replace("action", str(pick(rng, ("result", "assignment", "allocation"))))


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
    wrong = pick(rng, ("rate_bps().argmax(axis=1)", "np.zeros(len(users), int)"))
    return f"{s.rows} = np.arange(len(users))\n{s.cols} = {wrong}\n{ending(s)}"


def _with_replacement(rng: Rng, code: str, s: Style) -> str:
    draw = "np.random.randint(0, len(channels), len(users))"
    return f"{s.rows} = np.arange(len(users))\n{s.cols} = {draw}\n{ending(s)}"


def _half(rng: Rng, code: str, s: Style) -> str:
    half = f"{s.rows} = {s.rows}[:len({s.rows}) // 2]\n{s.cols} = {s.cols}[:len({s.rows})]\n"
    return code.replace(ending(s), half + ending(s))


def _syntax(rng: Rng, code: str, s: Style) -> str:
    wrong = ((")}\n", "}\n"), (")))\n", "))\n"), ("]):\n", "])\n"), ("):\n", ")\n"))
    for right, broken in wrong:
        if right in code:
            return code.replace(right, broken)
    return code.replace(")\n", "\n", 1)


def _unknown_name(rng: Rng, code: str, s: Style) -> str:
    right, wrong = pick(
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
