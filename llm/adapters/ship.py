"""Ships a LoRA adapter: `python -m llm.adapters.ship --run RUN --label LABEL`.

Of a run of `python -m llm.grpo` or `python -m llm.sft`, or of one of its checkpoints, the adapter goes
into this package in half precision, with a card of what `python -m experiments.code_model` measured of
it. It is refused where those numbers do not say that it is better than the model without it.
"""
# ruff: noqa: E501 - lines of a document

import dataclasses
import json
import pathlib
import shlex
import shutil
from typing import TYPE_CHECKING, Any

from lsajax.runs import cli

if TYPE_CHECKING:
    import pandas as pd

_ADAPTER, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_TEMPLATE = "chat_template.jinja"

_CARD = """\
---
license: apache-2.0
library_name: peft
base_model: {hub}
pipeline_tag: text-generation
---
# {name}

A LoRA adapter of rank {rank}, {parameters:.1f} million parameters, for
[{hub}](https://huggingface.co/{hub}), whose licence it shares. With it the model answers the
prompt of `llm/decision/paradigm.py` in its code form, for the sizes and settings below; for nothing else.

    load_model("{name}")

takes the base from the hub, or from the folder that the environment variable LSA_QWEN names.

## How

{commands}

{steps} steps of the last; {cells}. The curve, and what it learned and did not, are on the page `docs/code_model.md`. This
folder is `python -m llm.adapters.ship --run {run} --label "{label}"`.

## Measured
On held-out instances that it was not trained on, before any repair, 95 % intervals:

{table}
*Valid*: every user served, no channel unknown, occupied or used twice. *Gap*: what valid answers lack to the
exact optimum. *Right*: valid, and of a family that is within 1 % of the way from random to best of the best one.
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """What is shipped.

    Args:
        run: folder of a finished run, or of a checkpoint.
        label: of its rows in `rows`.
        base: of the rows of the model without it.
        name: short name of the model.
        rows: written by `python -m experiments.code_model`.
        out: folder of the adapters.
    """

    run: pathlib.Path
    label: str
    base: str = "zero-shot"
    name: str = "qwen-coder-0.5b"
    rows: pathlib.Path = pathlib.Path("docs/results/code_model.csv")
    out: pathlib.Path = pathlib.Path("llm/adapters")


def folder(run: pathlib.Path) -> pathlib.Path:
    """Where the adapter of a run or checkpoint is."""
    return run / "adapter" if (run / "adapter").is_dir() else run


def check(config: Config) -> Config:
    """Raises ValueError where there is no adapter, or none that is better than its base."""
    from llm.models import CODE_MODELS
    from llm.models.loading import located

    if config.name not in CODE_MODELS:
        raise ValueError(f"--name must be {', '.join(CODE_MODELS)}, got {config.name!r}")
    for file in (_ADAPTER, _WEIGHTS):
        if not (folder(config.run) / file).is_file():
            raise ValueError(f"--run must have an adapter, got {config.run} without {file}")
    if _run_folder(config.run) is None:
        raise ValueError(
            f"--run must be in the folder of a run of python -m llm.grpo or llm.sft, got {config.run}"
        )
    hub, own = CODE_MODELS[config.name], _base_of(folder(config.run))
    if own not in (hub, located(hub)):
        raise ValueError(
            f"--run must have an adapter of {hub}, or of the folder that LSA_QWEN names, got one of {own}"
        )
    if not config.rows.is_file():
        raise ValueError(f"--rows must be a file of experiments.code_model, got {config.rows}")
    better(measured(config), config.label, config.base)
    return config


def _base_of(adapter: pathlib.Path) -> str:
    """Hub name or folder of the network that an adapter is for."""
    return json.loads((adapter / _ADAPTER).read_text())["base_model_name_or_path"]


def measured(config: Config) -> "pd.DataFrame":
    """The rows of the base and of the adapter. Raises ValueError where one is missing."""
    import pandas as pd

    table = pd.read_csv(config.rows)
    for option, label in (("--base", config.base), ("--label", config.label)):
        if label not in set(table["model"]):
            raise ValueError(f"{option} must be a model of {config.rows}, got {label!r}")
    return table[table["model"].isin([config.base, config.label])]


def better(table: "pd.DataFrame", label: str, base: str) -> None:
    """Raises ValueError unless the reward of the samples, over all cells, is higher than the base's."""
    from experiments.code_model import ALL

    sampled = table[(table["setting"] == ALL) & (table["temperature"] > 0)].set_index("model")
    before, after = sampled.loc[base, "total"], sampled.loc[label, "total"]
    if not after > before:
        raise ValueError(
            f"--label must be better than {base}: its samples have a mean reward of {after:.2f}, "
            f"and those of {base} {before:.2f}"
        )


