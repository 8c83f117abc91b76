"""The public object in use: order, threads, event loops, limits, texts, arguments."""

import asyncio
import contextlib
import dataclasses
import math
import os
import resource
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest

from llm.sandbox import Execution, Limits, Sandbox, SandboxUnavailable, packing, pool

ADD = "action = {0: a + 1}"
PATIENT = Limits(wall_s=30, cpu_s=10)


@pytest.fixture(scope="module")
def pair(outer_limits):
    with Sandbox(workers=2, limits=PATIENT) as sandbox:
        yield sandbox


def test_map_keeps_the_order(pair):
    jobs = [(f"import time\ntime.sleep({0.02 * (i % 3)})\n{ADD}", {"a": i}) for i in range(20)]
    assert [e.action for e in pair.map(jobs)] == [{0: i + 1} for i in range(20)]


def test_map_of_nothing(pair):
    assert pair.map([]) == []
    assert asyncio.run(pair.amap([])) == []


def test_map_checks_one_dict_once(pair, monkeypatch):
    packed = []
    real = packing.lay_out
    monkeypatch.setattr(packing, "lay_out", lambda data, copy: packed.append(data) or real(data))
    same, other = {"a": 1}, {"a": 2}
    results = pair.map([(ADD, same)] * 5 + [(ADD, other)] * 5)
    assert [e.action[0] for e in results] == [2] * 5 + [3] * 5
    assert packed == [same, other]


