"""What happens when things die: workers, sandboxes, hosts, threads, forks."""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llm.sandbox import Execution, Limits, Sandbox, SandboxUnavailable, kernel, selftest

from .conftest import POOR_KERNEL, children, sabotaged

ADD = "action = {0: a + 1}"
NAP = "import time\ntime.sleep({})\naction = {{0: 1}}"
PATIENT = Limits(wall_s=30, cpu_s=10)


@pytest.fixture(scope="module")
def lone(outer_limits):
    with Sandbox(workers=1, limits=PATIENT) as sandbox:
        yield sandbox


@pytest.fixture
def as_process_1():
    """As in a container where the host is process 1: nobody else reaps what is orphaned."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    yield
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 0)


def launcher(box: Sandbox) -> int:
    (worker,) = box._workers
    return worker.pid


def child_of(parent: int, session: int) -> int:
    for pid in children(session):
        with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                return pid
    raise AssertionError(f"{parent} has no child")


def zygote(box: Sandbox) -> int:
    return child_of(launcher(box), launcher(box))


def at_work(box: Sandbox) -> set[int]:
    """The launchers of the workers that have a program."""
    launchers = {worker.pid for worker in list(box._workers)}
    return {pid for pid in launchers if len(children(pid)) == 3}


def long_at_work(box: Sandbox) -> set[int]:
    """Those that have one for good: a worker that starts has a third process for a moment too."""
    first = at_work(box)
    time.sleep(0.3)
    return first & at_work(box)


def wait_until(condition, seconds=30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def kill_worker(box: Sandbox, victim=launcher) -> None:
    """And wait until it is seen: a signal takes its time on a loaded machine."""
    (worker,) = box._workers
    os.kill(victim(box), signal.SIGKILL)
    assert wait_until(lambda: not worker.alive())


def raised_by(function, *arguments) -> BaseException | None:
    try:
        function(*arguments)
    except BaseException as error:
        return error
    return None


@contextlib.contextmanager
def running(box: Sandbox, code: str, limits: Limits | None = None):
    """While it runs in another thread; its result, or what was raised, is there afterwards."""
    # A worker that an earlier test killed is replaced first: its self-test runs programs too.
    assert box.run(ADD, {"a": 1}).action == {0: 2}
    results: list[Execution | BaseException] = []

    def run():
        try:
            results.append(box.run(code, {}, limits=limits))
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert wait_until(lambda: at_work(box))
        yield results
    finally:
        thread.join(90)
    assert not thread.is_alive()


def test_a_worker_killed_between_programs_is_replaced(lone):
    for victim in (zygote, launcher):
        kill_worker(lone, victim)
        assert lone.run(ADD, {"a": 1}).action == {0: 2}
    assert len(lone._workers) == 1


def test_a_worker_killed_under_a_program_takes_it_not_down(lone):
    first = launcher(lone)
    with running(lone, NAP.format(1)) as results:
        os.kill(zygote(lone), signal.SIGKILL)
    assert results[0].action == {0: 1}
    assert wait_until(lambda: not children(first))


def test_a_program_whose_worker_dies_thrice_is_no_status(lone, monkeypatch):
    monkeypatch.setattr(selftest, "check", lambda *_: {})  # its programs are not to be killed
    killed: set[int] = set()
    with running(lone, NAP.format(30)) as results:
        before = lone.restarts
        for _ in range(3):
            # A worker that dies keeps its program for a while, and its successor has none yet.
            assert wait_until(lambda: long_at_work(lone) - killed)
            (victim,) = long_at_work(lone) - killed
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
    assert isinstance(results[0], SandboxUnavailable) and "3 times" in str(results[0])
    assert lone.run(ADD, {"a": 1}).action == {0: 2}
    assert lone.restarts == before + 3 and len(lone._workers) == 1
    assert len(killed) == 3
    assert wait_until(lambda: not any(children(pid) for pid in killed))


def program(box: Sandbox) -> int:
    return child_of(zygote(box), launcher(box))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGXCPU + 40])
def test_a_program_killed_from_outside_runs_again(lone, number):
    """The out-of-memory killer, a batch system: never the program's own status."""
    worker = launcher(lone)
    with running(lone, NAP.format(2)) as results:
        os.kill(program(lone), number)
    assert results[0].action == {0: 1}
    assert launcher(lone) == worker


