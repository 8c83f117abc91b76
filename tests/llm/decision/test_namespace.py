"""What a program sees, and what its action means, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lsajax as lsa
from llm.decision import namespace
from llm.decision.slot import host_slot

SCENARIO = lsa.SMALL_SCALES[(15, 20, 8)].replace(occupancy=0.3)


def sample(setting="plain", seed=0, **changes):
    scenario = SCENARIO.replace(**(lsa.SETTINGS[setting] | changes))
    return lsa.sample_instance(jax.random.key(seed), scenario)


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
    np.testing.assert_allclose(rates, full[np.ix_(rows, data["channels"])], rtol=1e-4)


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
    wide = setting in ("fading", "multipath", "wideband")
    assert data["power_w"].shape == (K, C if wide else 1)
    for name in ("bandwidth_hz", "noise_w", "interference_w"):
        assert data[name].shape == (C,)
        assert data[name].dtype == np.float64
    assert data["time_budget_s"] == 0.5
    noise = 10 ** (-174 / 10) / 1000 * data["bandwidth_hz"]
    np.testing.assert_allclose(data["noise_w"], noise, rtol=1e-5)
    assert (data["interference_w"] > 0).any() == (setting == "interference")


VARIANTS = {
    "throughput": {},
    "weighted": {"weight_max": 3.0},
    "fair": {"objective": "fair", "alpha": 1.0},
    "fairer": {"objective": "fair", "alpha": 2.5, "weight_max": 3.0},
    "needs": {"min_rate_bps": 8e7, "min_rate_value": 4e7},
    "limits": {"snr_gap_db": 3.0, "max_spectral_efficiency": 5.0},
    "coupled": {"objective": "coupled"},
    "coupled needs": {"objective": "coupled", "weight_max": 2.0, "min_rate_bps": 8e7},
}


def own_data(objective="throughput", **changes):
    """Power, interference, coupling and leakage of pairs, as a user may bring them."""
    rng = np.random.default_rng(5)
    square = {"coupling": rng.random((8, 8)), "leakage": rng.random((20, 20))}
    square = {name: np.triu(x, 1) + np.triu(x, 1).T for name, x in square.items()}
    coupled = {**square, "coupling_bps": 1e6} if objective == "coupled" else {}
    return lsa.make_instance(
        10 ** rng.uniform(-13, -9, (8, 20)),
        rng.uniform(10e6, 20e6, 20),
        interference_w=rng.exponential(1e-13, (8, 20)),
        occupied=rng.random(20) < 0.3,
        user_id=rng.permutation(50)[:8],
        user_mask=rng.random(8) < 0.9,
        objective=objective,
        **coupled,
        **changes,
    )


OWN = {"own": {}, "own fair": {"objective": "fair"}, "own coupled": {"objective": "coupled"}}
CASES = [(s, v) for s in lsa.SETTINGS for v in VARIANTS] + [("own", v) for v in OWN]


@pytest.mark.parametrize(("setting", "variant"), CASES)
def test_helpers_say_what_the_core_says(setting, variant):
    own = setting == "own"
    inst = own_data(**OWN[variant]) if own else sample(setting, **VARIANTS[variant])
    data = namespace.program_data(inst)
    scope = run("", data)
    rows, columns = np.flatnonzero(inst.user_mask), data["channels"]
    K, C = len(rows), len(columns)
    full = np.asarray(lsa.value_matrix(inst.without_coupling()))[np.ix_(rows, columns)]
    values = scope["values"]()
    assert values.shape == (K, C)
    np.testing.assert_allclose(values, full, rtol=1e-4, atol=1e-5 * full.max())
    assert scope["value"](1, 2) == pytest.approx(values[1, 2])
    rng = np.random.default_rng(0)
    i, j = rng.integers(K, size=5), rng.integers(C, size=5)
    np.testing.assert_allclose(scope["value"](i, j), values[i, j])
    spread = rng.permutation(C)[:K] if K <= C else np.resize(np.arange(C), K)
    for cols in (spread, rng.integers(-1, C, K), np.full(K, -1), np.zeros(K, int)):
        raw = np.full(inst.num_rows, -1, np.int32)
        raw[rows] = np.where(cols >= 0, columns[cols], -1)
        expected = float(lsa.objective_value(inst, raw))
        assert scope["objective"](cols) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_objective_refuses_what_is_no_answer(box):
    code = "x = 1\naction = {0: int(objective([1, 2]))}"
    with box.pack(namespace.program_data(sample())) as data:
        ran = box.run(namespace.program_text(code), data)
    assert namespace.program_detail(ran.detail) == (
        "line 2: ValueError: objective takes one column per user, 8, got shape (2,)"
    )


def test_a_program_checks_itself_inside_the_sandbox(box):
    inst = sample("fading", objective="coupled")
    code = (
        "cols = np.arange(len(users))\n"
        "assert abs(objective(cols) - TOTAL) < 1e-4 * TOTAL\n"
        "action = dict(zip(users.tolist(), channels[cols].tolist()))"
    )
    raw = namespace.program_data(inst)["channels"][: inst.num_rows].astype(np.int32)
    code = code.replace("TOTAL", repr(float(lsa.objective_value(inst, raw))))
    with box.pack(namespace.program_data(inst)) as data:
        ran = box.run(namespace.program_text(code), data)
    assert ran.status == "ok", ran.detail
    np.testing.assert_array_equal(namespace.raw_assignment(inst, ran.action).raw, raw)


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_are_exactly_what_is_bound(variant):
    inst = sample(**VARIANTS[variant])
    data = namespace.program_data(inst)
    always = {name.split("(")[0] for name in namespace.NAMES}
    scope = {name for name in run("", data) if not name.startswith("__")}
    assert always <= scope
    assert scope - always <= namespace.EXTRA_NAMES.keys()
    assert scope - always == namespace.extra_data(host_slot(inst)).keys()


@pytest.mark.parametrize("objective", lsa.OBJECTIVES)
@pytest.mark.parametrize("change", ["user_mask", "occupied"])
def test_helpers_where_no_user_can_be_served(objective, change):
    inst = sample(objective=objective)
    inst = inst.replace(**{change: np.full(getattr(inst, change).shape, change == "occupied")})
    data = namespace.program_data(inst)
    scope = run("", data)
    K, C = len(data["users"]), len(data["channels"])
    assert scope["values"]().shape == (K, C)
    assert scope["objective"](np.full(K, -1)) == 0


def test_own_coupling_and_leakage_are_of_users_and_idle_channels():
    inst = own_data("coupled")
    extra = namespace.extra_data(host_slot(inst))
    assert extra.keys() == {"coupling_bps", "coupling", "leakage"}
    rows, idle = np.flatnonzero(inst.user_mask), np.flatnonzero(~np.asarray(inst.occupied))
    np.testing.assert_array_equal(extra["coupling"], np.asarray(inst.coupling)[np.ix_(rows, rows)])
    np.testing.assert_array_equal(extra["leakage"], np.asarray(inst.leakage)[np.ix_(idle, idle)])


def test_large_data_is_refused_with_what_it_needs():
    inst = lsa.make_instance(np.full(20_000, 1e-10), np.full(20_000, 1e7))
    data = namespace.program_data(inst)
    assert sum(np.asarray(value).nbytes for value in data.values()) < 2e6
    faded = inst.replace(fading=lsa.Fading(np.zeros(2, np.uint32)))
    message = "needs 3200000000 bytes for 20000 users on 20000 idle channels.*max_bytes"
    with pytest.raises(ValueError, match=message):
        namespace.program_data(faded)
    part = faded.replace(user_mask=np.arange(20_000) < 4)
    with pytest.raises(ValueError, match="needs 640000 bytes for 4 users"):
        namespace.program_data(part, max_bytes=100_000)


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
        run(head + "1 / 0\n", namespace.program_data(sample()))
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
