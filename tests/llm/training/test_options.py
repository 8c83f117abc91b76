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
        (
            ["--num_generations", "7", "--gradient_accumulation_steps", "2"],
            "--num_generations must divide --per_device_train_batch_size x "
            "--gradient_accumulation_steps x processes, 16 x 2 x 1 = 32, got 7",
        ),
        (["--num_generations", "7", "--steps_per_generation", "3"], "16 x 3 x 1 = 48, got 7"),
        (["--num_generations", "0"], "--num_generations must be at least 2, got 0"),
        (["--reward_weights", "1", "1", "1"], "--reward_weights must be left .*: use --terms"),
        (["--remove_unused_columns", "true"], "--remove_unused_columns must be left as it is"),
        (["--log_completions", "false"], "--log_completions must be left as it is, got False"),
        (["--num_completions_to_print", "3"], "--num_completions_to_print must be left as it is"),
        (["--output_dir", "elsewhere"], "--output_dir must be left .* got 'elsewhere': use --out"),
        (["--resume_from_checkpoint", "x"], "--resume_from_checkpoint must be .*: use --resume"),
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


def test_what_sft_sets_itself_is_refused(tmp_path):
    def sft(*argv):
        return parse(SftOptions, SFTConfig, "", ["--out", "somewhere", *argv])

    said = "--max_length must be left as it is, got 1024: use --prompt_budget and --max_new_tokens"
    with pytest.raises(ValueError, match=said):
        sft("--max_length", "1024")  # TRL's own default, asked for
    (tmp_path / "run.yaml").write_text("max_length: 512\n")
    with pytest.raises(ValueError, match="--max_length must be left as it is, got 512"):
        sft("--config", str(tmp_path / "run.yaml"))
    with pytest.raises(ValueError, match="use --chat_template"):
        sft("--chat_template_path", "x")
    sft()


def test_a_group_counts_the_completions_of_all_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="16 x 1 x 3 = 48, got 32"):
        grpo("--num_generations", "32", "--gradient_accumulation_steps", "1")


def test_the_help_names_every_model(capsys):
    with pytest.raises(SystemExit):
        parse(GrpoOptions, GRPOConfig, "", ["--help"])
    said = capsys.readouterr().out
    assert all(f"'{name}'" in said for name in ("embedded-base", "qwen-coder-0.5b-base"))


def test_out_must_be_given():
    with pytest.raises(ValueError, match="--out must name the folder"):
        parse(GrpoOptions, GRPOConfig, "", [])
    with pytest.raises(ValueError, match="must be a mapping"):
        as_mapping("lora", "r=8")


@pytest.mark.parametrize("recipe", ["paper", "small-code"])
def test_recipes_are_compared_on_the_cells_of_the_model_that_ships(recipe):
    files = [str(CONFIGS / f"embedded{name}.yaml") for name in ("", "-recipes")]
    ours, theirs = grpo("--config", files[0]), grpo("--config", files[1], "--recipe", recipe)
    assert ours[0].cells == theirs[0].cells
    named, plain = grpo("--recipe", recipe, "--model", "embedded-base")[1], theirs[1]
    for name in ("beta", "loss_type", "scale_rewards", "temperature", "learning_rate"):
        assert getattr(plain, name) == getattr(named, name), name
    for name in ("max_steps", "num_generations", "generation_batch_size", "warmup_steps"):
        assert getattr(plain, name) == getattr(ours[1], name), name
