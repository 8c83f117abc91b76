"""Prompt budgets and details with a model whose window is short."""

import dataclasses

import pandas as pd
import pytest

import llm.models
from experiments import context, methods
from experiments.context import Config
from experiments.pages_latency import context_table, levels_table
from experiments.report import SHIPPED
from tests.experiments.test_scaling import KnownModel


@dataclasses.dataclass
class Short(KnownModel):
    """Its window holds a prompt of 640 tokens and the answer."""

    context: int = 704

    def generate(self, prompts, **options):
        made = super().generate(prompts, **options)
        lengths = [self.count_tokens(prompt) for prompt in prompts]
        return [
            dataclasses.replace(completion, prompt_tokens=length)
            for completion, length in zip(made, lengths, strict=True)
        ]


def run(path, **options):
    options = {"budgets": (600, 2048), "details": (0.0, 1.0), "realizations": 2, **options}
    context.run(context.prepare(Config(model="short", out=path, **{"size": "I", **options})))
    return pd.read_csv(path / "summary.csv").set_index([*context.AXES, "method"])


def test_more_detail_takes_more_tokens_until_the_window_is_full(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(llm.models, "load_model", lambda name: Short())
    summary = run(tmp_path, levels=())
    assert set(summary.index.get_level_values("prompt_level")) == {context.ALL}
    summary = summary.droplevel("prompt_level")
    tokens = summary.xs(methods.LLM, level="method")["prompt_tokens"]
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    asked = rows[(rows["method"] == methods.LLM) & rows["value"].notna()]
    assert set(zip(asked["prompt_budget"], asked["prompt_detail"], strict=True)) == {
        (600, 0.0),
        (600, 1.0),
        (2048, 0.0),
    }
    assert tokens.notna().sum() == 3
    # The instances are the same ones in all cells, and so are the answers of a known model.
    assert asked.groupby("realization")["bound"].nunique().eq(1).all()
    detail = summary.xs(methods.LLM_RAW, level="method")["detail_percent"]
    assert detail[600, 1.0] == pytest.approx(0) and detail[[(600, 0.0)]].isna().all()
    shared = summary.xs(methods.LLM, level="method")["shared_percent"]
    assert shared[600, 0.0] > shared[600, 1.0] > 0
    late = summary.loc[(2048, 1.0, methods.LLM)]
    assert "exceed the model's context of 704" in late["skipped"]
    printed = capsys.readouterr().out
    assert "N/A" in printed and "Detail" in printed
    assert (tmp_path / "context.png").stat().st_size > 10_000
    assert "Levels" not in printed
    again = run(tmp_path, resume=True, levels=()).droplevel("prompt_level")
    pd.testing.assert_frame_equal(again, summary)


@dataclasses.dataclass
class Halves(Short):
    """Its program serves every other user where the prompt shows rows, and all where not."""

    context: int = 4000

    def generate(self, prompts, **options):
        program = "```python\naction = {{int(u): int(c) for u, c in zip(users{}, channels)}}\n```"
        return [
            dataclasses.replace(
                c, text=program.format("[::2]" if "Users, strong" in prompt else "")
            )
            for c, prompt in zip(super().generate(prompts, **options), prompts, strict=True)
        ]


def test_a_level_adds_its_difference_to_the_level_before_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(llm.models, "load_model", lambda name: Halves())
    options = {"size": "15,20,8", "setting": "fading", "budgets": (5000,), "details": (0.0,)}
    # In their own order, however they are given.
    options["levels"] = ("gains", "rows", "statistics", "sizes", "coupling")
    summary = run(tmp_path, **options)
    levels = summary.xs(methods.LLM_RAW, level="method").droplevel(["prompt_detail"])
    levels = levels.loc[4000 - Short().max_new_tokens]
    assert list(levels.index) == ["sizes", "statistics", "rows", "gains", "coupling"]
    assert levels["prompt_tokens"].dropna().is_monotonic_increasing
    assert levels["level_percent"].isna().tolist() == [True, False, False, False, True]
    assert levels["level_percent"]["statistics"] == levels["level_percent"]["gains"] == 0
    lost = levels["gap_percent"]["statistics"] - levels["gap_percent"]["rows"]
    assert levels["level_percent"]["rows"] == pytest.approx(lost) and lost < -20
    assert levels["skipped"]["coupling"] == "prompt: slots of this setting have no coupling"
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    asked = rows[(rows["method"] == methods.LLM) & rows["value"].notna()]
    reached = asked[asked["prompt_level"] != context.ALL]
    assert (reached["prompt_levels"].str.split().str[-1] == reached["prompt_level"]).all()
    printed = capsys.readouterr().out
    assert "up to gains" in printed and "N/A: up to coupling: prompt: slots of" in printed
    # More levels are other rows: those that are there stay, and nothing of them is asked again.
    before = rows.set_index([*context.AXES, "method", "realization"])
    run(tmp_path, resume=True, **{**options, "levels": ("sizes", "interference")})
    after = pd.read_parquet(tmp_path / "rows.parquet").set_index(before.index.names)
    pd.testing.assert_frame_equal(after.loc[before.index], before, check_dtype=False)
    answers = len(after.groupby(["method", "realization"]))  # of interference, which is new
    assert len(after) == len(before) + answers


@dataclasses.dataclass
class Blind(Short):
    """Its chat template leaves rows out, and it counts accordingly."""

    def count_tokens(self, text):
        lines = text.splitlines(keepends=True)
        return super().count_tokens("".join(line for line in lines if "(id: " not in line))


def test_a_level_that_the_chat_template_leaves_out_is_not_shown_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(llm.models, "load_model", lambda name: Blind())
    summary = run(tmp_path, size="15,20,8", budgets=(600,), details=(0.0,), realizations=1)
    own = summary.xs(methods.LLM, level="method").droplevel(["prompt_budget", "prompt_detail"])
    assert own["mean"].notna().tolist() == [True, True, True, False, False]
    assert own["skipped"]["rows"] == "prompt: the model's chat template leaves rows out"
    assert own["skipped"]["gains"] == "prompt: slots of this setting have no gains"


def test_a_level_that_does_not_fit_is_not_shown_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(llm.models, "load_model", lambda name: Short())
    summary = run(tmp_path, size="15,20,8", setting="fading", details=(0.0,))
    levels = summary.xs(methods.LLM, level="method").sort_index(level=0, sort_remaining=False)
    levels = levels.loc[640, 1.0]
    assert levels["skipped"]["gains"] == "prompt: 640 tokens have no room for gains"
    assert levels["mean"].notna().tolist() == [True, True, True, False]
    lines = levels_table(summary.reset_index()).splitlines()
    assert lines[0].startswith("| 640 tokens at most, up to | tokens |")
    assert lines[5].startswith("| gains | – | – | – |")
    assert lines[-1] == "- gains: prompt: 640 tokens have no room for gains"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "none"}, "--model must be a language model, got none"),
        ({"prompt_tokens": 512}, "--prompt-tokens has no effect beside --budgets"),
        ({"prompt_detail": 0.5}, "--prompt-detail has no effect"),
        ({"budgets": ()}, "--budgets must be tokens of at least 1, each once"),
        ({"budgets": (512, 512)}, "--budgets must be"),
        ({"details": (1.5,)}, "--details must be shares within 0..1"),
        ({"size": "IV"}, "--size must be I, II, III or N,M,K, got 'IV'"),
        ({"size": "3,2,9"}, "--size 3,2,9: "),
        ({"levels": ("rows", "all")}, "--levels must name one or more of sizes, statistics, rows"),
        ({"levels": ("ids",)}, "--levels must name one or more of sizes, statistics"),
        ({"levels": ("rows", "rows")}, "--levels must name .* each once"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        context.check(Config(**options))


def test_the_text_paradigm_has_a_level_of_its_own():
    context.check(Config(paradigm="text", levels=("ids", "rows")))
    places = context.places(Config(paradigm="text", levels=("rows", "ids")), Short())
    assert places[-2:] == [(640, 1.0, "ids"), (640, 1.0, "rows")]
    assert context.places(Config(budgets=(300,)), Short())[-1] == (300, 1.0, "gains")


def test_the_table_of_the_pages_has_the_papers_numbers():
    summary = pd.read_csv(SHIPPED / "context.csv")
    summary = summary[summary["prompt_level"] == context.ALL]
    lines = context_table(summary).splitlines()
    own = summary[summary["method"] == methods.LLM]
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) == len(own)
    assert rows[0].startswith(f"| 512 | 0 | 74 | 76 | {own['mean'].iloc[0]:.0f} | ")
    (whole,) = [row for row in rows if row.startswith("| 2048 | 1 |")]
    assert "| N/A (41891) |" in whole and whole.endswith("| N/A (7460) |")
    assert any(line.startswith("- budget 2048, detail 1: prompt: 2039 tokens") for line in lines)
