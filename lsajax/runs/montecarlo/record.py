"""What a study is: the job that workers get, and its record on disk."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np

from lsajax import montecarlo
from lsajax.accumulators import Accumulator
from lsajax.montecarlo import Evaluator, Measure, Output
from lsajax.runs import provenance
from lsajax.runs.folder import BadRun
from lsajax.runs.montecarlo import parts
from lsajax.runs.montecarlo.parts import Part
from lsajax.scenario import Scenario

STUDY = "study.json"


@dataclasses.dataclass(frozen=True)
class Job:
    """What a process needs to compute any part of a study; it can be sent to another.

    Attributes:
        folder: of the study.
        key_data: words of the key.
        key_impl: its generator.
        scenario: what instances are drawn from.
        measure: `(key, inst) -> pytree` of numbers, pickled; by value where no module has it.
        sketch: whether to keep distributions.
        rows: whether to keep every value.
        x64: whether JAX computes in float64.
    """

    folder: pathlib.Path
    key_data: tuple[int, ...]
    key_impl: str
    scenario: Scenario
    measure: bytes
    sketch: bool
    rows: bool
    x64: bool

    @classmethod
    def of(
        cls,
        folder: str | os.PathLike,
        key: jax.Array,
        scenario: Scenario,
        measure: Measure,
        *,
        sketch: bool = False,
        rows: bool = False,
    ) -> "Job":
        """Of a key, in this process' precision."""
        words = tuple(int(word) for word in np.asarray(jax.random.key_data(key)).ravel())
        impl = str(jax.random.key_impl(key))
        x64 = bool(jax.config.read("jax_enable_x64"))
        path = pathlib.Path(folder).absolute()
        pickled = cloudpickle.dumps(measure)
        # Plain numbers: arrays of one would make another program of it.
        plain = jax.tree.map(float, scenario)
        return cls(path, words, impl, plain, pickled, sketch, rows, x64)

    @property
    def key(self) -> jax.Array:
        """The key."""
        return jax.random.wrap_key_data(jnp.array(self.key_data, jnp.uint32), impl=self.key_impl)

    def identity(self, plan: "Plan") -> dict[str, Any]:
        """What determines the numbers, JSON-able."""
        scenario = {f.name: getattr(self.scenario, f.name) for f in dataclasses.fields(Scenario)}
        return {
            "key": [self.key_impl, *self.key_data],
            "scenario": scenario,
            "chunk": plan.chunk,
            "sketch": self.sketch,
            "rows": self.rows,
            "program": plan.program,
        }


class Plan(NamedTuple):
    """How a study is computed.

    Attributes:
        chunk: realisations computed at once.
        size: realisations of a part, a power of two of chunks.
        program: digest of what a chunk computes.
    """

    chunk: int
    size: int
    program: str


class Speed(NamedTuple):
    """What a process found out about a job before its first part.

    Attributes:
        chunk: realisations computed at once.
        program: digest of what a chunk computes.
        chunk_s: seconds per chunk of a device; 0 where it was not measured.
    """

    chunk: int
    program: str
    chunk_s: float


class Task(NamedTuple):
    """One part to compute.

    Attributes:
        job: of which study.
        study: digest of the study.
        chunk: realisations computed at once.
        part: which.
    """

    job: Job
    study: str
    chunk: int
    part: Part


@functools.lru_cache(maxsize=4)
def _measure(pickled: bytes) -> Measure:
    return cloudpickle.loads(pickled)


@functools.lru_cache(maxsize=4)
def _evaluator(pickled: bytes, chunk: int) -> Evaluator:
    # By the measure alone: jobs that differ in the scenario's constants share what is compiled.
    return Evaluator(_measure(pickled), chunk)


# By all that they depend on: constants of the scenario and the key are arguments of a chunk.
_programs: dict[Any, str] = {}
_outputs: dict[Any, dict[str, Output]] = {}


def _shape(job: Job, chunk: int) -> Any:
    return job.measure, chunk, jax.tree.structure(job.scenario), job.key_impl, job.x64


def _program(job: Job, chunk: int) -> str:
    """Digest of what a chunk computes."""
    shape = _shape(job, chunk)
    if shape not in _programs:
        measure = _measure(job.measure)
        _programs[shape] = montecarlo.fingerprint(job.key, job.scenario, measure, chunk)
    return _programs[shape]


