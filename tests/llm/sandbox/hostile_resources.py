"""Programs that never end, and programs that want all the memory."""

from .hostile_case import ASLEEP, BUSY, PATIENT, cases

ENDLESS = cases(
    "timeout",
    BUSY,
    endless_loop="while True: pass",
    endless_loop_that_swallows_every_exception="""
while True:
    try:
        while True: pass
    except BaseException: pass
""",
    endless_loop_that_ignores_every_signal="""
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
    endless_loop_that_handles_the_cpu_signal="""
import signal
signal.signal(signal.SIGXCPU, lambda *_: None)
while True: pass
""",
    endless_loop_with_every_signal_blocked="""
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True: pass
""",
    endless_loop_in_c="""
import collections, itertools
collections.deque(itertools.repeat(0), maxlen=0)
""",
    endless_generator_in_c="import itertools\nany(i < 0 for i in itertools.count())",
    endless_regular_expression="import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
    endless_power="action = {0: (10 ** 10 ** 9) % 7}",
    endless_linear_algebra="""
while True: np.linalg.svd(np.random.rand(200, 200))
""",
    endless_finally="""
import sys
try: sys.exit()
finally:
    while True: pass
""",
    endless_destructor="""
class Undead:
    def __del__(self):
        while True: pass
undead = Undead()
del undead
""",
    endless_exception_text="""
class Endless(Exception):
    def __str__(self):
        while True: pass
raise Endless
""",
    endless_generator_that_does_not_close="""
def stubborn():
    while True:
        try: yield
        except GeneratorExit:
            while True: pass
generator = stubborn()
next(generator)
generator.close()
""",
    endless_trace_function="""
import sys
def trace(*_):
    while True: pass
sys.settrace(trace)
(lambda: None)()
""",
    endless_hash="""
class Slow:
    def __hash__(self):
        while True: pass
action = {Slow(): 1}
""",
    timer_storm="""
import signal
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
while True: pass
""",
    fork_bomb_in_a_loop="""
import os
while True:
    try: os.fork()
    except OSError: pass
""",
    thread_bomb_in_a_loop="""
import threading
while True:
    try: threading.Thread(target=bytes).start()
    except RuntimeError: pass
""",
    write_to_standard_output_for_ever="while True: print('x' * 10_000)",
    memory_errors_swallowed_for_ever="""
hoard = []
while True:
    try: hoard.append(bytearray(64 << 20))
    except MemoryError: pass
""",
) + cases(
    "timeout",
    ASLEEP,
    sleep_for_ever="import time\ntime.sleep(1e6)",
    pause_for_ever="import signal\nwhile True: signal.pause()",
    deadlock_with_itself="""
import threading
lock = threading.Lock()
lock.acquire()
lock.acquire()
""",
    answer_then_sleep="action = {0: 0}\nimport time\ntime.sleep(1e6)",
)

MEMORY = (
    cases(
        "memory",
        PATIENT,
        ten_gigabytes_at_once="action = len(bytearray(10 << 30))",
        doubling_list="hoard = [0]\nwhile True: hoard += hoard",
        doubling_text="hoard = 'x'\nwhile True: hoard += hoard",
        many_small_objects="hoard = []\nwhile True: hoard.append([])",
        growing_dict="hoard = {}\nwhile True: hoard[len(hoard)] = 0.5",
        huge_numpy_array="hoard = np.ones(10 ** 10)",
        hoard_of_numpy_arrays="hoard = []\nwhile True: hoard.append(np.ones(1 << 20))",
        huge_integer="hoard = 1 << 10 ** 11",
        decompression_bomb="""
import zlib
bomb = zlib.compress(bytes(100 << 20), 9)
hoard = [zlib.decompress(bomb) for _ in range(9)]
""",
        ten_million_entries="action = {i: i for i in range(10 ** 7)}",
        outer_product_of_the_data="""
hoard = np.multiply.outer(np.multiply.outer(cost, cost), cost)
""",
    )
    + cases(
        "error",
        PATIENT,
        huge_mapping="""
import mmap
mmap.mmap(-1, 1 << 36, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
""",
        shared_memory_kept_by_a_small_mapping="""
import mmap
hoard = []
for _ in range(24):
    hoard.append(mmap.mmap(-1, 16 << 20))
    hoard[-1].write(bytes(16 << 20))
    hoard[-1].resize(4096)
action = {}
""",
        memory_limit_lifted="""
import resource
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
""",
        memory_limit_read="import resource\nresource.getrlimit(resource.RLIMIT_AS)",
        malloc_until_it_fails="""
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
blocks = 0
while block := libc.malloc(ctypes.c_size_t(16 << 20)):
    ctypes.memset(block, 1, 16 << 20)
    blocks += 1
raise RuntimeError(f"{blocks} blocks")
""",
    )
    + cases(
        "error memory killed",
        PATIENT,
        parser_bomb_of_brackets="(" * 100_000,
        parser_bomb_of_signs="x = " + "-" * 100_000 + "1",
        parser_bomb_of_blocks="\n".join(" " * i + "if 1:" for i in range(2000)),
        recursion="def f(): f()\nf()",
        recursion_in_repr="x = []\nfor _ in range(10 ** 6): x = [x]\nrepr(x)",
    )
)

RECURSION = cases(
    "error memory killed timeout",
    BUSY,  # which limit it meets first depends on the interpreter
    recursion_without_a_limit="import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()",
)
