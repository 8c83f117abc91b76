"""The main job on one scale, with a model whose programs are known, and its command line."""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import get_args

import jax
import numpy as np
import pandas as pd
import pytest

import llm.models
import lsajax as lsa
from experiments import __main__ as listing
from experiments import config, language_model, methods, scaling, study
from experiments.scaling import Config
from llm.decision import namespace
from llm.models import Completion
from llm.sandbox import Sandbox
from lsajax.runs.folder import RunFolder
from tests.experiments.commands import refused

SORT_ONE_SIDE = (
    "```python\n"
    "wide = channels[np.argsort(-bandwidth_hz)]\n"
    "action = {int(u): int(c) for u, c in zip(users, wide)}\n"
    "```"
)
COLLIDE = "```python\naction = {int(u): int(channels[0]) for u in users}\n```"


@dataclasses.dataclass
class KnownModel:
    """Writes one of two programs, chosen by the seed that it is given."""

    name: str = "known"
    prompt_budget: int = 512
    max_new_tokens: int = 64
    context: int | None = 768

    def count_tokens(self, text):
        return len(text) // 4

    def generate(self, prompts, *, seed=0, num_samples=1, **_):
        text = COLLIDE if seed % 2 else SORT_ONE_SIDE
        return [Completion(text, 100, 20, 0.02) for _ in prompts for _ in range(num_samples)]


def run(path, **changes):
    options = {"model": "known", "realizations": 3} | changes
    scaling.run(scaling.prepare(Config(scales=("I",), out=path, **options)))
    return pd.read_parquet(path / "rows.parquet")


def test_a_run_and_its_rows(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(llm.models, "load_model", lambda name: KnownModel())
    rows = run(tmp_path)
    assert len(rows) == 3 * 10 and set(rows["scale"]) == {"I"}
    # Its window has no room for a mapping.
    text = rows[rows["method"] == methods.LLM_TEXT]
    assert text["value"].isna().all()
    assert text["detail"].str.contains("a mapping of 200 users takes up to").all()
    value = rows.pivot(index="realization", columns="method", values="value_bps")
    llm_rows = rows[rows["method"] == methods.LLM].set_index("realization")
    collided = llm_rows["completion"] == COLLIDE
    assert collided.any() and not collided.all()
    # A program that collides: off the repair it is worth little, with it nearly all.
    for r, bad in collided.items():
        assert (value.loc[r, methods.LLM_RAW] < 0.1 * value.loc[r, methods.LLM]) == bad
    assert list(llm_rows["raw_valid"]) == list(~collided)
    assert (llm_rows["raw_served"] == 200).all() and (llm_rows["generate_s"] == 0.02).all()
    assert (value[methods.OPTIMUM] >= value.max(axis=1) * (1 - 1e-6)).all()
    assert (value[methods.RANDOM] < value[methods.GREEDY]).all()
    np.testing.assert_allclose(value[methods.SORTED], value[methods.OPTIMUM], rtol=1e-6)
    grouped = rows[rows["method"] == methods.GROUPED].set_index("realization")
    np.testing.assert_allclose(grouped["budget_s"], llm_rows["seconds"])
    # The same instances as a user would draw them.
    key, inst = study.instance(0, lsa.SCALES["I"], 1)
    optimum = lsa.solvers.hungarian(key, inst).value
    np.testing.assert_allclose(value.loc[1, methods.OPTIMUM], optimum, rtol=1e-6)
    printed = capsys.readouterr().out
    assert "Exact optimum" in printed and "against the paper's Random" in printed
    for name in ("run.json", "summary.csv", "scaling.png", "scaling.pdf"):
        assert (tmp_path / name).stat().st_size > 0
    # Asked again it prints the table, of fewer realisations too.
    run(tmp_path, realizations=2, resume=True)
    assert "n = 2" in capsys.readouterr().out


def test_a_language_model_where_slots_may_be_empty(tmp_path):
    scenario = lsa.SMALL_SCALES[5, 5, 1].replace(**lsa.SETTINGS["poisson"], objective="coupled")
    with (
        Sandbox(workers=1) as box,
        RunFolder(tmp_path, {}, identity=("triple", "method", "realization"), resume=False) as f,
    ):
        model = language_model.from_language_model(KnownModel(), box, temperature=1.0)
        cell = study.Cell({"triple": "a"}, scenario, {model.name: model}, "poisson")
        what = study.Study([cell], seed=0, reference=model.name)
        rows = study.run(what, f, 6)
    empty = rows[rows["num_active"] == 0]
    assert len(rows) == 12 and 0 < len(empty) < 12 and (empty["value_bps"] == 0).all()


def test_a_prompt_that_does_not_fit_is_skipped_with_the_reason():
    _, inst = study.instance(0, lsa.SMALL_SCALES[5, 5, 1], 0)
    method = language_model.from_language_model(KnownModel(), None, prompt_tokens=20)
    assert "budget must be at least" in method.skip(inst)
    assert language_model.from_language_model(KnownModel(), None).skip(inst) is None


def test_mappings_that_outgrow_the_context_are_skipped_with_the_tokens_they_need():
    _, inst = study.instance(0, lsa.SMALL_SCALES[5, 5, 2], 0)

    class Writes(KnownModel):
        context = 900

        def generate(self, prompts, **options):
            self.options = options
            return super().generate(prompts, **options)

    model = Writes()
    method = language_model.from_language_model(model, None, paradigm="text", constrain=True)
    assert method.skip(inst) is None
    outcome = method.run(jax.random.key(0), inst, 1.0)
    assert outcome.columns["raw_valid"] is False  # it writes programs
    assert len(model.options["constraints"][0].users) == 2
    _, large = study.instance(0, lsa.SCALES["I"], 0)
    reason = language_model.from_language_model(model, None, paradigm="text").skip(large)
    assert re.match(r"completion: a mapping of 200 users takes up to \d+ tokens, and a p", reason)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paradigm": "prose"}, "--paradigm must be one of code, text, got 'prose'"),
        ({"constrain": True}, "--constrain is for mappings"),
        ({"paradigm": "text", "time_budget_s": 1.0}, "--time-budget-s is for programs"),
    ],
)
def test_options_of_paradigms_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        config.check(config.SlotConfig(out=pathlib.Path("x"), **options))


