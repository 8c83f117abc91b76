"""Options that studies share; nothing heavy is imported here."""

import contextlib
import dataclasses
import math
import pathlib
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar, get_args

import lsajax as lsa
from lsajax.runs.folder import RunFolder

if TYPE_CHECKING:
    from experiments.study import Study

Setting = Literal["plain", "fading", "multipath", "wideband", "interference", "poisson", "fair"]
Objective = Literal["throughput", "fair", "coupled"]
Paradigm = Literal["code", "text"]

NO_MODEL = "none"
EMBEDDED = "embedded"


@dataclasses.dataclass(frozen=True)
class FolderConfig:
    """Options of everything that writes rows.

    Args:
        seed: realisation i of a seed is the same instance, whatever else is asked for.
        out: folder for rows.parquet, run.json, summary.csv and the figure; by default a folder of
            its own under results/ for each study, objective, setting, model, paradigm and seed.
        resume: go on with the rows that are in the folder.
        quick: a small run that shows all there is: options that are not given are smaller, and the
            folder is another.
    """

    seed: int = 0
    out: pathlib.Path | None = None
    resume: bool = False
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class RunConfig(FolderConfig):
    """Options of everything that compares on instances.

    Args:
        realizations: instances per cell of the study; every method sees the same ones.
    """

    realizations: int = 8


@dataclasses.dataclass(frozen=True)
class SlotConfig(RunConfig):
    """Options of studies that compare methods slot by slot.

    Args:
        setting: what rates depend on. plain: distance and bandwidth; fading: Rayleigh fading per
            user and channel; multipath: fading that is alike on near channels; wideband: a carrier
            per channel; interference: I_m > 0 on some channels; poisson: as plain, but users and
            requests are Poisson counts; fair: short for plain with --objective fair. Instances of
            one seed and realisation have positions, bandwidths and occupied channels in common over
            all settings but poisson, whose number of users differs.
        objective: what an assignment is worth, in any setting. throughput, the default: the sum of
            rates, Eq. (4); fair: the sum of log(1 + rate in Mbit/s), proportional fairness;
            coupled: Eq. (8), where users on neighbouring channels disturb each other.
        model: "embedded" (the small model that ships here), "qwen-coder-0.5b", a folder or hub name
            of a transformers checkpoint, the URL of an OpenAI-compatible server, or "none" for the
            classical methods alone, which needs no torch.
        temperature: of the model's sampling; 0 is greedy.
        prompt_tokens: prompt budget; the model's own if not given.
        prompt_detail: share of the prompt budget for numbers of users and channels, from 0 (sizes
            alone) to 1 (all that fit); little if not given, since a program has the arrays.
        time_budget_s: CPU seconds that the model's program may take: the prompt states them, and a
            program that takes longer has failed; 5 if not given.
        paradigm: code: the model writes a program; text: the mapping itself.
        constrain: with --paradigm text, decode nothing but mappings of known users to idle
            channels, none twice.
        budget_s: seconds for the anytime methods; if not given the time that the model took on the
            same instance, and 0.1 without a model.
    """

    setting: Setting = "plain"
    objective: Objective | None = None
    model: str = EMBEDDED
    temperature: float = 1.0
    prompt_tokens: int | None = None
    prompt_detail: float | None = None
    time_budget_s: float | None = None
    paradigm: Paradigm = "code"
    constrain: bool = False
    budget_s: float | None = None


RunConfigT = TypeVar("RunConfigT", bound=RunConfig)
FolderConfigT = TypeVar("FolderConfigT", bound=FolderConfig)


@dataclasses.dataclass(frozen=True)
class Prepared(Generic[RunConfigT]):
    """A run of a study with all of it checked.

    Attributes:
        config: its options.
        study: its cells and methods.
        folder: of its rows, locked.
        resources: what it holds open, the folder among it.
    """

    config: RunConfigT
    study: "Study"
    folder: RunFolder
    resources: contextlib.ExitStack


def check_run(config: RunConfig) -> None:
    """Raises ValueError, naming the option, on a value that no study accepts."""
    if config.realizations < 1:
        raise ValueError(f"--realizations must be at least 1, got {config.realizations}")
    check_seed(config)


def check_seed(config: FolderConfig) -> None:
    """Raises ValueError on a seed out of range."""
    if not 0 <= config.seed < 2**31:
        raise ValueError(f"--seed must be within 0..2^31 - 1, got {config.seed}")


def check_files(config: Any, *options: str) -> None:
    """Raises ValueError, naming the option, on a file in a folder that is not there."""
    for option in options:
        file = getattr(config, option)
        if not file.parent.is_dir():
            raise ValueError(f"--{option} must be a file in a folder that exists, got {file}")


def check_names(option: str, values: Sequence[Any], accepted: Collection[Any]) -> None:
    """Raises ValueError unless `values` are one or more of `accepted`, each once."""
    if not values or len(set(values)) < len(values) or not set(values) <= set(accepted):
        raise ValueError(
            f"{option} must name one or more of {', '.join(map(str, accepted))}, each once, got "
            f"{', '.join(map(str, values)) or 'none'}"
        )