def test_a_program_killed_from_outside_thrice_is_no_status(lone):
    with running(lone, NAP.format(20)) as results:
        for _ in range(3):
            assert wait_until(lambda: long_at_work(lone))  # confined by then, else it says so
            killed = program(lone)
            os.kill(killed, signal.SIGKILL)
            assert wait_until(lambda killed=killed: killed not in children(launcher(lone)))
    assert isinstance(results[0], SandboxUnavailable) and "SIGKILL from outside" in str(results[0])
    assert lone.run(ADD, {"a": 1}).action == {0: 2}


def test_a_cpu_signal_from_outside_is_not_the_programs_own(lone):
    as_by_default = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_DFL)\n"
    with running(lone, as_by_default + NAP.format(3)) as results:
        time.sleep(1)
        os.kill(program(lone), signal.SIGXCPU)
    assert results[0].action == {0: 1}


SENT_TO_A_JOB = (
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT),
    signal.SIGXCPU,
)


@pytest.mark.parametrize("number", SENT_TO_A_JOB)
def test_signals_that_a_batch_system_sends_to_a_whole_job_touch_no_worker(lone, number):
    worker, restarts = launcher(lone), lone.restarts
    with running(lone, NAP.format(1)) as results:
        for pid in children(worker):
            os.kill(pid, number)
    assert results[0].action == {0: 1}
    assert (launcher(lone), lone.restarts) == (worker, restarts)


def test_a_suspended_job_is_no_timeout(lone):
    naps = "import time\nfor _ in range(15): time.sleep(0.1)\naction = {0: 1}"
    with running(lone, naps, Limits(wall_s=3, cpu_s=10)) as results:
        stopped = [*reversed(children(launcher(lone)))]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert results[0].action == {0: 1}
    assert results[0].wall_s > 4


def test_an_interrupted_call_loses_no_worker(lone, monkeypatch):
    """A handler may raise at any point of the main thread, also just as a worker is handed out."""

    class HandlerError(Exception):
        pass

    real = lone._idle

    class Idle:
        def get(self):
            worker = real.get()
            if threading.current_thread() is threading.main_thread():
                raise HandlerError  # where the interpreter may run a handler
            return worker

        put = real.put

    monkeypatch.setattr(lone, "_idle", Idle())
    with contextlib.suppress(HandlerError):
        lone.run(ADD, {"a": 1})
    monkeypatch.undo()
    waiting = threading.Thread(target=lone.run, args=(ADD, {"a": 1}), daemon=True)
    waiting.start()
    waiting.join(30)
    assert not waiting.is_alive()


def test_an_interrupt_of_a_waiting_call_leaves_a_healthy_worker(lone):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            lone.run(NAP.format(1))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert lone.run(ADD, {"a": 1}).action == {0: 2}


def test_a_replacement_killed_while_it_starts_is_tried_again(lone, monkeypatch):
    real, started = selftest.check, []

    def killed_once(worker, *rest):
        started.append(worker)
        if len(started) == 1:
            os.kill(worker.pid, signal.SIGKILL)
        return real(worker, *rest)

    monkeypatch.setattr(selftest, "check", killed_once)
    kill_worker(lone)
    assert lone.run(ADD, {"a": 1}).action == {0: 2}
    assert len(started) == 2 and lone._workers == {started[1]}


NO_NUMPY = """
import sys
print("hello from the worker", file=sys.stderr)
sys.modules["numpy"] = None
"""


def test_a_worker_that_does_not_start_says_why():
    """`numpy` cannot be imported: this ends before the worker can speak for itself."""
    with sabotaged("", first=NO_NUMPY), pytest.raises(SandboxUnavailable) as caught:
        Sandbox(workers=1)
    assert caught.value.feature == "worker"
    assert "numpy" in caught.value.reason and "exit code 1" in caught.value.reason