def test_packed_data_serves_many_programs_and_threads(pair):
    with pair.pack({"a": 1, "x": np.arange(1000)}) as packed:
        code = "x += 1\naction = {0: int(x.sum())}"
        results = []
        threads = [
            threading.Thread(target=lambda: results.append(pair.run(code, packed)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [e.action for e in results] == [{0: 500500}] * 8


def test_amap_lets_the_event_loop_go_on(pair):
    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        jobs = [("import time\ntime.sleep(0.2)\naction = {}", {})] * 4
        first, second = await asyncio.gather(pair.amap(jobs), pair.amap(jobs))
        ticking.cancel()
        return first + second, ticks

    results, ticks = asyncio.run(main())
    assert [e.status for e in results] == ["ok"] * 8
    assert ticks > 5


def test_amap_on_an_event_loop_in_a_background_thread(pair):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        futures = [
            asyncio.run_coroutine_threadsafe(pair.amap([(ADD, {"a": i})] * 3), loop)
            for i in range(4)
        ]
        answers = [[e.action for e in future.result(60)] for future in futures]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert answers == [[{0: i + 1}] * 3 for i in range(4)]


def test_a_cancelled_amap_drops_what_waits(pair):
    async def main():
        jobs = [("import time\ntime.sleep(0.3)\naction = {}", {})] * 40
        task = asyncio.create_task(pair.amap(jobs))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    start = time.monotonic()
    assert pair.run(ADD, {"a": 1}).status == "ok"
    assert time.monotonic() - start < 5  # 40 programs would have taken 6 s on two workers


def test_arun_and_run_without_data(pair):
    assert pair.run("action = {0: 1}").action == {0: 1}
    assert asyncio.run(pair.arun("action = {0: 2}")).action == {0: 2}
    assert asyncio.run(pair.arun(ADD, {"a": 2})).action == {0: 3}
    assert pair.map([("action = {}", None)])[0].status == "ok"


NAP = "import time\ntime.sleep({})\naction = {{}}"


def in_a_loop(pair, *arguments, **keywords):
    return asyncio.run(pair.amap(*arguments, **keywords))


@pytest.mark.parametrize("call", [Sandbox.map, in_a_loop])
def test_a_deadline_for_a_whole_call(pair, call):
    """What waits or runs then is unfinished; the workers live on."""
    workers = {worker.pid for worker in pair._workers}
    jobs = [("action = {}", None), (NAP.format(20), None), (NAP.format(20), None), (ADD, {"a": 1})]
    start = time.monotonic()
    results = call(pair, jobs, deadline_s=2.0)
    assert [e.status for e in results] == ["ok", "unfinished", "unfinished", "unfinished"]
    assert "2 s" in results[1].detail
    assert pair.map([(ADD, {"a": 1})] * 2)[0].action == {0: 2}
    assert time.monotonic() - start < 15
    assert {worker.pid for worker in pair._workers} == workers


def test_a_limit_of_its_own_is_a_timeout_under_a_deadline_too(pair):
    busy = Limits(cpu_s=0.2, wall_s=20)
    assert pair.map([("while True: pass", None)], busy, deadline_s=15)[0].status == "timeout"


@pytest.mark.parametrize("deadline_s", [0, -1, math.inf, math.nan, 1e300, "1", True])
@pytest.mark.parametrize("call", [Sandbox.map, in_a_loop])
def test_a_bad_deadline_is_refused_before_anything_is_run(pair, call, deadline_s, monkeypatch):
    monkeypatch.setattr(pair._threads, "submit", lambda *_: pytest.fail("submitted"))
    with pytest.raises((TypeError, ValueError), match="deadline_s must be"):
        call(pair, [("", None)], deadline_s=deadline_s)


def test_the_longest_deadline_is_accepted(pair):
    assert pair.map([(ADD, {"a": 1})], deadline_s=threading.TIMEOUT_MAX)[0].action == {0: 2}


def test_what_a_deadline_cut_keeps_its_counters():
    call = pool._Call(PATIENT, time.monotonic(), 5.0)
    ran = Execution("timeout", None, 1.0, 4.0, "not finished after 4 s", peak_mb=7.0)
    cut = call.result(ran, dataclasses.replace(PATIENT, wall_s=4.0))
    assert (cut.status, cut.cpu_s, cut.wall_s, cut.peak_mb) == ("unfinished", 1.0, 4.0, 7.0)
    assert "5 s" in cut.detail
    assert call.unfinished(3.0).queue_s == 3.0


def test_what_is_submitted_when_a_call_is_interrupted_is_dropped(pair, monkeypatch):
    submitted, real = [], pair._threads.submit

    def submit(*arguments):
        if len(submitted) == 6:
            raise KeyboardInterrupt
        submitted.append(real(*arguments))
        return submitted[-1]

    monkeypatch.setattr(pair._threads, "submit", submit)
    with pytest.raises(KeyboardInterrupt):
        pair.map([(NAP.format(0.5), None)] * 10)
    assert [future.cancelled() for future in submitted[2:]] == [True] * 4


def test_counters_of_a_program(pair):
    first, *_, last = pair.map([(NAP.format(0.2), None)] * 6)
    assert first.queue_s < 0.2 and last.queue_s >= 0.4
    hungry = pair.run("x = np.ones(25 << 17)\naction = {}")  # 25 MiB
    assert 25 <= hungry.peak_mb < 50 and first.peak_mb < 20


def test_data_counts_as_memory_once_it_is_touched(pair):
    data = {"x": np.zeros(40 << 17)}  # 40 MiB
    touched, untouched = pair.map([("x.sum()\naction = {}", data), ("action = {}", data)])
    assert 40 <= touched.peak_mb < 60 and untouched.peak_mb < 20


# On which CPUs it is, for half a second of its own time.
WHERE = """
import ctypes, time
where = ctypes.CDLL(None).sched_getcpu
action = {}
while time.process_time() < 0.5:
    action[where()] = 1
"""
PRINT_WHERE = f"""
import os, sys
from llm.sandbox import Limits, Sandbox
if len(sys.argv) > 1:
    os.sched_setaffinity(0, {{int(sys.argv[1])}})
with Sandbox(workers=1, limits=Limits(wall_s=60, cpu_s=10)) as box:
    print("ready", flush=True)
    sys.stdin.readline()
    print(*box.run({WHERE!r}).action)
"""


def where_programs_run(hosts: int, *arguments: str, **environment: str) -> set[int]:
    """The CPUs that programs of several host processes, one worker each, use at one time."""
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PRINT_WHERE, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
                )
            )
            for _ in range(hosts)
        ]
        for host in started:
            assert host.stdout.readline() == "ready\n"
        for host in started:
            host.stdin.write("\n")
            host.stdin.flush()
        return {int(cpu) for host in started for cpu in host.stdout.read().split()}