def scenario_of(option: str, size: str) -> lsa.Scenario:
    """The scenario of a size: I, II or III of Table V, or N,M,K.

    Raises:
        ValueError: neither, or no network has these sizes; the message names the option.
    """
    if size in lsa.SCALES:
        return lsa.SCALES[size]
    try:
        num_users, num_channels, num_active = (int(part) for part in size.split(","))
    except ValueError:
        names = ", ".join(lsa.SCALES)
        raise ValueError(f"{option} must be {names} or N,M,K, got {size!r}") from None
    try:
        return lsa.Scenario(num_users=num_users, num_channels=num_channels, num_active=num_active)
    except ValueError as error:
        raise ValueError(f"{option} {size}: {error}") from None


def check(config: SlotConfig) -> None:
    """Raises ValueError, naming the option, on a value that no study by slots accepts."""
    check_run(config)
    for option, value, accepted in (
        ("--setting", config.setting, get_args(Setting)),
        ("--objective", config.objective, get_args(Objective)),
    ):
        if value is not None and value not in accepted:
            raise ValueError(f"{option} must be one of {', '.join(accepted)}, got {value!r}")
    if config.setting == "fair" and config.objective not in (None, "fair"):
        raise ValueError(
            "--setting fair is short for --setting plain --objective fair, got --objective "
            f"{config.objective} beside it: give another setting, or leave one of them out"
        )
    if not config.model:
        raise ValueError("--model must be a name, a folder, a URL or none, got ''")
    if not 0 <= config.temperature < math.inf:
        raise ValueError(f"--temperature must be at least 0, finite, got {config.temperature}")
    if config.prompt_tokens is not None and config.prompt_tokens < 1:
        raise ValueError(f"--prompt-tokens must be at least 1, got {config.prompt_tokens}")
    if config.prompt_detail is not None and not 0 <= config.prompt_detail <= 1:
        raise ValueError(f"--prompt-detail must be within 0..1, got {config.prompt_detail}")
    if config.time_budget_s is not None and not 0.01 <= config.time_budget_s <= 3600:
        raise ValueError(
            f"--time-budget-s must be within 0.01..3600 seconds, got {config.time_budget_s}"
        )
    if config.paradigm not in get_args(Paradigm):
        known = ", ".join(get_args(Paradigm))
        raise ValueError(f"--paradigm must be one of {known}, got {config.paradigm!r}")
    if config.constrain and config.paradigm == "code":
        raise ValueError("--constrain is for mappings: give --paradigm text with it")
    if config.time_budget_s is not None and config.paradigm == "text":
        raise ValueError("--time-budget-s is for programs, and --paradigm text asks for none")
    if config.budget_s is not None and not 0 < config.budget_s < math.inf:
        raise ValueError(f"--budget-s must be above 0 seconds, finite, got {config.budget_s}")


class _HasSetting(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def setting(self) -> Setting: ...

    @property
    def objective(self) -> Objective | None: ...


WithSetting = TypeVar("WithSetting", bound=_HasSetting)


def resolved(config: WithSetting) -> WithSetting:
    """The same options, each with one name: 'fair' as a setting is an objective in 'plain'."""
    if config.setting == "fair":
        return dataclasses.replace(config, setting="plain", objective="fair")
    return dataclasses.replace(config, objective=config.objective or "throughput")


def folder_of(study: str, config: FolderConfig) -> pathlib.Path:
    """Where the rows of a study go that has one folder, or two with that of `--quick`."""
    return pathlib.Path("results") / (f"{study}-quick" if config.quick else study)


def out_folder(study: str, config: SlotConfig) -> pathlib.Path:
    """Where the rows go: `--out`, or a folder per study, objective, setting, model and paradigm."""
    if config.out is not None:
        return config.out
    config = resolved(config)
    parts: list[str] = [str(config.objective), config.setting]
    if config.model != EMBEDDED:
        parts.append(re.sub(r"\W+", "_", config.model).strip("_"))
    if config.paradigm != "code":
        parts.append("text-constrained" if config.constrain else "text")
    if config.seed != RunConfig.seed:
        parts.append(f"seed{config.seed}")
    if config.quick:
        parts.append("quick")
    return pathlib.Path("results") / study / "-".join(parts)


def quickened(config: FolderConfigT, **small: Any) -> FolderConfigT:
    """With `--quick` the values of `small` where an option has its default, else the same."""
    if not config.quick:
        return config
    own = {
        name: value
        for name, value in small.items()
        if getattr(config, name) == getattr(type(config), name)
    }
    return dataclasses.replace(config, **own)


def record(study: str, config: FolderConfig, *, without: Collection[str]) -> dict[str, Any]:
    """What determines a run's numbers: all options but `without` and where the rows go."""
    left_out = {"out", "resume", "quick", *without}
    fields = dataclasses.asdict(config).items()
    return {"study": study, **{name: value for name, value in fields if name not in left_out}}
