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
    findings_adaptation,
    findings_claims,
    findings_code,
    findings_repair,
    findings_rows,
    findings_small,
    findings_training,
)
from experiments.report_numbers import interval
from llm.training.evaluation import wilson


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
    found = findings_adaptation.adaptation()
    assert found.verdict == findings_rows.HOLDS and "cannot run after 9 moves" in found.text
    findings_rows._read.cache_clear()
    change(file, "PPO, joint", gap_percent=0.0, lost_percent=0.0)
    assert findings_adaptation.adaptation().verdict == findings_rows.PARTLY
    findings_rows._read.cache_clear()
    change(file, "LLM, repair off", lost_percent=20.0)
    found = findings_adaptation.adaptation()
    assert found.verdict == findings_rows.FAILS and "the most that it loses is 20" in found.text
    findings_rows._read.cache_clear()
    change(file, "LLM, repair off", lost_percent=-0.5)
    assert "it loses nothing in any move" in findings_adaptation.adaptation().text


def test_what_a_move_takes_of_solvers_and_searches(results):
    found = findings_adaptation.recomputed()
    assert found.verdict == findings_rows.PARTLY
    assert "11.17 ± 0.32 % ('scale I'; best program 0 %)" in found.text
    for gap, verdict in ((50.0, findings_rows.HOLDS), (0.0, findings_rows.FAILS)):
        change(results / "adaptation.csv", "Differential evolution", gap_percent=gap)
        findings_rows._read.cache_clear()
        assert findings_adaptation.recomputed().verdict == verdict


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
    change(file, "Full reward", raw_valid_percent=100.0, raw_valid_half_percent=0.0)
    code_models(results, {"zero-shot": 0.2, "GRPO, 10 steps": 1.0})
    table = pd.read_csv(file)
    table = table[~table["method"].str.startswith("Text")]
    table.to_csv(file, index=False)
    record = json.loads((results / "ablation.run.json").read_text())
    record["command"] += " --variants full ranked --out results/mine"
    (results / "ablation.run.json").write_text(json.dumps(record))
    findings_rows._read.cache_clear()
    found = findings_training.validity()
    assert found.verdict == findings_rows.PARTLY  # there is no text
    assert "python -m experiments.ablation --max-completion-tokens 96" in found.text
    assert "--variants text full" in found.text and "--out" not in found.text
    text = table[(table["method"] == "Full reward") & table["agent_seed"].isna()]
    skipped = [None if size != "I" else "a mapping of 200 users" for size in text["size"]]
    text = text.assign(method="Text, SFT then GRPO", raw_valid_percent=78.0, skipped=skipped)
    pd.concat([table, text]).to_csv(file, index=False)
    findings_rows._read.cache_clear()
    found = findings_training.validity()
    assert found.verdict == findings_rows.HOLDS and "a mapping of 200 users" in found.text
    code_models(results, {"zero-shot": 0.2, "GRPO, 10 steps": 0.9})
    findings_rows._read.cache_clear()
    assert findings_training.validity().verdict == findings_rows.PARTLY


def test_a_share_that_few_answers_have_is_no_beginning_to_fall_below(results):
    """From 62.5 % of 8 answers, 31 to 86, to 37.5 %."""
    file = results / "ablation.csv"
    change(file, "Before GRPO", raw_valid_percent=62.5, realizations=8)
    for name in ("Without structure", "Without depth"):
        change(file, name, raw_valid_percent=37.5, raw_valid_half_percent=10.0)
    take_steps(results, "ablation", 300)
    found = findings_training.ablation()
    assert found.verdict == findings_rows.FAILS
    assert "'Before GRPO' 62.5 % (31 to 86), 8 answers" in found.text
    assert "by more than their intervals, are: none" in found.text


def code_models(results, valid, right=None, instances=200):
    """Rows of code models by name, with the intervals of so many prompts."""
    right = dict.fromkeys(valid, 0.0) | (right or {})
    made = []
    for name in valid:
        for temperature in (0.0, 0.9):
            row = {"model": name, "temperature": temperature, "setting": "all", "gap": 0.1}
            row |= {"instances": instances, "samples": 3 * instances, "gap_half": 0.02}
            for what, shares in (("valid", valid), ("right", right)):
                # Greedy answers are not what is told.
                share = shares[name] if temperature else 0.123
                low, high = wilson(share, instances)
                row |= {what: share, f"{what}_low": low, f"{what}_high": high}
            made.append(row)
    pd.DataFrame(made).to_csv(results / "code_model.csv", index=False)


def test_of_each_kind_of_training_the_longest_is_told(results):
    names = ["zero-shot", "GRPO, 10 steps", "SFT, then GRPO, 60 steps", "GRPO, 60 steps"]
    names += ["SFT, 10 steps", "GRPO, 9 steps"]
    code_models(results, dict.fromkeys(names, 0.5))
    found = findings_code.longest()
    assert found["model"].to_dict() == {
        "zero-shot": "zero-shot",
        "GRPO": "GRPO, 60 steps",
        "SFT, then GRPO": "SFT, then GRPO, 60 steps",
        "SFT": "SFT, 10 steps",
    }
    assert found["steps"].tolist() == [0, 60, 60, 10] and (found["temperature"] > 0).all()


