"""What holds of the paper: the page is current, verdicts follow the rows, the repair's examples."""

import itertools
import json
import math
import re

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import lsajax as lsa
from benchmarks import repair_ratio
from experiments import (
    findings,
    findings_claims,
    findings_repair,
    findings_rows,
    findings_training,
)


def test_the_page_is_current():
    page = findings.PAGE.read_text(encoding="utf-8")
    assert findings.filled(page) == page, "run python -m experiments.findings"
    for claim in findings.CLAIMS.values():
        assert f"**{claim.where}.** {claim.text}" in page


def test_a_page_that_leaves_out_a_claim():
    page = findings.PAGE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"another number of .*'punished'"):
        findings.filled(page.replace("<!-- finding: punished -->", ""))


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A copy of docs/results that a test may change."""
    for pattern in ("*.csv", "*.run.json"):
        for file in findings_rows.RESULTS.glob(pattern):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(findings_rows, "RESULTS", tmp_path)
    findings_rows._read.cache_clear()
    yield tmp_path
    findings_rows._read.cache_clear()


def change(path, method, **columns):
    table = pd.read_csv(path)
    for name, value in columns.items():
        table.loc[table["method"] == method, name] = value
    table.to_csv(path, index=False)


def test_verdicts_follow_the_rows(results):
    assert findings_claims.above_grouped().verdict == findings_rows.FAILS
    assert findings_claims.intractable().verdict == findings_rows.FAILS
    findings_rows._read.cache_clear()
    change(results / "scaling_plain.csv", "Grouped-KM", gap_percent=5.0)
    change(results / "scaling_fading.csv", "Exact optimum", seconds=100.0)
    assert findings_claims.above_grouped().verdict == findings_rows.PARTLY
    found = findings_claims.intractable()
    assert found.verdict == findings_rows.PARTLY
    assert "100000 ms in `fading`" in found.text


def test_verdicts_of_adaptation_follow_the_rows(results):
    file = results / "adaptation.csv"
    change(file, "LLM, repair off", lost_percent=0.5)
    change(file, "PPO, joint", gap_percent=math.nan, lost_percent=math.nan)
    found = findings_training.adaptation()
    assert found.verdict == findings_rows.HOLDS and "cannot run after 9 moves" in found.text
    findings_rows._read.cache_clear()
    change(file, "PPO, joint", gap_percent=0.0, lost_percent=0.0)
    assert findings_training.adaptation().verdict == findings_rows.PARTLY
    findings_rows._read.cache_clear()
    change(file, "LLM, repair off", lost_percent=20.0)
    assert findings_training.adaptation().verdict == findings_rows.FAILS


def take_steps(results, study, steps):
    file = results / f"{study}.run.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"config": record["config"] | {"steps": steps}}))


def test_verdicts_of_the_ablation_follow_the_rows(results):
    file = results / "ablation.csv"
    change(file, "Before GRPO", raw_valid_percent=50.0)
    take_steps(results, "ablation", 300)
    verdicts = {0: findings_rows.HOLDS, 1: findings_rows.PARTLY, 2: findings_rows.FAILS}
    for valid, verdict in verdicts.items():
        change(file, "Without structure", raw_valid_percent=0.0 if valid < 2 else 90.0)
        change(file, "Without depth", raw_valid_percent=0.0 if valid < 1 else 90.0)
        findings_rows._read.cache_clear()
        assert findings_training.ablation().verdict == verdict
    take_steps(results, "ablation", 20)  # what the first steps do not show is not refuted
    assert findings_training.ablation().verdict == findings_rows.UNTESTED
    change(file, "Full reward", raw_valid_percent=100.0)
    table = pd.read_csv(file)
    table = table[~table["method"].str.startswith("Text")]
    text = table[(table["method"] == "Full reward") & table["agent_seed"].isna()]
    skipped = [None if size != "I" else "a mapping of 200 users" for size in text["size"]]
    text = text.assign(method="Text, SFT then GRPO", raw_valid_percent=78.0, skipped=skipped)
    pd.concat([table, text]).to_csv(file, index=False)
    findings_rows._read.cache_clear()
    found = findings_training.validity()
    assert found.verdict == findings_rows.HOLDS and "a mapping of 200 users" in found.text


def test_verdicts_of_the_dynamics_follow_the_rows(results):
    file = results / "dynamics.csv"
    take_steps(results, "dynamics", 300)
    change(file, "(a) baseline", mean=0.8)
    change(file, "(b) smaller group", mean=0.8)
    for quick, last, verdict in (
        (0.99, 0.1, findings_rows.HOLDS),
        (0.99, 0.9, findings_rows.PARTLY),
        (0.7, 0.9, findings_rows.FAILS),
    ):
        for name in ("(c) structure up", "(e) depth up"):
            change(file, name, mean=quick)
        change(file, "(d) performance up", mean=0.5)
        table = pd.read_csv(file)
        ends = (table["method"] == "(d) performance up") & (table["step"] == table["step"].max())
        table.loc[ends, "mean"] = last
        table.to_csv(file, index=False)
        findings_rows._read.cache_clear()
        assert findings_training.dynamics().verdict == verdict, (quick, last)


def test_rows_that_are_not_there(results):
    (results / "repair_ratio.csv").unlink()
    claim = findings.Claim("Theorem 1", "", findings_repair.factor)
    found = findings._found(claim)
    assert found.verdict == findings_rows.NOT_YET
    assert "python -m benchmarks.repair_ratio" in found.text


def test_what_is_not_yet_measured_has_no_rows():
    """Who adds the rows of a study writes what they say."""
    for claim in findings.CLAIMS.values():
        found = findings._found(claim)
        if found.verdict == findings_rows.NOT_YET:
            study = re.search(r"python -m \w+\.(\w+)", found.text)[1]
            if study != "scaling":
                assert not list(findings_rows.RESULTS.glob(f"{study}*.csv"))


def rate(power_w, bandwidth_hz, noise_w_hz):
    return bandwidth_hz * math.log2(1 + power_w / (noise_w_hz * bandwidth_hz))


def enumerated(value, raw):
    """The largest sum over the assignments that keep the most suggestions, one by one."""
    best, most = -math.inf, -1
    for channels in itertools.permutations(range(value.shape[1]), len(raw)):
        kept = sum(int(c == r) for c, r in zip(channels, raw, strict=True))
        total = sum(value[i, c] for i, c in enumerate(channels))
        if (kept, total) > (most, best):
            most, best = kept, total
    return most, best


def examples():
    found = pd.read_csv(findings_rows.RESULTS / "repair_ratio.csv")
    found = found[(found["what"] == "search") & (found["users"] == 2) & (found["channels"] == 2)]
    return [
        (row["model"], row["rule"], row["worst_ratio"], row["slot"]) for _, row in found.iterrows()
    ]


@pytest.mark.parametrize(("model", "rule", "ratio", "slot"), examples())
def test_slots_that_were_found_by_enumeration(model, rule, ratio, slot):
    slot = json.loads(slot)
    power, width, raw = (np.array(slot[k]) for k in ("power_w", "bandwidth_hz", "raw"))
    inst = repair_ratio.instance(2, 2)
    noise = float(inst.noise_psd_w_hz)
    value = np.array(
        [[rate(power[i, m % power.shape[1]], width[m], noise) for m in (0, 1)] for i in (0, 1)]
    )
    given = power if power.shape[1] > 1 else power[:, 0]
    inst = inst.replace(
        mean_power_w=jnp.asarray(given, jnp.float32), bandwidth_hz=jnp.asarray(width, jnp.float32)
    )
    ours = np.asarray(lsa.repair(inst, raw, rule=rule))
    total = sum(value[i, c] for i, c in enumerate(ours))
    most, best = enumerated(value, raw)
    assert sum(int(a == b) for a, b in zip(ours, raw, strict=True)) == most
    # CSV has six digits.
    np.testing.assert_allclose(total / best, ratio, rtol=2e-3)
    assert ratio < 0.7
    # One swap keeps as many suggestions and is worth more: it is not locally optimal.
    swapped = ours[::-1]
    assert sum(int(a == b) for a, b in zip(swapped, raw, strict=True)) == most
    assert sum(value[i, c] for i, c in enumerate(swapped)) > 1.3 * total
    assert repair_ratio.improvable(value, raw, ours)


def test_the_example_of_the_page():
    """Two users at 1 m and 500 m who both ask for the narrower of 10 and 20 MHz."""
    low, high = repair_ratio._paper_power()
    wavelength = 299_792_458 / 2.4e9
    at_1_m = 10 ** ((23 - 30) / 10) * (wavelength / (4 * math.pi)) ** 2
    np.testing.assert_allclose(10**high, at_1_m, rtol=1e-4)
    np.testing.assert_allclose(10**low, at_1_m * 500**-2.5, rtol=1e-4)
    noise = 10 ** ((-174 - 30) / 10)
    near, far = (lambda b, p=p: rate(p, b, noise) for p in (at_1_m, at_1_m * 500**-2.5))
    ours, best = near(10e6) + far(20e6), far(10e6) + near(20e6)
    assert round(ours / best, 2) == 0.64
    inst = repair_ratio.instance(2, 2).replace(
        mean_power_w=jnp.array([at_1_m * 500**-2.5, at_1_m], jnp.float32),
        bandwidth_hz=jnp.array([10e6, 20e6]),
    )
    assert lsa.repair(inst, np.array([0, 0])).tolist() == [1, 0]


@pytest.mark.parametrize("rule", repair_ratio.RULES)
def test_the_example_with_gains_by_user_and_channel(rule):
    """Both ask for channel 0, where they are nearly alike; 1 is good for the first alone."""
    noise = float(repair_ratio.instance(2, 2).noise_psd_w_hz)
    snr, width = np.array([[1e-2, 1e9], [0.99e-2, 1e-9]]), 1e7
    inst = repair_ratio.instance(2, 2).replace(
        mean_power_w=jnp.asarray(snr * noise * width, jnp.float32),
        bandwidth_hz=jnp.full(2, width, jnp.float32),
    )
    assert lsa.repair(inst, np.array([0, 0]), rule=rule).tolist() == [0, 1]
    value = np.log2(1 + snr)
    most, best = enumerated(value, np.array([0, 0]))
    assert most == 1
    assert np.trace(value) / best < 1e-3


def test_the_best_that_keeps_as_many_is_an_assignment_problem():
    rng = np.random.default_rng(0)
    for _ in range(60):
        value = rng.exponential(size=(4, 5))
        raw = rng.integers(-1, 5, 4)
        best = repair_ratio.best_keeping(value, raw)
        most, total = enumerated(value, raw)
        assert int((best == raw).sum()) == most
        np.testing.assert_allclose(value[np.arange(4), best].sum(), total)


def test_any_assignment_keeps_the_ratio_of_bandwidths():
    """The factor 1 / beta of the page, over all assignments of drawn slots."""
    rng = np.random.default_rng(1)
    for _ in range(100):
        power, width = 10 ** rng.uniform(-16, -2, 3), 10 ** rng.uniform(5, 7.3, 4)
        value = repair_ratio.rates(power[:, None], width, 4e-21)
        sums = value[np.arange(3), repair_ratio.complete(3, 4)].sum(-1)
        assert sums.min() / sums.max() >= width.min() / width.max() - 1e-12
