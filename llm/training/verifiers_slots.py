"""Slots as a taskset of verifiers (`pip install "verifiers>=0.4,<0.5"`), rewards form ranked."""

import asyncio
import functools
from collections.abc import Iterator

import jax
import verifiers.v1 as vf

import lsajax as lsa
from llm.decision.serialize import serialize
from llm.models.completion import HUB_PROMPT_BUDGET
from llm.models.server import estimate_tokens
from llm.sandbox import Sandbox
from llm.training.rewards import Terms, score
from lsajax.hashing import named_key

_box = functools.cache(lambda: Sandbox(workers=2))


class SlotConfig(vf.TasksetConfig):
    """Which slots: N, M, K, one of `lsajax.SETTINGS`, and how many."""

    sizes: tuple[int, int, int] = (200, 200, 40)
    setting: str = "fading"
    slots: int = 1000
    seed: int = 0

    def instance(self, slot: int) -> lsa.Instance:
        """The slot of that number, the same in any process."""
        N, M, K = self.sizes
        changes = {"num_users": N, "num_channels": M, "num_active": K, **lsa.SETTINGS[self.setting]}
        key = named_key(jax.random.key(self.seed), "verifiers", slot)
        return lsa.sample_instance(key, lsa.Scenario(**changes))


class SlotData(vf.TaskData):
    """The slot's number and where from: it is drawn again where it is scored."""

    slot: int
    drawn: SlotConfig


class SlotTask(vf.Task[SlotData]):
    """One slot; the reward `total` is `Scores.total`."""

    @vf.reward
    async def total(self, trace: vf.Trace) -> float:
        args = [trace.last_reply], [self.data.drawn.instance(self.data.slot)], _box()
        return float((await asyncio.to_thread(score, *args, terms=Terms(form="ranked"))).total[0])


class SlotTaskset(vf.Taskset[SlotTask, SlotConfig]):
    """The slots of a configuration, each with its prompt."""

    def load(self) -> Iterator[SlotTask]:
        for slot in range(self.config.slots):
            text = serialize(self.config.instance(slot), estimate_tokens, HUB_PROMPT_BUDGET).text
            yield SlotTask(SlotData(prompt=text, slot=slot, drawn=self.config))
