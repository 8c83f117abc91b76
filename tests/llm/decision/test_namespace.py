"""What a program sees, and what its action means, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsajax as lsa
from llm.decision import namespace
from tests.lsajax.cases import sample_instance

SCENARIO = lsa.SMALL_SCALES[(15, 20, 8)].replace(occupancy=0.3)


def sample(setting="plain", seed=0, **changes):
    scenario = SCENARIO.replace(**lsa.SETTINGS[setting], **changes)
    return sample_instance(jax.random.key(seed), scenario)


def run(code, data):
    """The namespace as a program has it; trusted code only."""
    scope = dict(data)
    exec(namespace.program_text(code), scope)
    return scope


@pytest.mark.parametrize("setting", lsa.SETTINGS)
def test_rates_are_those_of_the_matrix(setting):
    inst = sample(setting)
    data = namespace.program_data(inst)
    rates = run("rates = rate_bps()", data)["rates"]
    rows = np.flatnonzero(inst.user_mask)
    full = np.asarray(lsa.rate_matrix(inst))
    assert rates.dtype == np.float64
    assert rates.shape == (len(data["users"]), len(data["channels"]))
    np.testing.assert_allclose(rates, full[np.ix_(rows, data["channels"])], rtol=2e-5)


@pytest.mark.parametrize("setting", lsa.SETTINGS)
def test_names_types_and_rows(setting):
    inst = sample(setting)
    data = namespace.program_data(inst, time_budget_s=0.5)
    idle = [m for m in range(inst.num_channels) if not inst.occupied[m]]
    users = [int(u) for u, ok in zip(inst.user_id, inst.user_mask, strict=True) if ok]
    assert data["channels"].tolist() == idle
    assert data["users"].tolist() == users
    assert data["users"].dtype == data["channels"].dtype == np.int64
    K, C = len(users), len(idle)
    wide = setting in ("fading", "wideband")
    assert data["power_w"].shape == (K, C if wide else 1)
    for name in ("bandwidth_hz", "noise_w", "interference_w"):
        assert data[name].shape == (C,)
        assert data[name].dtype == np.float64
    assert data["time_budget_s"] == 0.5
    noise = 10 ** (-174 / 10) / 1000 * data["bandwidth_hz"]
    np.testing.assert_allclose(data["noise_w"], noise, rtol=1e-5)
    assert (data["interference_w"] > 0).any() == (setting == "interference")


def test_documentation_names_exactly_what_is_bound():
    documented = {line.split(":")[0].split("(")[0] for line in namespace.DOCUMENTATION.split("\n")}
    scope = run("", namespace.program_data(sample()))
    assert documented == {name for name in scope if not name.startswith("__")}


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_time_budget_is_checked(budget):
    with pytest.raises(ValueError, match="time_budget_s"):
        namespace.program_data(sample(), budget)


ids = st.integers(-3, 25) | st.sampled_from([2**31, -(2**31) - 1, 2**63 - 1, -(2**63)])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.dictionaries(ids, ids, max_size=30))
def test_raw_assignment_against_counting(seed, action):
    inst = sample("poisson", seed)
    raw, unknown_users = namespace.raw_assignment(inst, action)
    active = [int(u) for u, ok in zip(inst.user_id, inst.user_mask, strict=True) if ok]
    occupied = np.asarray(inst.occupied)
    wanted = {u: action[u] for u in active if u in action}
    used = [c for c in wanted.values() if 0 <= c < 20 and not occupied[c]]
    counts = lsa.violations(inst, jnp.asarray(raw))
    assert raw.dtype == np.int32
    assert raw.shape == (inst.num_rows,)
    assert unknown_users == sum(u not in active for u in action)
    assert counts.unknown == sum(c < -1 or c >= 20 for c in wanted.values())
    assert counts.occupied == sum(0 <= c < 20 and bool(occupied[c]) for c in wanted.values())
    assert counts.duplicate == len(used) - len(set(used))
    assert counts.unserved == len(active) - sum(c != -1 for c in wanted.values())
    for row in np.flatnonzero(inst.user_mask):
        channel = action.get(int(inst.user_id[row]), -1)
        assert raw[row] == channel or not -1 <= channel < 20


def test_a_failed_program_leaves_all_unassigned():
    raw, unknown_users = namespace.raw_assignment(sample(), None)
    assert (raw == -1).all()
    assert unknown_users == 0


@pytest.mark.parametrize(
    "head",
    [
        "from __future__ import annotations\n",
        "# A comment.\n\nfrom __future__ import annotations  # another\n",
        "from __future__ import (\n    annotations,\n    division,\n)\n",
        "from __future__ import annotations; import math\n",
        '"""Text."""\nfrom __future__ import division\nfrom __future__ import annotations\n',
    ],
)
def test_future_imports_stand_before_the_prelude(head):
    code = head + "def f(x: Undefined): return x\naction = {1: int(f(2))}\n"
    assert run(code, namespace.program_data(sample()))["action"] == {1: 2}
    # Lines keep their numbers.
    with pytest.raises(ZeroDivisionError) as caught:
        run(head + "1 / 0\n", {})
    line = caught.traceback[-1].lineno + 1  # pytest counts from 0
    assert namespace.program_detail(f"line {line}") == f"line {head.count(chr(10)) + 1}"


def test_messages_count_lines_of_the_program():
    code = "x = 1\nx = (\n"
    with pytest.raises(SyntaxError) as caught:
        compile(namespace.program_text(code), "p", "exec")
    detail = namespace.program_detail(f"line {caught.value.lineno}: {caught.value.msg}")
    assert detail.startswith("line 2:")


@pytest.mark.parametrize(
    ("detail", "counted"),
    [
        ("line 5: ValueError: line 7 of 9", "line 4: ValueError: line 7 of 9"),
        ("line 5: ValueError: a\nline 7", "line 4: ValueError: a\nline 7"),
        ("no line 7", "no line 7"),
        (
            "line 5: SyntaxError: ']' does not match '(' on line 3 (<program>, line 5)",
            "line 4: SyntaxError: ']' does not match '(' on line 2 (<program>, line 4)",
        ),
    ],
)
def test_a_program_s_own_words_keep_their_numbers(detail, counted):
    assert namespace.program_detail(detail) == counted