def test_verdicts_on_grpo_without_sft_follow_the_rows(results):
    before, after, sft = "zero-shot", "GRPO, 60 steps", "SFT, 10 steps"
    for steps, valid, right, verdict in (
        (60, 1.0, 0.9, findings_rows.HOLDS),
        (60, 1.0, 0.0, findings_rows.PARTLY),  # validity alone
        (60, 0.3, 0.0, findings_rows.UNTESTED),
        (300, 0.3, 0.0, findings_rows.FAILS),
    ):
        after = f"GRPO, {steps} steps"
        code_models(results, {before: 0.3, after: valid, sft: 1.0}, {after: right, sft: 0.9})
        findings_rows._read.cache_clear()
        found = findings_code.direct()
        assert found.verdict == verdict, found.text
        assert f"{steps} of the paper's 300 steps" in found.text
    # As valid as with SFT is not enough where it was so before.
    code_models(results, {before: 1.0, after: 1.0, sft: 1.0})
    findings_rows._read.cache_clear()
    assert findings_code.direct().verdict == findings_rows.FAILS
    # A few prompts tell nothing apart.
    code_models(results, {before: 0.3, after: 0.9}, {after: 0.5}, instances=4)
    (results / "answers_code_model.csv").unlink()
    findings_rows._read.cache_clear()
    found = findings_code.direct()
    assert found.verdict == findings_rows.FAILS and "with SFT" not in found.text
    assert found.files == ("code_model.csv",)
    code_models(results, {before: 0.3})
    findings_rows._read.cache_clear()
    with pytest.raises(findings_rows.NotMeasured):
        findings_code.direct()


def test_what_the_throughput_of_text_implies(results):
    table = pd.read_csv(results / "ablation.csv")
    for text, half, verdict in (
        (90.0, 5.0, findings_rows.PARTLY),
        (40.0, 60.0, findings_rows.UNTESTED),
        (5.0, 4.0, findings_rows.FAILS),
    ):
        own = table["method"] == "Text, SFT then GRPO"
        table.loc[own, ["gap_percent", "gap_half_percent"]] = text, half
        table.loc[table["method"] == "Full reward", ["gap_percent", "gap_half_percent"]] = 20.0, 3.0
        table.to_csv(results / "ablation.csv", index=False)
        findings_rows._read.cache_clear()
        found = findings_training.code_text()
        assert found.verdict == verdict and f"GRPO' {interval(text, half)} %" in found.text
        assert "29350 Mbit/s in the mean, above its own Grouped-KM (27703)" in found.text
    missing = table[table["method"] != "Text, SFT then GRPO"]
    missing.to_csv(results / "ablation.csv", index=False)
    findings_rows._read.cache_clear()
    found = findings_training.code_text()
    assert found.verdict == findings_rows.UNTESTED and "is not in ablation.csv" in found.text


def test_seconds_of_one_run_are_told_by_their_parts(results):
    file = results / "latency.csv"
    latency = pd.read_csv(file)
    ours = latency["method"] == "LLM (code)"
    latency = latency[ours | (latency["method"].isin(["Exhaustive", "Exact optimum"]))]
    for triple, scale, verdict in (
        (1.2, 1.3, findings_rows.HOLDS),
        (1.2, 3.0, findings_rows.PARTLY),
        (2.0, 3.0, findings_rows.FAILS),
    ):
        factor = latency["size"].map({"(15,20,8)": triple, "III": scale}).fillna(1.0)
        latency.assign(
            seconds=0.1 * factor, decode_s=0.05 * factor, execute_s=0.02 * factor
        ).to_csv(file, index=False)
        findings_rows._read.cache_clear()
        found = findings_small.flat()
        assert found.verdict == verdict and found.files == ("latency.csv",)
        took = f"100 ms to {100 * triple:.0f} ms at the triples and 100 ms to {100 * scale:.0f} ms"
        assert took in found.text
        assert f"executing it from 20 ms to {20 * scale:.0f} ms" in found.text
        assert f"{triple} times what it takes at (5,5,1)" in found.text
        assert f"and {scale} times beyond" in found.text
    file.unlink()
    found = findings_small.flat()
    assert found.files == ("small_scale.csv", "scaling_plain.csv")
    assert "285 ms at scales I to III" in found.text and "executing" not in found.text


def test_seconds_of_prompts_that_fit_have_a_verdict(results):
    assert findings_claims.context_seconds().verdict == findings_rows.UNTESTED
    file = results / "context.csv"
    table = pd.read_csv(file)
    for power, verdict in ((1, findings_rows.HOLDS), (-1, findings_rows.FAILS)):
        own = table["paper_s"].notna()
        table.loc[own, "seconds"] = table["prompt_budget"] ** float(power)
        table.loc[own, "prompt_tokens"] = table["prompt_budget"]
        table.loc[own, "skipped"] = None
        table.to_csv(file, index=False)
        findings_rows._read.cache_clear()
        assert findings_claims.context_seconds().verdict == verdict


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
            change(file, name, mean=quick, mean_half=0.0)
        change(file, "(d) performance up", mean=0.5)
        table = pd.read_csv(file)
        ends = (table["method"] == "(d) performance up") & (table["step"] == table["step"].max())
        table.loc[ends, "mean"] = last
        table.to_csv(file, index=False)
        findings_rows._read.cache_clear()
        assert findings_training.dynamics().verdict == verdict, (quick, last)


def test_a_mean_at_the_level_is_not_the_first_above_it(results):
    """An interval has to clear it."""
    file = results / "dynamics.csv"
    for name in pd.read_csv(file)["method"].unique():
        change(file, name, mean=0.85, mean_half=0.1)
    for half, first in ((0.05, "none"), (0.01, "(a) baseline")):
        change(file, "(a) baseline", mean=0.95, mean_half=half)
        findings_rows._read.cache_clear()
        assert f"with all of its interval: {first}." in findings_training.dynamics().text


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
