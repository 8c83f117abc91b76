"""Command lines: recipe, then YAML, then what was typed; every shipped configuration is read."""

import pathlib

import pytest
import yaml
from trl import GRPOConfig, SFTConfig

from llm.training.options import GrpoOptions, SftOptions, as_mapping, own_config, parse

CONFIGS = pathlib.Path(__file__).parents[3] / "configs"
TRAININGS = sorted(set(CONFIGS.glob("*.yaml")) - set(CONFIGS.glob("accelerate-*")))


def grpo(*argv):
    return parse(GrpoOptions, GRPOConfig, "", ["--out", "somewhere", *argv])


def test_paper_is_the_default_and_equations_10_and_11():
    options, config = grpo()
    assert options.recipe == "paper" and options.form == "paper"
    assert config.scale_rewards == "group" and config.beta == 0.04
    assert config.epsilon == 0.2 and config.epsilon_high is None
    assert config.max_steps == 300 and config.num_generations == 16
    assert config.generation_batch_size == 64
    assert config.output_dir == "somewhere" and not config.shuffle_dataset


def test_small_code_recipe():
    _, config = grpo("--recipe", "small-code")
    assert (config.loss_type, config.scale_rewards, config.beta) == ("dr_grpo", "none", 0.0)
    assert (config.epsilon, config.epsilon_high) == (0.2, 0.28)
    assert config.mask_truncated_completions and config.max_grad_norm == 0.2


def test_yaml_goes_before_the_recipe_and_the_command_line_before_both(tmp_path):
    file = tmp_path / "run.yaml"
    content = {
        "recipe": "small-code",
        "learning_rate": 2e-4,
        "beta": 0.01,
        "scales": ["7,10,2", "I"],
        "lora": {"lora_alpha": 8},
        "model_init_kwargs": {"dtype": "bfloat16"},
    }
    file.write_text(yaml.safe_dump(content))
    options, config = grpo("--config", str(file), "--beta", "0.02", "--time_budgets", "0.1", "1")
    assert options.scales == ["7,10,2", "I"] and options.time_budgets == [0.1, 1.0]
    assert config.loss_type == "dr_grpo"
    assert config.learning_rate == 2e-4 and config.beta == 0.02
    assert config.model_init_kwargs == {"dtype": "bfloat16"}
    assert as_mapping("lora", options.lora) == {"lora_alpha": 8}
    assert as_mapping("lora", '{"lora_alpha": 8}') == {"lora_alpha": 8}


@pytest.mark.parametrize("file", TRAININGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_read_and_their_fields_arrive(file, monkeypatch):
    own, theirs = (SftOptions, SFTConfig) if "sft" in file.stem else (GrpoOptions, GRPOConfig)
    content = yaml.safe_load(file.read_text())
    # bf16 and a GPU are checked by TRL on the machine that has one.
    here = ["--bf16", "false", "--use_cpu", "true"]
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    options, config = parse(own, theirs, "", ["--out", "x", "--config", str(file), *here])
    for name, value in content.items():
        if name not in ("bf16", "use_cpu"):
            found = getattr(options, name) if hasattr(options, name) else getattr(config, name)
            assert found == value, name
    assert config.max_steps == content.get("max_steps", 300)


def test_record_has_what_differs():
    record = own_config(*grpo("--epsilon", "0.3"))
    assert record["trl"]["epsilon"] == 0.3 and record["trl"]["num_generations"] == 16
    assert record["settings"] == ["plain", "fading"]
    assert not {"out", "resume"} & record.keys() and "output_dir" not in record["trl"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--recipe", "best"], "--recipe must be one of paper, small-code, got 'best'"),
        (["--num_generations", "7"], "must be divisible by num_generations"),
        (["--nonsense", "3"], "nonsense"),
        (["--max_steps", "many"], "invalid int value: 'many'"),
        (["--max_steps", "0"], "--max_steps must be at least 1"),
        (["--config", "no-such.yaml"], "--config must be a YAML file"),
        (["--lora_rank", "-1"], "--lora_rank must be at least 0"),
        (["--paradigm", "speech"], "invalid choice: 'speech'"),
    ],
)
def test_bad_command_lines_are_refused(argv, said):
    with pytest.raises(ValueError, match=said):
        grpo(*argv)


def test_out_must_be_given():
    with pytest.raises(ValueError, match="--out must name the folder"):
        parse(GrpoOptions, GRPOConfig, "", [])
    with pytest.raises(ValueError, match="must be a mapping"):
        as_mapping("lora", "r=8")