def survey(job: Job, chunk: int | None, timed: bool) -> Speed:
    """Chooses the chunk where there is none, and times one; runs where the parts will."""
    jax.config.update("jax_enable_x64", job.x64)
    measure = _measure(job.measure)
    chunk = chunk or montecarlo.default_chunk(job.scenario, measure)
    program = _program(job, chunk)
    if not timed:
        return Speed(chunk, program, 0.0)
    evaluator = _evaluator(job.measure, chunk)
    seconds = 0.0
    for _ in range(2):  # the first one compiles
        start = time.perf_counter()
        for _ in evaluator.chunks(job.key, job.scenario, 0, evaluator.width, montecarlo.MOST):
            pass
        seconds = (time.perf_counter() - start) / evaluator.width
    return Speed(chunk, program, seconds)


def compute(task: Task) -> Part:
    """Computes a part and writes it, unless somebody has by now."""
    job, part, chunk = task.job, task.part, task.chunk
    jax.config.update("jax_enable_x64", job.x64)
    if parts.place(job.folder, part) is not None:
        return part
    merging = Accumulator(job.sketch)
    start, stop = part.first // chunk, -(-(part.first + part.count) // chunk)

    def values() -> Iterator[montecarlo.Values]:
        evaluator = _evaluator(job.measure, chunk)
        end = part.first + part.count
        for _, found in evaluator.chunks(job.key, job.scenario, start, stop, end):
            merging.add(found)
            yield found

    rows = None
    if job.rows:
        shape = _shape(job, chunk)
        if shape not in _outputs:
            _outputs[shape] = montecarlo.outputs(job.scenario, _measure(job.measure))[1]
        rows = parts.write_rows(job.folder, part, _outputs[shape], values())
    else:
        for _ in values():
            pass
    parts.write(job.folder, task.study, part, merging.result(), rows)
    return part


def digest(identity: dict[str, Any]) -> str:
    """By which parts know their study."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def load(folder: pathlib.Path) -> dict[str, Any] | None:
    """The record of a folder; None where there is none.

    Raises:
        BadRun: it cannot be read.
    """
    try:
        record = json.loads((folder / STUDY).read_text())
        return {name: record[name] for name in ("study", "size", "realizations")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BadRun(
            f"{folder / STUDY} cannot be read as the record of a study ({error!r}); "
            "give another folder"
        ) from None


def agree(job: Job, plan: Plan, realizations: int) -> Plan:
    """Writes the record, or compares with the one that is there, whose parts' size counts.

    Any number of processes may do so at once: the first one's record stays.

    Raises:
        BadRun: the folder is that of another study.
    """
    identity = job.identity(plan)
    content = {"study": identity, "size": plan.size, "realizations": realizations}
    job.folder.mkdir(parents=True, exist_ok=True)
    before = load(job.folder)
    if before is None:
        new = job.folder / f".{STUDY}-{uuid.uuid4().hex}"
        provenance.write(new, content)
        try:
            os.link(new, job.folder / STUDY)  # fails where somebody was faster
            return plan
        except FileExistsError:
            before = load(job.folder)
        finally:
            new.unlink()
    assert before is not None
    then = json.loads(json.dumps(identity))
    if before["study"] != then:
        what = _difference(before["study"], then)
        raise BadRun(f"{job.folder} is the folder of another study: {what}; give another")
    if realizations > before["realizations"]:
        provenance.write(job.folder / STUDY, {**content, "size": before["size"]})
    return plan._replace(size=before["size"])


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    def flat(study: dict[str, Any]) -> dict[str, Any]:
        rest = {name: value for name, value in study.items() if name != "scenario"}
        return {**rest, **study.get("scenario", {})}

    old, new = flat(before), flat(now)
    changed = [n for n in dict.fromkeys([*old, *new]) if old.get(n) != new.get(n)]
    if changed == ["program"]:
        return "its measure, its version of JAX or its kind of device was another"
    shown = [n for n in changed if n != "program"]
    return "; ".join(f"{name} was {old.get(name)!r}, now {new.get(name)!r}" for name in shown)