def run(config: Config) -> None:
    """Writes weights, configuration and card."""
    import torch
    from safetensors.torch import load_file, save_file

    from llm.models import CODE_MODELS

    source, out = folder(config.run), config.out / config.name
    out.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / _WEIGHTS)
    halves = {name: value.to(torch.float16).contiguous() for name, value in weights.items()}
    save_file(halves, out / _WEIGHTS, metadata={"format": "pt"})
    adapter = json.loads((source / _ADAPTER).read_text())
    adapter["base_model_name_or_path"] = CODE_MODELS[config.name]
    (out / _ADAPTER).write_text(json.dumps(adapter, indent=2) + "\n")
    run_folder = _run_folder(config.run)
    assert run_folder is not None, "check() looked for it"
    for limits in sorted(run_folder.glob("**/lsa.json"))[:1]:
        shutil.copy(limits, out / "lsa.json")
    if (source / _TEMPLATE).is_file():
        shutil.copy(source / _TEMPLATE, out / _TEMPLATE)
    parameters = sum(value.numel() for value in halves.values())
    (out / "README.md").write_text(card(config, run_folder, adapter["r"], parameters))
    print(f"wrote {out}, {sum(f.stat().st_size for f in out.iterdir()) / 1e6:.1f} MB")


def _run_folder(run: pathlib.Path) -> pathlib.Path | None:
    """The folder of the training that a run or one of its checkpoints is in."""
    places = (run, *run.parents)
    return next((path for path in places if (path / "run.json").is_file()), None)


def card(config: Config, run_folder: pathlib.Path, rank: int, parameters: int) -> str:
    """The text of the card."""
    from experiments import code_model
    from llm.models import CODE_MODELS
    from llm.training.durable import step_of

    record: dict[str, Any] = json.loads((run_folder / "run.json").read_text())
    own = record["config"]
    cells = own["cells"] or [
        f"{' and '.join(own['settings'])}, {' and '.join(own['objectives'])}, "
        f"{' and '.join(own['scales'])} (users, channels, requests)"
    ]
    from_checkpoint = config.run != run_folder and config.run.name.startswith("checkpoint-")
    steps = step_of(config.run) if from_checkpoint else own["trl"]["max_steps"]
    return _CARD.format(
        name=config.name,
        hub=CODE_MODELS[config.name],
        rank=rank,
        parameters=parameters / 1e6,
        commands="\n".join(
            f"    {line}" for line in _commands(run_folder, CODE_MODELS[config.name])
        ),
        steps=steps,
        cells="; ".join(cells),
        run=config.run.name if not from_checkpoint else f"{run_folder.name}/{config.run.name}",
        label=config.label,
        table=code_model.markdown(measured(config)),
    )


def _commands(run_folder: pathlib.Path, hub: str) -> list[str]:
    """The command of a run after those of what it went on with, hub name and folder names in them."""
    from llm.models import CODE_MODELS

    record = json.loads((run_folder / "run.json").read_text())
    start = pathlib.Path(record["config"]["model"])
    before = _run_folder(start) if (start / _ADAPTER).is_file() else None
    if before is not None:
        model = str(start.relative_to(before.parent))
    else:
        model = str(start) if start.name.removesuffix("-base") in CODE_MODELS else hub
    words = shlex.split(record["command"])
    for option in ("--model", "--out"):
        if option in words:
            place = words.index(option)
            del words[place : place + 2]
    own = shlex.join([*words, "--model", model, "--out", run_folder.name])
    return [*(_commands(before, hub) if before else []), own]


if __name__ == "__main__":
    cli.main(Config, check, run, __doc__, advice="start it again")
