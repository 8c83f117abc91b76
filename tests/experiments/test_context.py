"""Prompt budgets and details with a model whose window is short."""

import dataclasses

import pandas as pd
import pytest

import llm.models
from experiments import context, methods
from experiments.context import Config
from experiments.pages_latency import context_table
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
    context.run(context.prepare(Config(scale="I", model="short", out=path, **options)))
    return pd.read_csv(path / "summary.csv").set_index([*context.AXES, "method"])


def test_more_detail_takes_more_tokens_until_the_window_is_full(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(llm.models, "load_model", lambda name: Short())
    summary = run(tmp_path)
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
    pd.testing.assert_frame_equal(run(tmp_path, resume=True), summary)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "none"}, "--model must be a language model, got none"),
        ({"prompt_tokens": 512}, "--prompt-tokens has no effect beside --budgets"),
        ({"prompt_detail": 0.5}, "--prompt-detail has no effect"),
        ({"budgets": ()}, "--budgets must be tokens of at least 1, each once"),
        ({"budgets": (512, 512)}, "--budgets must be"),
        ({"details": (1.5,)}, "--details must be shares within 0..1"),
        ({"scale": "IV"}, "--scale must be one of I, II, III"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        context.check(Config(**options))


def test_the_table_of_the_pages_has_the_papers_numbers():
    summary = pd.read_csv(SHIPPED / "context.csv")
    lines = context_table(summary).splitlines()
    own = summary[summary["method"] == methods.LLM]
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) == len(own)
    assert rows[0].startswith(f"| 512 | 0 | 58 | 72 | {own['mean'].iloc[0]:.0f} | ")
    (whole,) = [row for row in rows if row.startswith("| 2048 | 1 |")]
    assert "| N/A (41891) |" in whole and whole.endswith("| N/A (7460) |")
    assert any(line.startswith("- budget 2048, detail 1: prompt: 2038 tokens") for line in lines)