def test_how_much_of_the_budget_shows_numbers_is_a_choice():
    _, inst = study.instance(0, lsa.SCALES["I"], 0)
    shown = []

    class Reads(KnownModel):
        def generate(self, prompts, **options):
            shown.extend(prompts)
            return super().generate(prompts, **options)

    with Sandbox(workers=1) as box:
        for detail in (0.0, 1.0):
            method = language_model.from_language_model(
                Reads(), box, prompt_tokens=2048, prompt_detail=detail
            )
            method.run(jax.random.key(0), inst, 1.0)
    few, many = map(len, shown)
    assert 2 * few < many < 4 * 2049  # characters, of which `count_tokens` makes a fourth


def test_data_that_would_not_fit_are_skipped_with_the_reason(monkeypatch):
    _, inst = study.instance(0, lsa.SMALL_SCALES[5, 5, 1].replace(fading=True), 0)
    method = language_model.from_language_model(KnownModel(), None)
    assert method.skip(inst) is None
    monkeypatch.setattr(namespace.check_size, "__defaults__", (8,))
    assert method.skip(inst).startswith("data: the data of a program needs")


def test_options_name_every_setting_and_scale():
    assert get_args(config.Setting) == tuple(lsa.SETTINGS)
    with pytest.raises(ValueError, match="--setting must be one of plain, fading"):
        scaling.prepare(Config(setting="coupled"))
    field = {f.name: f for f in dataclasses.fields(Config)}["scales"]
    assert field.default == tuple(lsa.SCALES)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "results/scaling/throughput-plain"),
        ({"setting": "fading", "objective": "coupled"}, "results/scaling/coupled-fading"),
        ({"setting": "multipath", "objective": "fair"}, "results/scaling/fair-multipath"),
        ({"setting": "fair"}, "results/scaling/fair-plain"),
        ({"setting": "plain", "objective": "fair"}, "results/scaling/fair-plain"),
        ({"model": "none"}, "results/scaling/throughput-plain-none"),
        ({"model": "Qwen/Qwen2.5-0.5B"}, "results/scaling/throughput-plain-Qwen_Qwen2_5_0_5B"),
        ({"model": "http://host:1/v1#a/b"}, "results/scaling/throughput-plain-http_host_1_v1_a_b"),
        ({"seed": 7}, "results/scaling/throughput-plain-seed7"),
        ({"out": pathlib.Path("x")}, "x"),
    ],
)
def test_every_setting_has_a_folder_of_its_own(changes, expected):
    assert config.out_folder("scaling", Config(**changes)) == pathlib.Path(expected)