def test_a_worker_finds_modules_on_the_python_path(tmp_path):
    """As on a cluster, where NumPy comes from a module and not from the interpreter's folder."""
    (tmp_path / "only_on_the_path.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": f"only{os.pathsep}{os.getcwd()}"}
    script = (
        "from llm.sandbox import Sandbox, worker\n"
        "last = worker._BOOT.rstrip().rpartition('\\n')[2]\n"
        "worker._BOOT = worker._BOOT.replace(last, 'import only_on_the_path\\n' + last)\n"
        "with Sandbox(workers=1) as box: print(box.run('action = {0: 3}').action)\n"
    )
    (tmp_path / "only").mkdir()
    (tmp_path / "only_on_the_path.py").rename(tmp_path / "only" / "only_on_the_path.py")
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=tmp_path,  # an entry of the path may be relative to it
        capture_output=True,
        text=True,
    )
    assert ran.stdout == "{0: 3}\n", ran.stderr


NO_FORK_AT_7_S = """
zygote = importlib.import_module("sandbox_inside.zygote")
real_run = zygote._run
def no_fork():
    raise BlockingIOError(11, "refused by the test")
def run(request, *rest):
    if zygote.REQUEST.unpack(request)[2] == 7 * 10**9:
        zygote.os.fork = no_fork
    return real_run(request, *rest)
zygote._run = run
"""


def test_no_process_to_be_had_is_the_machines_fault_and_not_a_programs():
    with sabotaged(NO_FORK_AT_7_S), Sandbox(workers=1, limits=PATIENT) as box:
        for _ in range(2):
            assert box.run(ADD, {"a": 1}).action == {0: 2}  # the second time by a new worker
            with pytest.raises(SandboxUnavailable, match=r"process step .* errno 11, Resource"):
                box.run(ADD, {"a": 1}, limits=Limits(wall_s=7))


ENDS_IN_SET_UP = """
child = importlib.import_module("sandbox_inside.child")
zygote = importlib.import_module("sandbox_inside.zygote")
real_run = zygote._run
def end(*_):
    {end}
def run(request, *rest):
    if zygote.REQUEST.unpack(request)[2] == 7 * 10**8:
        child._limit = end
    return real_run(request, *rest)
zygote._run = run
"""
ENDS = {
    "a bad signal": "child.os.kill(child.os.getpid(), 11)",
    "another exit code": "child.os._exit(1)",
    "no end": "zygote.time.sleep(60)",
}


@pytest.mark.parametrize("end", ENDS)
def test_what_ends_before_it_is_confined_gets_no_status(end):
    with sabotaged(ENDS_IN_SET_UP.format(end=ENDS[end])), Sandbox(workers=1, limits=PATIENT) as box:
        assert box.run(ADD, {"a": 1}).action == {0: 2}
        with pytest.raises(SandboxUnavailable, match="before it was confined"):
            box.run(ADD, {"a": 1}, limits=Limits(wall_s=0.7))


def test_closing_ends_everything_and_may_be_repeated(as_process_1):
    before = len(os.listdir("/proc/self/fd"))
    box = Sandbox(workers=2)
    sessions = [worker.pid for worker in box._workers]
    assert all(len(children(pid)) == 2 for pid in sessions)
    box.close()
    box.close()
    assert not any(children(pid) for pid in sessions)
    with pytest.raises(RuntimeError, match="closed"):
        box.run(ADD, {"a": 1})
    with pytest.raises(RuntimeError, match="closed"):
        box.map([])
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("change", ["", POOR_KERNEL], ids=["every wall", "seccomp alone"])
def test_closing_from_another_thread_ends_a_running_program(as_process_1, change):
    with sabotaged(change):
        box = Sandbox(workers=1, waive=("namespaces", "landlock"))
    session = launcher(box)
    with running(box, "while True: pass", Limits(wall_s=60, cpu_s=60)) as results:
        box.close()
    assert isinstance(results[0], RuntimeError) and "closed" in str(results[0])
    assert not children(session)


