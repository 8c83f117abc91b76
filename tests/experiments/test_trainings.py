"""Studies that train: a kill goes on to the same numbers, and what is wrong is one sentence."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pandas as pd
import pytest

from experiments import ablation, dynamics, trainings
from experiments.trainings import Training
from llm.training import callbacks, grpo
from lsajax.runs import cli
from lsajax.runs.folder import BadRun

SMALLEST = dynamics.Config(
    triple=(7, 10, 2),
    settings=("plain",),
    steps=2,
    seeds=1,
    prompts=1,
    group=4,
    max_completion_tokens=48,
    save_every=1,
    weightings=("a", "c"),
)
TIMES = ("time", "sandbox", "epoch")


class Interrupted(Exception):  # noqa: N818 - it ends a run, nothing is wrong
    """In place of a kill."""


def run(out, **changes):
    prepared = dynamics.prepare(dataclasses.replace(SMALLEST, out=out, **changes))
    with prepared.resources:
        dynamics.run(prepared)
    return pd.read_parquet(out / "rows.parquet")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A study that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, run(out)


def test_rows_summary_and_what_is_left_of_the_trainings(whole):
    out, rows = whole
    assert rows.groupby("method").size().to_dict() == {
        dynamics.BASELINE: 2,
        dynamics.RAISED["structure"]: 2,
    }
    own = rows.set_index(["method", "step"]).sort_index()
    # The same prompts, and before the first update the same model: only the weight differs.
    first = own.xs(1, level="step")
    for part in ("structure", "performance", "depth", "valid"):
        assert first[part].nunique() == 1
    parts = first[["structure", "performance", "depth"]].to_numpy()
    weights = np.array([[1.0, 1.0, 0.5], [3.0, 1.0, 0.5]])
    np.testing.assert_allclose(first["reward"], (parts * weights).sum(1), rtol=1e-5)
    summary = pd.read_csv(out / "summary.csv")
    at = summary.set_index(["part", "step", "method"])["mean"]
    mean = own.loc[dynamics.BASELINE, "valid"].mean()
    assert at["valid", 2, dynamics.BASELINE] == pytest.approx(mean)
    assert (out / "dynamics.png").stat().st_size > 10_000
    folders = sorted(path.name for path in (out / trainings.FOLDER).iterdir())
    assert folders == ["a-baseline-0", "c-structure-up-0"]
    for folder in folders:
        assert not list((out / trainings.FOLDER / folder).glob("checkpoint-*"))


@pytest.mark.slow
def test_a_killed_study_resumes_to_the_same_numbers(whole, tmp_path, monkeypatch):
    build = grpo.build

    class Stop(callbacks.TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if "structure" in args.output_dir and state.global_step == 1:
                raise Interrupted

    def stopping(*args):
        trainer, rows = build(*args)
        trainer.add_callback(Stop())
        return trainer, rows

    # The first training had ended.
    first = pathlib.Path(trainings.FOLDER) / "a-baseline-0"
    shutil.copytree(whole[0] / first, tmp_path / "run" / first)
    with monkeypatch.context() as patch:
        patch.setattr(grpo, "build", stopping)
        with pytest.raises(Interrupted):
            run(tmp_path / "run", resume=True)
    assert not (tmp_path / "run" / "rows.parquet").exists()
    with pytest.raises(BadRun, match="holds trainings already; give --resume"):
        run(tmp_path / "run")
    # It is not taken again.
    finished = tmp_path / "run" / first / "rows.parquet"
    written = finished.stat().st_mtime_ns
    found = run(tmp_path / "run", resume=True)
    assert finished.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(found, whole[1])


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole[0], tmp_path / "copy")


def test_a_finished_study_asked_again_prints_its_table(whole, capsys):
    run(whole[0], resume=True)
    said = capsys.readouterr()
    assert "all 2 trainings are in" in said.err and dynamics.BASELINE in said.out


def test_another_configuration_is_one_sentence(copy):
    with pytest.raises(BadRun, match=r"factor was 3\.0, now 2\.0"):
        run(copy, resume=True, factor=2.0)
    with pytest.raises(BadRun, match="holds results already; give --resume"):
        run(copy)
    for file in ("rows.parquet", "run.json"):
        (copy / file).unlink()
    with pytest.raises(BadRun, match=r"terms was .*3\.0.*, now .*2\.0"):
        run(copy, resume=True, factor=2.0)


def test_half_written_rows_and_missing_models_are_one_sentence(copy):
    folder = copy / trainings.FOLDER / "a-baseline-0"
    shutil.move(folder / "model", copy / "model")
    with pytest.raises(BadRun, match="its model is missing; remove the folder, and --resume"):
        run(copy, resume=True)
    shutil.move(copy / "model", folder / "model")
    rows = folder / "rows.parquet"
    whole = rows.read_bytes()
    pd.read_parquet(rows).query("step == 2").to_parquet(rows)
    with pytest.raises(BadRun, match="lacks the row of step 1; remove the folder"):
        trainings.rows(folder, 2)
    rows.write_bytes(whole[:100])
    with pytest.raises(BadRun, match="cannot be read"):
        run(copy, resume=True)
    with pytest.raises(BadRun, match=r"cannot be read .*; remove the folder, and --resume"):
        trainings.rows(folder, 2)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(cli.Unavailable, match=r"qwen-coder-0\.5b, qwen-coder-0\.5b-base, a folder"):
        run(tmp_path / "out", model="./nowhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "--steps must be at least 1, got 0"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"group": 1}, "--group must be at least 2"),
        ({"group": 2, "weightings": ("b",)}, "--group must be at least 4"),
        ({"settings": ("windy",)}, "--settings must name one or more of plain"),
        ({"weightings": ("f",)}, "--weightings must name one or more of a, b"),
        ({"factor": 1.0}, "--factor must be above 1"),
        ({"learning_rate": 0.0}, "--learning-rate must be above 0"),
        ({"triple": (5, 5, 6)}, "num_active must be at most num_users=5"),
        ({"seed": -1}, "--seed must be within"),
    ],
)
def test_options_that_are_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message) as raised:
        run(tmp_path / "out", **options)
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variants": ()}, "--variants must name one or more of full"),
        ({"sft_steps": 0}, "--sft-steps must be at least 1"),
        ({"temperature": -1.0}, "--temperature must be at least 0"),
        ({"sizes": ("IV",)}, "--sizes must be I, II, III or N,M,K, got 'IV'"),
        ({"realizations": 0}, "--realizations must be at least 1"),
    ],
)
def test_options_of_the_ablation_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ablation.check(ablation.Config(**options))


def test_the_curve_is_cut_into_stretches():
    steps = np.arange(1, 121)
    made = [
        pd.DataFrame({"method": name, "agent_seed": seed, "step": steps})
        for name in "ab"
        for seed in (0, 1)
    ]
    rows = pd.concat(made, ignore_index=True)
    for part in ("reward", "structure", "performance", "depth"):
        rows[part] = 1.0
    rows["valid"] = rows["step"] / 120 + (rows["method"] == "b") + 0.25 * rows["agent_seed"]
    summary = dynamics.table(rows)
    own = summary[(summary["part"] == "valid") & (summary["method"] == "a")]
    assert own["step"].tolist() == list(range(5, 121, 5))
    assert own["mean"].iloc[0] == pytest.approx(3 / 120 + 0.125)
    assert own["seed_high"].iloc[0] - own["seed_low"].iloc[0] == pytest.approx(0.25)
    ends = dynamics.ends(summary, "valid")
    assert ends.loc["b", "last"] - ends.loc["a", "last"] == pytest.approx(1.0)
    assert ends.loc["a", "last"] == pytest.approx(118 / 120 + 0.125)


def test_what_is_trained():
    compared = ablation.compared(ablation.Config(seeds=2, seed=3))
    assert len(compared) == 2 * len(ablation.NAMES)
    assert len({training.folder for training in compared}) == len(compared)
    assert {training.seed for training in compared} == {3, 4}
    text = next(t for t in compared if t.sft is not None)
    before, after = trainings.stages(text, pathlib.Path("x"))
    assert (before.kind, after.kind) == ("sft", "grpo")
    assert after.options["model"] == "x/text-sft-then-grpo-3-sft/model"
    assert after.options["paradigm"] == before.options["paradigm"] == "text"
    # From a folder it would have the rate of any other model.
    assert after.options["learning_rate"] == 5e-4
    assert trainings.words({"terms": {"depth": 0.0}, "scales": ["I", "II"], "seed": 1}) == [
        "--terms",
        '{"depth": 0.0}',
        "--scales",
        "I",
        "II",
        "--seed",
        "1",
    ]
    assert Training("(b) smaller group", 1, {}).folder == "b-smaller-group-1"


def ablate(out, **changes):
    config = ablation.Config(
        triple=(7, 10, 2),
        settings=("plain",),
        steps=1,
        seeds=1,
        prompts=1,
        group=4,
        max_completion_tokens=64,
        variants=("no-depth", "text"),
        sft_steps=2,
        realizations=2,
        out=out,
    )
    ablation.run(ablation.prepare(dataclasses.replace(config, **changes)))
    return pd.read_csv(out / "summary.csv").set_index(["size", "method"])


@pytest.mark.slow
def test_an_ablation_at_its_smallest(tmp_path, capsys):
    summary = ablate(tmp_path / "run")
    kinds = [ablation.BEFORE, "Without depth", ablation.SFT_ALONE, "Text, SFT then GRPO", "Random"]
    assert summary.index.tolist() == [(size, kind) for size in ("7,10,2", "I") for kind in kinds]
    rows = pd.read_parquet(tmp_path / "run" / "rows.parquet")
    assert {"Without depth, seed 0", "Without depth, seed 0, repair off"} < set(rows["method"])
    raw = rows[rows["method"].str.endswith("repair off") & (rows["size"] == "7,10,2")]
    at = raw.groupby("method")[["raw_valid"]].mean()["raw_valid"].astype(float)
    row = summary.loc[("7,10,2", ablation.BEFORE)]
    assert row["raw_valid_percent"] == 100 * at[f"{ablation.BEFORE}, repair off"]
    assert row["repaired_gap_percent"] <= row["gap_percent"] + 1e-6
    # What the text paradigm needs at that scale is counted, not typed.
    reason = summary.loc[("I", "Text, SFT then GRPO"), "skipped"]
    assert "a mapping of 200 users takes up to" in reason and "context of 768" in reason
    assert summary.loc[("I", "Text, SFT then GRPO"), "paper_valid_percent"] == 78
    assert summary.loc[("7,10,2", "Without depth"), "training_s"] > 0
    assert "N/A" in capsys.readouterr().out
    pd.testing.assert_frame_equal(ablate(tmp_path / "run", resume=True), summary)