def test_listing():
    found = listing.studies()
    assert found["scaling"][0] == scaling.TIME and found["scaling"][1].startswith("The scaling")
    assert not {"study", "methods", "rows"} & set(found)


def command(*arguments, module="experiments.scaling", cwd=None):
    root = str(pathlib.Path(scaling.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": root},
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--realizations", "0"], "--realizations must be at least 1, got 0"),
        (["--budget-s", "-1"], "--budget-s must be above 0 seconds"),
        (["--prompt-tokens", "0"], "--prompt-tokens must be at least 1, got 0"),
        (["--prompt-detail", "2"], "--prompt-detail must be within 0..1, got 2.0"),
        (["--time-budget-s", "0"], "--time-budget-s must be within 0.01..3600 seconds, got 0"),
        (["--temperature", "-1"], "--temperature must be at least 0"),
        (["--setting", "fair", "--objective", "coupled"], "--setting fair is short for"),
        (["--network", "no.npz"], "no.npz"),
        (["--network", "no.npz", "--scales", "I"], "--scales has no effect beside --network"),
        (["--scales", "I", "I"], "--scales must name one or more of I, II, III, each once"),
        (["--seed", "99999999999999999999"], "--seed must be within"),
        (["--out", "/proc/nowhere"], "--out must be a folder that can be written"),
        (["--prompt-tokens", "10"], "--prompt-tokens is too small: budget must be at least"),
        (["--prompt-tokens", "100000"], "--prompt-tokens must be at most"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, arguments, message):
    assert refused(scaling, arguments, tmp_path) == 2
    errors = capsys.readouterr().err
    assert message in errors and errors.strip().count("\n") == 0
    assert list(tmp_path.iterdir()) == [], "a run that failed left something"


def test_bad_input_of_a_process_is_one_line_and_exit_code_2(tmp_path):
    done = command("--model", "no/such/folder", cwd=tmp_path)
    assert done.returncode == 2
    assert "no/such/folder" in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert list(tmp_path.iterdir()) == [], "a run that failed left something"


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("experiments", []),
        ("experiments.scaling", ["--help"]),
        ("experiments.scaling", ["--scales", "IV"]),
        ("experiments.scaling", ["--setting", "coupled"]),
    ],
)
def test_options_are_checked_before_anything_heavy_is_imported(module, arguments):
    code = (
        "import atexit, runpy, sys\n"
        "heavy = {'torch', 'transformers', 'pandas', 'matplotlib'}\n"
        "atexit.register(lambda: print('loaded:', heavy & set(sys.modules)))\n"
        f"sys.argv[1:] = {arguments!r}\n"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("loaded: set()"), done.stderr
    assert done.returncode == (2 if any(a in ("IV", "coupled") for a in arguments) else 0)


def test_without_a_model_no_part_of_the_training_stack_is_imported(tmp_path):
    code = (
        "import pathlib, sys\n"
        "from experiments import scaling\n"
        f"out = pathlib.Path({str(tmp_path)!r})\n"
        "prepared = scaling.prepare(scaling.Config(model='none', out=out))\n"
        "assert prepared.study.reference == 'Random'\n"
        "print({'torch', 'transformers', 'httpx', 'llm'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_interrupted_while_imports_run(tmp_path):
    root = str(pathlib.Path(scaling.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.scaling", "--model", "none"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.6)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.strip() == "interrupted"