def spread(hosts: int, *arguments: str, **environment: str) -> bool:
    """Whether they use more than one CPU; where others keep the machine busy, now and then."""
    return any(len(where_programs_run(hosts, *arguments, **environment)) > 1 for _ in range(5))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_workers_of_several_processes_spread_over_the_cpus():
    assert spread(3)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_workers_stay_on_the_cpus_of_their_process_but_for_those_that_openmp_chose():
    only = max(os.sched_getaffinity(0))
    assert where_programs_run(2, str(only)) == {only}
    assert spread(3, str(only), OMP_PROC_BIND="true")


def test_workers_work_at_the_same_time(pair):
    nap = "import time\ntime.sleep(1.5)\naction = {}"
    start = time.monotonic()
    assert [e.status for e in pair.map([(nap, {})] * 2)] == ["ok"] * 2
    assert time.monotonic() - start < 2.9


def test_times_are_those_of_the_program(pair):
    asleep = pair.run("import time\ntime.sleep(0.3)\naction = {}", {})
    assert asleep.wall_s >= 0.3 and asleep.cpu_s < 0.3
    busy = "import time\nwhile time.process_time() < 0.5: pass\naction = {}"
    assert 0.4 < pair.run(busy, {}).cpu_s < 1


def test_a_loaded_machine_does_not_fail_a_good_program(pair):
    """CPU time, not wall time, is what a program is held to."""
    code = "import time\nwhile time.process_time() < 0.2: pass\naction = {}"
    spinner = [sys.executable, "-c", "while True: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(3 * len(os.sched_getaffinity(0))):
            process = stack.enter_context(subprocess.Popen(spinner))
            stack.callback(process.kill)
        limits = Limits(wall_s=60, cpu_s=0.4)
        results = pair.map([(code, {})] * 4, limits=limits)
    assert [e.status for e in results] == ["ok"] * 4
    assert all(e.cpu_s < 0.4 for e in results)


def test_limits_of_a_call_replace_those_of_the_sandbox(pair):
    hungry = "action = {0: len(bytearray(600 << 20))}"
    assert pair.run(hungry, {}).status == "memory"
    assert pair.run(hungry, {}, limits=Limits(cpu_s=10, wall_s=30, memory_mb=1500)).status == "ok"
    assert pair.run("action = dict.fromkeys(range(300), 0)", {}).status == "ok"
    small = Limits(output_bytes=4096, wall_s=30)
    assert pair.run("action = dict.fromkeys(range(300), 0)", {}, limits=small).status == "output"


def test_answers_of_every_size(pair):
    """65 536 entries and a header are more than the kernel's largest pipe."""
    answer = "action = dict.fromkeys(range({}), 7)"
    roomy = Limits(wall_s=60, cpu_s=20, output_bytes=1 << 20)
    assert len(pair.run(answer.format(1 << 16), None, roomy).action) == 1 << 16
    assert pair.run(answer.format((1 << 16) + 1), None, roomy).status == "output"
    roomy = Limits(wall_s=60, cpu_s=20, output_bytes=16 * 300_000)
    assert len(pair.run(answer.format(300_000), None, roomy).action) == 300_000


def test_by_default_an_answer_may_be_as_large_as_the_data(pair):
    users = {"users": np.arange(100_000), "power_w": np.ones(100_000)}
    code = "action = dict(zip(users.tolist(), users.tolist()))"
    assert len(pair.run(code, users).action) == 100_000
    assert pair.run("action = dict.fromkeys(range(1 << 16), 0)", {"n": 1}).status == "output"
    assert pair.run("action = dict.fromkeys(range(1 << 14), 0)", {"n": 1}).status == "ok"


FLOOD = """
import os
for descriptor in range(3, 256):
    try: os.write(descriptor, b"x")
    except OSError: continue
    break
while True: os.write(descriptor, bytes(1 << 16))
"""


def test_a_flood_into_the_answer_ends_and_costs_the_host_little(pair):
    tracemalloc.start()
    flooded = pair.run(FLOOD, None, Limits(wall_s=30, cpu_s=10, output_bytes=1 << 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert flooded.status == "output"
    assert peak < 1 << 20


# A user that has used up what the kernel lends one user for large pipes.
FULL_PIPES = """
import fcntl, os
from llm.sandbox import Sandbox
with Sandbox(workers=1) as box:
    os.setresuid(64999, 64999, 0)  # pipes are counted by the user who makes them
    held = [os.pipe() for _ in range(200)]
    try:
        for _, end in held: fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 1 << 20)
    except PermissionError:
        print(len(box.run("action = dict.fromkeys(range(10_000), 0)").action))
    os.setresuid(0, 0, 0)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="takes another user's place")
def test_no_large_pipe_is_needed():
    ran = subprocess.run(
        [sys.executable, "-c", FULL_PIPES],
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "10000\n", ran.stderr


@contextlib.contextmanager
def descriptors_left(number: int):
    """No more than `number` descriptors can be opened meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 64, before[1]))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(number):
            os.close(taken.pop())
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_many_dicts_need_few_descriptors(pair):
    with descriptors_left(20):
        results = pair.map([(ADD, {"a": i}) for i in range(60)])
    assert [e.action for e in results] == [{0: i + 1} for i in range(60)]


@pytest.mark.parametrize("number", range(4))
def test_no_descriptor_left_says_so_and_kills_no_worker(pair, number):
    workers = {worker.pid for worker in pair._workers}
    with descriptors_left(number), pytest.raises(SandboxUnavailable, match="ulimit -n"):
        pair.run(ADD, {"a": 1})
    with descriptors_left(0), pytest.raises(SandboxUnavailable, match="ulimit -n"):
        pair.pack({"a": 1})
    assert pair.run(ADD, {"a": 1}).action == {0: 2}
    assert {worker.pid for worker in pair._workers} == workers and pair.restarts == 0


def test_a_dict_may_be_changed_once_amap_has_begun(pair):
    async def main():
        data = {"x": np.zeros(3)}
        jobs = [(NAP.format(0.2), None)] * 2 + [("action = {0: int(x.sum())}", data)]
        task = asyncio.create_task(pair.amap(jobs))
        await asyncio.sleep(0.05)
        data["x"] += 1
        return await task

    assert asyncio.run(main())[2].action == {0: 0}


def test_memory_limit_does_not_count_the_data(pair):
    with pair.pack({"x": np.ones(12 << 20)}) as packed:  # 96 MiB
        code = "x += 1\naction = {0: int(x[0])}"
        limits = Limits(memory_mb=32, cpu_s=10, wall_s=30)
        assert pair.run(code, packed, limits=limits).action == {0: 2}
        assert pair.run("y = x.copy()", packed, limits=limits).status == "memory"


def test_the_smallest_limits_are_enough_for_a_small_program(pair):
    smallest = Limits(wall_s=30, cpu_s=0.1, memory_mb=16, output_bytes=4096)
    with pair.pack({"x": np.ones(1 << 20)}) as packed:
        execution = pair.run("action = {0: int(x.sum())}", packed, limits=smallest)
    assert execution.action == {0: 1 << 20}


def test_limits_too_small_to_start_are_a_timeout(pair):
    tiny = Limits(wall_s=30, cpu_s=0.01)
    assert pair.run("while True: pass", {}, limits=tiny).status == "timeout"


def test_the_same_text_has_the_same_random_numbers_everywhere(pair):
    code = "import random\naction = {0: random.getrandbits(60), 1: int(np.random.rand() * 1e9)}"
    answers = [e.action for e in pair.map([(code, {})] * 8)]
    assert answers == [answers[0]] * 8
    assert pair.run(code + "\n# another text", {}).action != answers[0]


LONG = "x = 1\n" * 200_000
TEXTS = {
    "empty": ("", "invalid"),
    "blank": (" \n\n", "invalid"),
    "prose": ("Here is the code you asked for:", "error"),
    "tabs and spaces": ("if 1:\n\tx = 1\n        y = 2", "error"),
    "null byte": ("action = {}\0", "error"),
    "surrogate": ("action = {}  # \ud800", "error"),
    "line continuation at the end": ("action = {}\\", "error"),
    "comment at the end": ("action = {}  # done", "ok"),
    "carriage returns": ("action = {}\r\naction[1] = 1\r\n", "ok"),
    "byte order mark": ("\ufeffaction = {}", "error"),
    "too long": (LONG, "error"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_gets_a_status(pair, name):
    text, status = TEXTS[name]
    assert pair.run(text, {}).status == status


def test_an_error_says_where(pair):
    assert pair.run("a = 1\nb = a / 0\n", {}).detail == (
        "line 2: ZeroDivisionError: division by zero"
    )
    assert pair.run("a = 1\nb = (\n", {}).detail.startswith("line 2: SyntaxError: ")


BAD_LIMITS = [
    ({"wall_s": 0}, ValueError, "wall_s"),
    ({"cpu_s": -1}, ValueError, "cpu_s"),
    ({"cpu_s": math.nan}, ValueError, "cpu_s"),
    ({"memory_mb": 1}, ValueError, "memory_mb"),
    ({"memory_mb": math.inf}, ValueError, "memory_mb"),
    ({"output_bytes": 1}, ValueError, "output_bytes"),
    ({"output_bytes": 1 << 29}, ValueError, "output_bytes"),
    ({"output_bytes": 4096.0}, TypeError, "output_bytes"),
    ({"wall_s": "1"}, TypeError, "wall_s"),
    ({"wall_s": True}, TypeError, "wall_s"),
]


@pytest.mark.parametrize(("arguments", "error", "name"), BAD_LIMITS)
def test_bad_limits_are_refused(arguments, error, name):
    with pytest.raises(error, match=name):
        Limits(**arguments)


def test_bad_arguments_are_refused_and_nothing_is_run(pair):
    with pytest.raises(TypeError, match="code must be a str"):
        pair.run(b"action = {}", {})
    with pytest.raises(TypeError, match="data must be a dict"):
        pair.run("", [1])
    with pytest.raises(TypeError, match=r"data\['b'\]"):
        pair.map([(ADD, {"a": 1}), (ADD, {"b": {1}})])
    with pytest.raises(TypeError, match="Limits"):
        pair.run("", {}, limits=3)
    with pytest.raises(ValueError, match="workers"):
        Sandbox(workers=0)
    with pytest.raises(ValueError, match="seccomp"):
        Sandbox(waive=("seccomp",))


def test_metadata_tells_what_is_in_force(pair):
    assert pair.metadata["seccomp"] is True
    assert pair.metadata["waived"] == []
    assert pair.metadata["landlock"] >= 1
    assert {"mount", "pid", "net", "ipc"} <= set(pair.metadata["namespaces"])
    assert pair.metadata["uid"] == 65534
    assert pair.metadata["limits"] == {
        "wall_s": 30,
        "cpu_s": 10,
        "memory_mb": 512,
        "output_bytes": None,
    }
