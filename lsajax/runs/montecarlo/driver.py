"""Runs studies to their end: what is missing is computed, damaged files again, all is merged."""

import contextlib
import functools
import io
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pyarrow.parquet as pq

from lsajax import montecarlo
from lsajax.accumulators import Summaries, fold
from lsajax.runs import provenance
from lsajax.runs.montecarlo import parts, record
from lsajax.runs.montecarlo.engines import Engine
from lsajax.runs.montecarlo.parts import Part
from lsajax.runs.montecarlo.record import Job, Plan, Task

PART_S = 20.0
"""Seconds that a part should take: what a kill may cost, beside which a file costs nothing."""

MOST_PARTS = 1 << 16
"""Files of a study, whatever its size."""

_TRIES = 3


def run(
    jobs: Sequence[Job],
    realizations: int,
    *,
    engine: Engine,
    chunk: int | None = None,
    shard: tuple[int, int] | None = None,
    expected: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[Summaries | None]:
    """Computes what is missing of studies, with one engine for all of them.

    Args:
        jobs: the studies.
        realizations: of each.
        engine: where parts are computed.
        chunk: realisations computed at once; None for the default, or what the folder has.
        shard: (i, n), of every n parts this process does the i-th.
        expected: realisations that a new study may grow to, for the size of its parts.
        progress: called as `progress(done, all)` with realisations of all studies together.
        say: told in a line what is out of the ordinary.

    Returns:
        The summaries of each study; None where parts of other shards are missing.

    Raises:
        ValueError: an argument out of range, or a folder of another study.
        OSError: the disk is full, say; what was computed stays.
    """
    check_shard(shard)
    for job in jobs:
        montecarlo.check(job.scenario, realizations, chunk)
    mine, of = shard or (0, 1)
    plans = [plan_of(job, realizations, chunk, engine, of, expected) for job in jobs]
    counted, total = 0, realizations * len(jobs)

    def tell(count: int) -> None:
        nonlocal counted
        counted += count
        if progress is not None and count:
            progress(counted, total)

    waiting = [
        [p for p in parts.cut(realizations, plan.size) if p.index % of == mine] for plan in plans
    ]
    for _ in range(_TRIES):
        tasks = _tasks(jobs, plans, waiting, tell, say)
        for part in engine.map(record.compute, tasks):
            tell(part.count)
        found = [_merged(job, plan, realizations) for job, plan in zip(jobs, plans, strict=True)]
        waiting = [[part for part in missing if part.index % of == mine] for _, missing in found]
        if not any(waiting):
            break
        # A file was damaged or removed since it was written.
        counted -= sum(part.count for own in waiting for part in own)
    else:
        raise OSError(f"files of parts are damaged as soon as they are written, {_TRIES} times")
    results = []
    for job, (summaries, missing) in zip(jobs, found, strict=True):
        results.append(None if missing else summaries)
        if not missing:
            write_result(job.folder, summaries)
    return results


def check_shard(shard: tuple[int, int] | None) -> None:
    """Raises ValueError unless it is None or (i, n) with 0 <= i < n."""
    if shard is not None and not 0 <= shard[0] < shard[1]:
        raise ValueError(f"shard must be i/n with 0 <= i < n, got {shard[0]}/{shard[1]}")


def plan_of(
    job: Job,
    realizations: int,
    chunk: int | None,
    engine: Engine,
    shards: int = 1,
    expected: int | None = None,
) -> Plan:
    """How the study is computed: as its folder says, or as the first process finds best."""
    before = record.load(job.folder)
    chunk = before["study"]["chunk"] if before and chunk is None else chunk
    survey = functools.partial(record.survey, chunk=chunk, timed=before is None)
    (speed,) = engine.map(survey, [job])
    width = engine.width * shards
    size = part_size(expected or realizations, speed.chunk, speed.chunk_s, width)
    return record.agree(job, Plan(speed.chunk, size, speed.program), realizations)


def part_size(realizations: int, chunk: int, chunk_s: float, width: int) -> int:
    """Realisations of a part: a power of two of chunks, so that results do not depend on it.

    Some `PART_S` seconds of work, but four parts for each of `width` processes where there is so
    much, and no more than `MOST_PARTS` in all.
    """
    chunks = -(-realizations // chunk)
    wished = min(PART_S / chunk_s if chunk_s else float(chunks), chunks / (4 * width))
    wished = max(wished, 1.0)
    size = 1 << (int(wished).bit_length() - 1)
    while -(-chunks // size) > MOST_PARTS:
        size *= 2
    return chunk * size


def _tasks(
    jobs: Sequence[Job],
    plans: Sequence[Plan],
    waiting: Sequence[Sequence[Part]],
    tell: Callable[[int], None],
    say: Callable[[str], None],
) -> Iterator[Task]:
    """What is not there, or there and damaged, which is removed."""
    for job, plan, wanted in zip(jobs, plans, waiting, strict=True):
        study = record.digest(job.identity(plan))
        there = parts.find(job.folder)
        for part in wanted:
            file = there.get((part.index, part.count))
            if file is not None and parts.read(file, study, part) is not None:
                tell(part.count)
                continue
            if file is not None:
                say(f"part {part.index} of {job.folder} is damaged; it is computed again")
                file.unlink(missing_ok=True)
            yield Task(job, study, plan.chunk, part)


def _merged(job: Job, plan: Plan, realizations: int) -> tuple[Summaries, list[Part]]:
    """Summaries of all parts in their order, and those that are missing or damaged."""
    study = record.digest(job.identity(plan))
    there, wanted = parts.find(job.folder), parts.cut(realizations, plan.size)
    missing = [part for part in wanted if (part.index, part.count) not in there]
    if missing:
        # Of other shards, as a rule: none of the files is read before all are there.
        return {}, missing

    def each() -> Iterator[Summaries]:
        for part in wanted:
            summaries = parts.read(there[part.index, part.count], study, part)
            if summaries is None:
                missing.append(part)
            else:
                yield summaries

    return fold(each()), missing


def write_result(folder: pathlib.Path, summaries: Summaries) -> None:
    """`result.parquet`, whole or not at all; what killed processes left behind goes."""
    table = parts.table_of(summaries)
    content = io.BytesIO()
    pq.write_table(table, content)
    provenance.replace_file(folder / parts.RESULT, content.getvalue())
    for file in parts.leftovers(folder):
        # Of a process that is still at it: it would be gone by now, or is another driver's.
        if time.time() - file.stat().st_mtime > 3600:
            file.unlink(missing_ok=True)


class Progress(NamedTuple):
    """How far a study is.

    Attributes:
        realizations: that are there.
        wanted: that were asked for.
        per_s: realisations per second over the last parts; NaN where there are too few.
        last_s: seconds since the last part.
    """

    realizations: int
    wanted: int
    per_s: float
    last_s: float


def status(folder: pathlib.Path) -> Progress:
    """How far the study of a folder is; it may be running, anywhere.

    Raises:
        ValueError: there is no study.
    """
    known = record.load(pathlib.Path(folder))
    if known is None:
        raise ValueError(f"there is no study in {folder}")
    there = parts.find(pathlib.Path(folder))
    wanted = {(p.index, p.count) for p in parts.cut(known["realizations"], known["size"])}
    done, times = 0, []
    for (index, count), file in there.items():
        if (index, count) in wanted:
            done += count
            with contextlib.suppress(FileNotFoundError):
                times.append((file.stat().st_mtime, count))
    last = sorted(times)[-50:]
    span = last[-1][0] - last[0][0] if last else 0.0
    per_s = sum(count for _, count in last[1:]) / span if span > 0 else float("nan")
    return Progress(
        done, known["realizations"], per_s, time.time() - last[-1][0] if last else float("nan")
    )
