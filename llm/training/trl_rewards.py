"""The parts of `llm.training.rewards` as TRL reward functions. TRL itself is not imported here."""

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from llm.decision.execution import STATUSES, UNFINISHED
from llm.decision.paradigm import paradigm_named
from llm.sandbox import Sandbox
from llm.sandbox.limits import checked_deadline
from llm.training.entries import Entry, slots_of
from llm.training.evaluator import best_values, check_counts, random_baselines
from llm.training.rewards import Scores, Terms, check_one_slot_each, checked_budgets, score

if TYPE_CHECKING:
    import datasets


class NotFiniteError(ValueError):
    """A reward is NaN or infinite, of a program that was not cut off."""


class TrlRewards:
    """The three parts as TRL reward functions: `GRPOTrainer(reward_funcs=rewards.functions, ...)`.

    TRL calls each part with the same completions and gathers them on one event loop; the programs
    run once per step, in a thread, for all three. Weights go to `GRPOConfig(reward_weights=
    rewards.weights)`. `total` is the weighted sum, for trainers that take one function. The data
    set, which `dataset` makes, needs a column `instance` with an index into `instances`; a row
    where it is None gets None from every part, and so does a program that the deadline cut off,
    which TRL then leaves out of the step.

    Logged as metrics by the performance part and by `total`, each in every step: `raw/valid`, the
    share of valid actions, and `raw/gain`, the mean of `Scores.gain`, both of what was finished;
    `status/*`, the share of each status; with a sandbox `sandbox/restarts`, workers replaced in
    the step, `sandbox/queue_s`, the longest wait for one [s], and `sandbox/peak_mb`, the memory of
    the largest program [MiB]. Status, detail, validity and gain of each completion are extra
    columns.

    Args:
        instances: what the data set's rows refer to, each an instance or a few, see `score`. A
            list or tuple is checked here; any other sequence, which may draw its entries when
            asked, as they come.
        box: runs the programs; may be None in the text paradigm.
        paradigm: "code" or "text".
        terms: weights and constants.
        device: of the evaluator, see `score`.
        deadline_s: seconds for all programs of a step together; None sets no bound.
        budget_s: CPU seconds that the prompts state, one number or one per entry of `instances`;
            see `score`.
        count_tokens: of a text by itself, by the model's tokenizer and without a chat template,
            so that L of Eq. (14) is exact for padded programs; None estimates it from TRL's token
            ids.
        describe: names and values of an entry of `instances`, by its index: more extra columns.

    Raises:
        ValueError: an unknown paradigm, programs to run and no sandbox, a deadline that is not
            above 0, or entries of `instances` or `budget_s` that `score` refuses.
        TypeError: a deadline that is no number.
    """

    def __init__(
        self,
        instances: Sequence[Entry],
        box: Sandbox | None,
        *,
        paradigm: str = "code",
        terms: Terms | None = None,
        device: jax.Device | None = None,
        deadline_s: float | None = None,
        budget_s: float | Sequence[float] | None = None,
        count_tokens: Callable[[str], int] | None = None,
        describe: Callable[[int], Mapping[str, Any]] | None = None,
    ) -> None:
        asked = paradigm_named(paradigm)
        asked.check_box(box)
        self._runs_programs = asked.runs_programs
        self.instances = instances
        self.terms = terms or Terms()
        self._score = functools.partial(
            score,
            box=box,
            paradigm=paradigm,
            terms=self.terms,
            device=device,
            deadline_s=checked_deadline(deadline_s),
        )
        self._count_tokens = count_tokens
        self._budgets_s = checked_budgets(budget_s, len(instances))
        check_counts(len(instances), "entry of instances", budget_s=self._budgets_s)
        self._describe = describe
        if isinstance(instances, (list, tuple)):
            check_one_slot_each(asked, [slots_of(entry) for entry in instances])

        # By entry, of its slots; kept, since they are most of the arithmetic.
        @functools.cache
        def baselines(index: int) -> np.ndarray:
            return random_baselines(slots_of(instances[index]), device=device)

        @functools.cache
        def best(index: int) -> np.ndarray:
            return best_values(slots_of(instances[index]), device=device)

        self._anchors: dict[str, Callable[[int], np.ndarray]] = {"baselines": baselines}
        if self.terms.form == "ranked":
            self._anchors["best"] = best
        self._step: tuple[Any, asyncio.Task] | None = None

    @property
    def functions(self) -> list[Callable[..., Any]]:
        """The parts in the order of `weights`."""
        return [self.structure_reward, self.performance_reward, self.depth_reward]

    @property
    def weights(self) -> list[float]:
        """w_s, w_p, w_d."""
        return [self.terms.structure, self.terms.performance, self.terms.depth]

    def dataset(
        self, prompts: Sequence[str | Sequence[Mapping[str, Any]]], *, repeats: int = 1
    ) -> "datasets.Dataset":
        """The data set of prompts, with the columns `prompt` and `instance`.

        Args:
            prompts: one per entry of `instances`, as a text, which becomes the message of a user,
                or as chat messages.
            repeats: how often all of them come, one pass after the other.

        Raises:
            ValueError: not as many prompts as instances, or `repeats` below 1.
        """
        # Imported here: scoring needs no data set.
        import datasets

        check_counts(len(self.instances), "entry of instances", prompts=prompts)
        if repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {repeats}")
        chats = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in prompts]
        rows = [{"prompt": chat, "instance": i} for i, chat in enumerate(chats)]
        return datasets.Dataset.from_list(rows * repeats)

    async def total(
        self,
        *,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list], None] | None = None,
        **step: Any,
    ) -> list[float | None]:
        """`Scores.total` of Eq. (12), weights applied; logs the mean of each part as `part/*`."""
        scores, rows = await self._shared(**step)
        self._log(scores, rows, step, log_metric, log_extra)
        if scores and log_metric:
            for name in ("structure", "performance", "depth"):
                values = getattr(scores, name)
                log_metric(f"part/{name}", _mean(values[~np.isnan(values)]))
        return _scatter(scores.total if scores else [], rows, step["completions"])

    async def structure_reward(self, **step: Any) -> list[float | None]:
        """`Scores.structure`: R_s of Eq. (12), within [0, 1.2], in the paper's form."""
        scores, rows = await self._shared(**step)
        return _scatter(scores.structure if scores else [], rows, step["completions"])

    async def performance_reward(
        self,
        *,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list], None] | None = None,
        **step: Any,
    ) -> list[float | None]:
        """`Scores.performance`, by Eq. (13); logs what became of the programs."""
        scores, rows = await self._shared(**step)
        self._log(scores, rows, step, log_metric, log_extra)
        return _scatter(scores.performance if scores else [], rows, step["completions"])

    async def depth_reward(self, **step: Any) -> list[float | None]:
        """`Scores.depth` of Eq. (14), within [-delta, 0]; None without token ids or a count."""
        scores, rows = await self._shared(**step)
        return _scatter(scores.depth if scores else [], rows, step["completions"])

    def _log(
        self,
        scores: Scores | None,
        rows: list[int],
        step: Mapping[str, Any],
        log_metric: Callable[[str, float], None] | None,
        log_extra: Callable[[str, list], None] | None,
    ) -> None:
        if scores and log_metric:
            # Each in every step: TRL averages a metric over the steps that log it, but for NaN.
            for name, value in self._metrics(scores).items():
                log_metric(name, value)
        if log_extra:
            for name in ("status", "detail", "valid", "gain"):
                values = getattr(scores, name) if scores else []
                log_extra(name, _scatter(values, rows, step["completions"]))
            if self._describe and rows:
                described = [self._describe(int(step["instance"][k])) for k in rows]
                for name in described[0]:
                    values = [row[name] for row in described]
                    log_extra(name, _scatter(values, rows, step["completions"]))

    def _metrics(self, scores: Scores) -> dict[str, float]:
        """What is logged of a step."""
        finished = [status != UNFINISHED for status in scores.status]
        metrics = {
            "raw/valid": _mean(scores.valid[finished]),
            "raw/gain": _mean(scores.gain[finished]),
        }
        for status in STATUSES:
            share = scores.status.count(status) / len(scores.status)
            metrics[f"status/{status.replace(' ', '_')}"] = share
        if self._runs_programs:
            metrics["sandbox/restarts"] = float(scores.restarts)
            metrics["sandbox/queue_s"] = float(scores.queue_s.max())
            metrics["sandbox/peak_mb"] = float(scores.peak_mb.max())
        return metrics

    async def _shared(
        self,
        *,
        completions: Sequence[Any],
        instance: Sequence[int | None] | None = None,
        completion_ids: Sequence[Sequence[int]] | None = None,
        **_: Any,
    ) -> tuple[Scores | None, list[int]]:
        """Scores of the rows that have an instance, computed by whichever part asks first."""
        chosen = self._chosen(instance)
        rows = list(chosen)
        texts = tuple(_text(completions[k]) for k in rows)
        lengths = None if completion_ids is None else tuple(len(completion_ids[k]) for k in rows)
        if not rows:
            return None, rows
        step = (texts, tuple(chosen.values()), lengths, asyncio.get_running_loop())
        # The step before is forgotten: this is sharing between the parts, not a cache.
        if self._step is None or self._step[0] != step:
            work = asyncio.to_thread(
                self._scored, texts, list(chosen.values()), self._count_tokens or lengths
            )
            self._step = step, asyncio.ensure_future(work)
        return await asyncio.shield(self._step[1]), rows

    def _scored(self, texts: Sequence[str], chosen: Sequence[int], lengths: Any) -> Scores:
        """Scores of `texts`, each on the entry of `instances` beside it."""
        budgets_s = self._budgets_s
        anchors: dict[str, Any] = {
            name: [of(i) for i in chosen] for name, of in self._anchors.items()
        }
        scores = self._score(
            texts,
            [self.instances[i] for i in chosen],
            lengths=lengths,
            budget_s=None if budgets_s is None else [budgets_s[i] for i in chosen],
            **anchors,
        )
        for i, total, status in zip(chosen, scores.total, scores.status, strict=True):
            if status != UNFINISHED and not np.isfinite(total):
                raise NotFiniteError(
                    f"the reward of a completion for instance {i} must be finite, got {total}"
                )
        return scores

    def _chosen(self, instance: Sequence[int | None] | None) -> dict[int, int]:
        """Row -> index into `instances`, for the rows that have one."""
        if instance is None:
            raise ValueError(
                "no column 'instance' came with the completions: the data set must have one, "
                f"with an index into the {len(self.instances)} instances, or None, in each row"
            )
        chosen = {k: int(index) for k, index in enumerate(instance) if index is not None}
        for index in chosen.values():
            if not 0 <= index < len(self.instances):
                raise ValueError(
                    "the column 'instance' must hold indices from 0 to "
                    f"{len(self.instances) - 1} or None, got {index}"
                )
        return chosen


def _text(completion: Any) -> str:
    """The text of a completion: a string, or chat messages whose last is text or parts of it."""
    content = completion if isinstance(completion, str) else completion[-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content or () if part.get("type") == "text")


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _scatter(values: Iterable[Any], rows: list[int], completions: Sequence[Any]) -> list[Any]:
    """Values of `rows` in their places, None elsewhere and for a NaN."""
    out: list[Any] = [None] * len(completions)
    for k, value in zip(rows, values, strict=True):
        if isinstance(value, str):
            out[k] = value
        elif not np.isnan(value):
            out[k] = float(value)
    return out