def test_closing_ends_what_waits_and_says_why():
    """`amap` is not to look cancelled: its task would be taken for a cancelled one."""
    nap = "import time\ntime.sleep(1)\naction = {}"

    async def closed_meanwhile(box):
        asyncio.get_running_loop().call_later(0.1, box.close)
        with pytest.raises(RuntimeError, match="closed"):
            await box.amap([(nap, {})] * 3)

    box = Sandbox(workers=1, limits=PATIENT)
    waiting: list[BaseException] = []
    thread = threading.Thread(target=lambda: waiting.append(raised_by(box.map, [(nap, {})] * 3)))
    thread.start()
    asyncio.run(closed_meanwhile(box))
    thread.join(30)
    assert isinstance(waiting[0], RuntimeError) and "closed" in str(waiting[0])


def test_a_worker_lost_to_closing_is_not_the_machines_fault(monkeypatch):
    box = Sandbox(workers=1, limits=PATIENT)
    kill_worker(box)

    def closed_meanwhile(*_):
        box.close()
        raise SandboxUnavailable("worker", "died in the self-test")

    monkeypatch.setattr(selftest, "check", closed_meanwhile)  # of the one that replaces it
    with pytest.raises(RuntimeError, match="this sandbox is closed"):
        box.run(ADD, {"a": 1})


def test_a_forgotten_sandbox_ends_with_its_object(as_process_1):
    box = Sandbox(workers=1)
    session = launcher(box)
    del box
    gc.collect()
    assert not children(session)


def test_a_crash_is_kept_from_the_machines_handler_and_memory_is_taken_from_programs(lone):
    """A core limit of 0 does not stop a kernel that pipes cores to a program of root's."""
    with running(lone, NAP.format(2)) as results:
        program = child_of(zygote(lone), launcher(lone))
        nobody = os.stat(f"/proc/{zygote(lone)}/status").st_uid
        # what cannot be dumped belongs to root under /proc, and not to its own user; on a loaded
        # machine the child may be seen between its fork and that
        deadline = time.monotonic() + 1.6
        while os.stat(f"/proc/{program}/status").st_uid == nobody:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert Path(f"/proc/{program}/oom_score_adj").read_text() == "1000\n"
    assert results[0].action == {0: 1}


HOST = """
import os, sys, threading
from llm.sandbox import Limits, Sandbox
box = Sandbox(workers=2, limits=Limits(wall_s=600, cpu_s=600))
for _ in range(2):
    threading.Thread(target=box.run, args=("while True: pass", {}), daemon=True).start()
if sys.argv[1] == "fork" and os.fork() == 0:
    sys.stdin.read()  # a fork of the host that outlives it, with copies of its sockets
    os._exit(0)
print(*[worker.pid for worker in box._workers], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("kind", "end"), [("plain", signal.SIGTERM), ("fork", signal.SIGKILL)])
def test_a_dead_host_leaves_no_process(kind, end):
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    with host:
        sessions = [int(pid) for pid in host.stdout.readline().split()]
        assert len(sessions) == 2
        assert wait_until(lambda: all(len(children(pid)) == 3 for pid in sessions))
        host.send_signal(end)
        assert wait_until(lambda: not any(children(pid) for pid in sessions), 10)
    host.wait()


def test_a_fork_of_the_host_is_refused_and_harms_nothing(lone):
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            try:
                lone.run(ADD, {"a": 1})
            except RuntimeError:
                lone.close()
                code = 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert lone.run(ADD, {"a": 1}).action == {0: 2}


def test_a_sandbox_made_in_a_thread_outlives_the_thread():
    """The kernel's parent-death signal counts the death of the thread that started a process."""
    made: list[Sandbox] = []
    thread = threading.Thread(target=lambda: made.append(Sandbox(workers=1, limits=PATIENT)))
    thread.start()
    thread.join()
    (box,) = made
    with box:
        first = zygote(box)
        time.sleep(0.2)
        assert box.run(ADD, {"a": 1}).action == {0: 2}
        assert zygote(box) == first
