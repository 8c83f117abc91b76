"""Completion -> code block or mapping."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.decision import parse

CODE = "action = {1: 2}\n"


@pytest.mark.parametrize(
    ("completion", "code", "detail"),
    [
        (f"Sure:\n```python\n{CODE}```\nDone.", CODE, "fenced"),
        (f"```\n{CODE}```", CODE, "fenced"),
        (f"~~~py\n{CODE}~~~", CODE, "fenced"),
        (f"````python\nx = '''\n```\n'''\n{CODE}````", f"x = '''\n```\n'''\n{CODE}", "fenced"),
        (f"```python\n{CODE}", CODE + "\n", "unclosed fence"),
        (f"```python\r\n{CODE}```", CODE, "fenced"),
        ("```python\naction = {1: 2}```", CODE, "fenced"),
        (f"Text.\n{CODE}", CODE + "\n", "no fence"),
        ("for u in x:\n  f(u)\naction = {}", "for u in x:\n  f(u)\naction = {}\n", "no fence"),
        (f"```bash\npip install x\n```\n```python\n{CODE}```", CODE, "fenced"),
        # The last block that assigns `action` counts; one that only talks about it does not.
        (f"```python\naction = {{9: 9}}\n```\nBetter:\n```python\n{CODE}```", CODE, "fenced"),
        (f"```python\n{CODE}```\nTest:\n```python\nprint(action == 1)\n```", CODE, "fenced"),
        (f"```python\n{CODE}```\n```python\nimport", CODE, "fenced"),
        ("```python\nx = 1\n```\n```python\ny = 2\n```", "y = 2\n", "fenced"),
    ],
)
def test_code_block(completion, code, detail):
    assert parse.code_block(completion) == (code, detail)


@pytest.mark.parametrize(
    ("completion", "code", "detail"),
    [
        (f"{CODE}```", CODE, "fenced"),
        (f"{CODE}```\nIt sorts users.", CODE, "fenced"),
        (f"# As told.\n\n{CODE}```\n", f"# As told.\n\n{CODE}", "fenced"),
        (f"{CODE.rstrip()}```", CODE, "fenced"),
        (f"{CODE}~~~~\n", CODE, "fenced"),
        # No program that begins with the text, or no fence that ends it.
        (f"Sure.\n{CODE}```", CODE, "no fence"),
        (f"{CODE}Done.\n```\n", CODE, "no fence"),
        (f"{CODE}```python", CODE, "no fence"),
        (f"import numpy\n```\n{CODE}", f"{CODE}\n", "unclosed fence"),
        (f"{CODE}```\n{CODE}x = 1\n", f"{CODE}x = 1\n\n", "unclosed fence"),
        (f"{CODE}", f"{CODE}\n", "no fence"),
    ],
)
def test_a_program_that_the_prompt_began(completion, code, detail):
    assert parse.code_block(completion) == (code, detail)


TAGS = [
    "py",
    "py3",
    "python3",
    "python3.11",
    "ipython",
    "Python",
    "{python}",
    "{.python}",
    " python",
]
TAGS += [
    'python title="a.py"',
    "python:main.py",
    "python linenums=1 {hl=2}",
    "{python, echo=FALSE}",
]
LOOP = "action = {}\nfor u, c in zip(users, channels):\n    action[int(u)] = int(c)\n"


@pytest.mark.parametrize("tag", TAGS)
def test_info_strings_of_python(tag):
    assert parse.code_block(f"Text.\n```{tag}\n{LOOP}```\nDone.") == (LOOP, "fenced")


@pytest.mark.parametrize("tag", ["json", "bash", "pythonic", "python-repl", "text", "c++"])
def test_info_strings_of_other_languages(tag):
    assert parse.code_block(f"```{tag}\n{CODE}```").text is None


def indented(text, margin):
    return "".join(margin + line for line in text.splitlines(keepends=True))


FORMS = {
    "in a list item": indented(f"```python\n{LOOP}```", "   "),
    "behind a bullet": f"- ```python\n{indented(LOOP, '  ')}  ```",
    "behind a number": f"1. ```python\n{indented(LOOP, '   ')}   ```\n2. Done.",
    "behind a bullet, not indented": f"* ```python\n{LOOP}```",
    "behind text": f"Here is the program: ```python\n{LOOP}```",
    "code on the fence line": f"```python {LOOP}```",
    "code on a fence line without a tag": f"```{LOOP}```",
    "BOM": f"\ufeff```python\n\ufeff{LOOP}```",
    "CRLF": f"```python\n{LOOP}```".replace("\n", "\r\n"),
    "text behind the closing fence": f"```python\n{LOOP}``` That is all.",
    "no closing fence before the next block": f"```python\n{LOOP}```json\n{{}}\n```",
    "in a block of Markdown": f"```markdown\n# Answer\n```python\n{LOOP}```\n```",
    "in a block of four marks": f"````markdown\n# Answer\n```python\n{LOOP}```\n````\nDone.",
    "in a quote": indented(f"Here it is:\n```python\n{LOOP}```\n", "> ") + "Done.",
    "in a quote without spaces": indented(f"```python\n{LOOP}```\n", ">"),
    "in a quote in a quote": indented(f"```python\n{LOOP}```", "> > "),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_fence(form):
    assert parse.code_block(FORMS[form]) == (LOOP, "fenced")


@pytest.mark.parametrize("text", ["```python action = {1: 2}```", "```action = {1: 2}``` it is."])
def test_a_block_on_one_line(text):
    assert parse.code_block(text) == (CODE, "fenced")


def test_a_fence_in_a_comment_closes_nothing():
    code = f"# The answer goes between ``` and ```\n{CODE}"
    assert parse.code_block(f"```python\n{code}```\nDone.") == (code, "fenced")


@pytest.mark.parametrize(
    "later",
    [
        "```python\naction[1] = 2\n```",
        "```python\naction.update(x)\nprint(f(action=action))\n```",
        "```python\nrun(\n    action=3,\n)\n```",
        "```python\nrun(  # :)\n    ')',\n    action=3,\n)\n```",
        '```python\ntext = """\naction = 3\n"""\n```',
        "```python\naction |= {1: 2}\nassert action == {1: 2}\n```",
        "Output:\n```\naction = {7: 8}\n```",
        "Then action is\naction = {user_id: channel_id}",
    ],
)
def test_what_comes_later_and_is_not_the_program(later):
    assert parse.code_block(f"```python\n{LOOP}```\nThen:\n{later}\n") == (LOOP, "fenced")


@pytest.mark.parametrize(
    "binding",
    [
        "action = f()",
        "if x: action = 1",
        "    action = 1",
        "action: dict[int, int] = {}",
        "x = action = {}",
        "action, cost = f()",
        "cost, action = f()",
        "(action, cost) = f()",
        "x = 1; action = {}",
        "action={}",
        "y = ':('  # :(\naction = {}",
        "y = 'a'; action = {}",
        "y = f(\n    1,\n)\naction = {}",
    ],
)
def test_bindings_of_the_action_as_a_whole(binding):
    code = f"import x\n{binding}\n"
    later = "```python\nprint(action)\n```"
    assert parse.code_block(f"```python\n{code}```\n{later}").text == code


@pytest.mark.parametrize(
    "first",
    [
        "class Solver:\n    pass",
        "try:\n    pass\nexcept ValueError:\n    pass",
        "async def f():\n    pass",
        "@functools.cache\ndef f():\n    pass",
        '"""Sorts users\nby power\n"""',
        "from __future__ import annotations",
        "print(len(users))",
        "x: int = 3",
        "(a, b) = 1, 2",
        "a[0], b.c = 1, 2",
        "while False: pass",
        "with f() as g:\n    pass",
        "def f(\n    x: int,\n) -> Mapping:\n    return Counter(\n        x\n    )",
        "Table = {\n}",
    ],
)
@pytest.mark.parametrize("before", ["", "Here's a program that sorts (by power):\n\n"])
@pytest.mark.parametrize(
    "after",
    [
        "",
        "This program sorts users.\nIt sets x = 3.",
        "Explanation:\n- It sorts\n",
        "**Note:** x",
        "1. Users are sorted by power",
        "`order` holds the users",
        "### Explanation\n\nWe sort.",
        "Let's see: for each user we take a channel",
        "```",
        "```\nThis program sorts users.",
        "这段程序排序。",
    ],
)
def test_unfenced_code(first, before, after):
    code = f"{first}\n# Sort the users\n{LOOP}print(f'{{len(action)}} users')\n"
    found = parse.code_block(f"{before}{code}\n{after}")
    begun = not before and after.startswith("```")  # by the prompt
    assert found.detail == ("fenced" if begun else "no fence")
    assert found.text.removesuffix("### Explanation\n\n").rstrip("\n") == code.rstrip("\n")


def test_code_indented_as_in_markdown():
    text = f"The program:\n\n{indented(LOOP, '    ')}\nIt sorts users.\n"
    assert parse.code_block(text) == (LOOP + "\n\n", "no fence")


def test_a_quoted_remark_ends_code():
    assert parse.code_block(f"{LOOP}> It sorts users.\n") == (LOOP, "no fence")


@pytest.mark.parametrize(
    "text",
    [
        "The best action = the one that maximises the rate",
        "If the channel is idle: take it.",
        "for each user: take the widest channel",
        "Note: x = 3",
        "With some luck (or not): done",
    ],
)
def test_prose_is_no_program(text):
    assert parse.code_block(text).text is None


@pytest.mark.parametrize(
    ("completion", "detail"),
    [
        ("", "no code block"),
        ("I cannot do that.", "no code block"),
        ("```python\n\n```", "empty code block"),
        ("```json\n{}\n```", "no code block"),
        ("```python\n" + "x = 1\n" * 20_000 + "```", "code block of more than 65536 characters"),
    ],
)
def test_no_code_block(completion, detail):
    found = parse.code_block(completion)
    assert found.text is None
    assert found.detail.startswith(detail)


@pytest.mark.parametrize(
    ("completion", "action"),
    [
        ("action = {1: 2, 3: 4}", {1: 2, 3: 4}),
        ("```python\naction = {\n  1: 2,\n  3: -1,\n}\n```", {1: 2, 3: -1}),
        ("{7: 0}", {7: 0}),
        ("```\n{7: 0}\n```", {7: 0}),
        ("action: dict[int, int] = {5: 6}", {5: 6}),
        ("action = {1: 1}\nNo, better:\naction = {1: 2}", {1: 2}),
        ("action = {}", {}),
        # Text around it, also text that mentions the name.
        ("action = {1: 2}. Every user has a channel.", {1: 2}),
        ("action = {1: 2}\nSo action = {user_id: channel_id} holds, not action = {}.", {1: 2}),
        ("{7: 0}\nThis gives user 7 channel 0.", {7: 0}),
        ("Here it is:\n{7: 0}\nThat is all.", {7: 0}),
        ("Here it is:\n```json\n{7: 0}\n```\nThat is all.", {7: 0}),
        ("\ufeff{7: 0}", {7: 0}),
        # JSON.
        ('{"1": 2, "3": -1}', {1: 2, 3: -1}),
        ('{\n  "action": {"1": "2"}\n}', {1: 2}),
        ("action = {'1': 2}", {1: 2}),
        # Comments.
        (
            "action = {\n  1: 2,  # the {best} one, 3: 4\n  # 5: 6}\n  7: 8  // last\n}",
            {1: 2, 7: 8},
        ),
        # Other ways to write the name.
        ("action: {1: 2}", {1: 2}),
        ("Action: {1: 2}", {1: 2}),
        ("action := {1: 2}", {1: 2}),
        ("**action** = {1: 2}", {1: 2}),
        ("**action:** {1: 2}", {1: 2}),
        ("**action = {1: 2}**", {1: 2}),
        ("`action` = {1: 2}", {1: 2}),
        ("action =\n{1: 2}", {1: 2}),
        # Braces anywhere, if there is nothing better.
        ("The action is {1: 2}", {1: 2}),
        ("Answer: {3: 4}, or rather {1: 2}.", {1: 2}),
        ("action = dict({1: 2})", {1: 2}),
        ('{"assignment": {"1": 2}}', {1: 2}),
        ("Answer: {1: 2}, in the form action = {user_id: channel_id}", {1: 2}),
        ("action = {1: 2} beats {3: 4}", {1: 2}),
    ],
)
def test_mapping(completion, action):
    assert parse.mapping(completion) == (action, "ok")


@pytest.mark.parametrize(
    ("completion", "detail"),
    [
        ("no idea", "no mapping"),
        ("action = {1: 2", "not closed"),
        ("x = {}\naction = {1: 2", "not closed"),
        ("action = {1: 2, 1: 3}", "user 1 appears twice"),
        ("action = {1: 2.0}", "not `user_id: channel_id`: '1: 2.0'"),
        ("action = {True: 2}", "not `user_id"),
        ("action = {'1\": 2}", "not `user_id"),
        ("action = {'a': 2}", "not `user_id"),
        ("the set {1, 2} would do", "not `user_id"),
        ("action = {1: 2  # }", "not closed"),
        ("action = {1: 2, ...}", "not `user_id"),
        ("action = {1: 2,, 3: 4}", "not `user_id"),
        ("action = {1: __import__('os')}", "not `user_id"),
        ("action = {1: {2: 3}}", "not `user_id"),
        ("action = {-1: 2}", "not `user_id"),
        ("action = {1: 2_0}", "not `user_id"),
        (f"action = {{1: {'9' * 5000}}}", "not `user_id"),
        ("action = {" + "1:1," * 200_002 + "}", "mapping of more than 200000 entries"),
    ],
)
def test_malformed_mapping(completion, detail):
    found = parse.mapping(completion)
    assert found.action is None
    assert detail in found.detail


@given(st.dictionaries(st.integers(0, 10**6), st.integers(-1, 10**6), max_size=50))
def test_mapping_reads_what_python_prints(action):
    assert parse.mapping(f"action = {action}").action == action


@given(st.text(alphabet="`~{}:,=-0123456789 \nactionpy[](", max_size=400))
def test_anything_goes_in(text):
    code = parse.code_block(text)
    assert code.text is None or code.text.strip()
    found = parse.mapping(text)
    assert (found.action is None) == (found.detail != "ok")


@pytest.mark.parametrize(
    "text",
    [
        "action = " + "{" * 10**6,
        "action = {" + "(" * 10**6 + "}",
        "`" * 10**6,
        "```\n" * 250_000,
        "action" + " " * 10**6,
        "action = {" * 10**5,
        "a" * 10**6 + "[",
        "a, " * 300_000,
        "x = 1\n" * 160_000,
        "```python\n" * 100_000,
        "```python\n" + "=action," * 120_000,
        "```python\n" + ";action:" * 120_000,
        "```python " + " " * 10**6,
        "- " * 500_000 + "```",
        "- a\n" * 250_000,
        "a ```" * 200_000,
        "#" * 10**6 + "```",
        '"""' * 330_000,
        "import x\n" + "word word\n" * 100_000,
        "import x\n" + "f(a)\n" * 200_000,
        "{" * 10**6,
        "{\n" * 500_000,
        "{#" * 500_000,
        "action = {#" * 90_000,
        "action:" * 140_000,
        "action" + "*" * 10**6,
        "action = {" + "'" * 10**6 + "}",
        "action = {1" + " " * 10**6 + "}",
        "action = {" + "/" * 10**6,
        ">" * 10**6,
        "> ```python\n" + ">" * 10**6,
        "````\n" + "```python\n" * 100_000,
        "```python\n" + "'''" * 330_000,
        "```python\n" + "'\\" * 500_000,
        "    x\n" * 160_000,
        "{1:" * 300_000,
    ],
)
def test_hostile_text_costs_linear_time(text):
    start = time.process_time()
    parse.code_block(text)
    parse.mapping(text)
    assert time.process_time() - start < 2.0
