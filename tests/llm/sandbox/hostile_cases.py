"""What a stranger's program may try: a name, the program, the statuses that it may end with.

`port` (a loopback port on which the test listens), `canary` (the path of a file that must not
change), `loot` (the path of a file that must not appear), `host` (the test's process id) and
`cost` (an array that the next program uses too) are bound as data.
"""

from dataclasses import dataclass

from llm.sandbox import Limits

DEFAULT = Limits(wall_s=10, cpu_s=0.3, memory_mb=256)
ASLEEP = Limits(wall_s=0.3, cpu_s=0.3, memory_mb=256)
PATIENT = Limits(wall_s=20, cpu_s=5, memory_mb=256)  # the memory limit is to be met first


@dataclass(frozen=True)
class Case:
    name: str
    code: str
    statuses: frozenset[str]
    limits: Limits = DEFAULT
    action: dict | None = None  # what an "ok" may answer


def _cases(statuses: str, limits: Limits = DEFAULT, action: dict | None = None, **programs: str):
    return [
        Case(name, code.strip(), frozenset(statuses.split()), limits, action)
        for name, code in programs.items()
    ]


ENDLESS = _cases(
    "timeout",
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
) + _cases(
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
    _cases(
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
    + _cases(
        "error",
        PATIENT,
        huge_mapping="import mmap\nmmap.mmap(-1, 1 << 36)",
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
    + _cases(
        "error memory killed",
        PATIENT,
        parser_bomb_of_brackets="(" * 100_000,
        parser_bomb_of_signs="x = " + "-" * 100_000 + "1",
        parser_bomb_of_blocks="\n".join(" " * i + "if 1:" for i in range(2000)),
        recursion="def f(): f()\nf()",
        recursion_in_repr="x = []\nfor _ in range(10 ** 6): x = [x]\nrepr(x)",
    )
)

RECURSION = _cases(
    "error memory killed timeout",  # which limit it meets first depends on the interpreter
    recursion_without_a_limit="import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): f()\nf()",
)

PROCESSES = _cases(
    "error",
    fork="import os\nos.fork()",
    forkpty="import os\nos.forkpty()",
    thread="import threading\nthreading.Thread(target=print).start()",
    thread_without_a_module="import _thread\n_thread.start_new_thread(print, ())",
    thread_pool="""
from concurrent.futures import ThreadPoolExecutor
ThreadPoolExecutor(4).submit(print).result()
""",
    process_pool="import multiprocessing\nmultiprocessing.Pool(2).map(abs, [1])",
    spawned_process="""
import multiprocessing
multiprocessing.get_context('spawn').Process(target=print).start()
""",
    subprocess="import subprocess\nsubprocess.run(['touch', loot])",
    subprocess_with_a_shell="import subprocess\nsubprocess.run(f'touch {loot}', shell=True)",
    posix_spawn="import os\nos.posix_spawn('/bin/touch', ['touch', loot], {})",
    exec_of_another_program="import os\nos.execv('/bin/touch', ['touch', loot])",
    exec_of_the_interpreter="""
import os, sys
os.execv(sys.executable, [sys.executable, '-c', f'open({loot!r}, "w")'])
""",
    signal_to_the_host="import os, signal\nos.kill(host, signal.SIGKILL)",
    signal_to_the_zygote="import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    signal_to_everybody="import os, signal\nos.kill(-1, signal.SIGCONT)",
    signal_to_the_group="import os, signal\nos.killpg(0, signal.SIGKILL)",
    signal_through_a_pidfd="import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(host), 9)",
    session_of_its_own="import os\nos.setsid()",
    niceness="import os\nos.nice(-20)",
    other_cpus="import os\nos.sched_setaffinity(0, range(2))",
    become_root="import os\nos.setuid(0)",
    shell_command="""
import os
if os.system(f'touch {loot}') != 0: raise OSError('no shell')
""",
)

FILES = _cases(
    "error",
    read_the_passwords="open('/etc/passwd').read()",
    read_its_own_environment="open('/proc/self/environ').read()",
    read_the_environment_of_the_host="open(f'/proc/{host}/environ').read()",
    read_the_memory_of_the_host="open(f'/proc/{host}/mem', 'rb').read(1)",
    read_the_memory_of_the_zygote="import os\nopen(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    read_its_own_memory="open('/proc/self/mem', 'rb').read(1)",
    read_the_canary="open(canary).read()",
    read_its_own_module="import inspect\nopen(inspect.__file__).read()",
    write_a_file="open(loot, 'w').write('here')",
    append_to_the_canary="open(canary, 'a').write('here')",
    write_with_pathlib="import pathlib\npathlib.Path(loot).write_text('here')",
    write_with_numpy="np.save(loot, cost)",
    write_through_c="""
import ctypes
if not ctypes.CDLL(None).fopen(loot.encode(), b'w'): raise OSError('no file')
""",
    memory_map_a_file="np.memmap(loot, mode='w+', shape=10)",
    temporary_file="import tempfile\ntempfile.TemporaryFile()",
    shared_memory="""
from multiprocessing import shared_memory
shared_memory.SharedMemory('loot', create=True, size=100)
""",
    memory_file="import os\nos.memfd_create('loot')",
    make_a_directory="import os\nos.mkdir(loot)",
    make_a_fifo="import os\nos.mkfifo(loot)",
    make_a_device="import os, stat\nos.mknod(loot, stat.S_IFCHR | 0o666, os.makedev(1, 3))",
    make_a_symbolic_link="import os\nos.symlink('/etc', loot)",
    make_a_hard_link="import os\nos.link(canary, loot)",
    remove_the_canary="import os\nos.remove(canary)",
    rename_the_canary="import os\nos.rename(canary, loot)",
    truncate_the_canary="import os\nos.truncate(canary, 0)",
    open_the_canary_to_all="import os\nos.chmod(canary, 0o777)",
    touch_the_canary="import os\nos.utime(canary, (0, 0))",
    remove_the_tree="import os, shutil\nshutil.rmtree(os.path.dirname(canary))",
    list_the_root="import os\nos.listdir('/')",
    scan_the_processes="import os\nlist(os.scandir('/proc'))",
    size_of_a_file="import os\nos.stat(canary)",
    name_of_the_interpreter="import os\nos.readlink('/proc/self/exe')",
    working_directory="import os\nos.getcwd()",
    change_directory="import os\nos.chdir('/tmp')",
    open_a_terminal="import os\nos.openpty()",
    name_of_the_machine="import os\nos.uname()",
    import_from_the_disk="import sqlite3",
    import_from_a_path="import sys\nsys.path.insert(0, '/tmp')\nimport loot",
    import_of_jax="import jax",
) + _cases(
    "ok",
    action={0: 0, 1: 0},
    search_for_files="""
import glob, os
action = {0: len(glob.glob('/*')), 1: int(os.path.exists('/etc'))}
""",
    search_the_environment="""
import ctypes, os
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
action = {0: len(os.environ), 1: int(libc.getenv(b'LSA_TEST_SECRET') is not None)}
""",
)

NETWORK = _cases(
    "error",
    tcp_to_loopback="import socket\nsocket.create_connection(('127.0.0.1', port), 1)",
    udp_to_loopback="""
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'loot', ('127.0.0.1', port))
""",
    dns_query_to_loopback="""
import socket
query = bytes.fromhex('000101000001000000000000046c6f6f740000010001')
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(query, ('127.0.0.1', port))
""",
    dns_lookup="import socket\nsocket.gethostbyname('localhost')",
    http_to_loopback="""
import urllib.request
urllib.request.urlopen(f'http://127.0.0.1:{port}/', timeout=1)
""",
    ipv6_socket="import socket\nsocket.socket(socket.AF_INET6)",
    raw_socket="import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    packet_socket="import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    netlink_socket="import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    kernel_crypto_socket="import socket\nsocket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
    unix_socket="import socket\nsocket.socket(socket.AF_UNIX).connect('\\0loot')",
    pair_of_sockets="import socket\nsocket.socketpair()",
    server="import socket\nsocket.create_server(('127.0.0.1', 0))",
    event_loop="import asyncio\nasyncio.new_event_loop()",
)

_FORGE = """
import os, struct
def frame(kind, count, body=b''): return struct.pack('<4sBI', b'lsa1', kind, count) + body
def answer(*numbers): return frame(0, len(numbers) // 2, struct.pack(f'<{len(numbers)}q', *numbers))
def everywhere(data):
    for descriptor in range(3, 256):
        try: os.write(descriptor, data)
        except OSError: pass
"""
FORGERIES = (
    _cases(
        "invalid",
        forged_junk=_FORGE + "everywhere(b'junk')\naction = {0: 0}",
        forged_json=_FORGE
        + """everywhere(b'{"status": "ok", "action": {"0": 0}}')\nos._exit(71)""",
        forged_pickle=_FORGE
        + "everywhere(b'cos\\nsystem\\n(S\"touch ' + loot.encode() + b'\"\\ntR.')\nos._exit(71)",
        forged_frame_before_the_real_one=_FORGE + "everywhere(answer(7, 7))\naction = {0: 0}",
        forged_frame_twice=_FORGE
        + "everywhere(answer(7, 7))\neverywhere(answer(7, 7))\nos._exit(71)",
        forged_count=_FORGE + "everywhere(frame(0, 10 ** 9, bytes(16)))\nos._exit(71)",
        forged_count_of_everything=_FORGE + "everywhere(frame(0, 2 ** 32 - 1))\nos._exit(71)",
        forged_duplicate_keys=_FORGE + "everywhere(answer(7, 7, 1, 2))\nos._exit(71)",
        forged_kind=_FORGE + "everywhere(frame(99, 0))\nos._exit(71)",
        forged_half_a_header=_FORGE + "everywhere(b'lsa1')\nos._exit(71)",
        forged_reply_of_the_zygote=_FORGE
        + "everywhere(struct.pack('<BiQQ', 0, 71, 0, 0))\naction = {0: 0}",
        forged_text_too_long=_FORGE + "everywhere(frame(1, 9999, b'x' * 9999))\nos._exit(71)",
        exit_code_of_the_runner="import os\nos._exit(71)",
        every_descriptor_closed="import os\nos.closerange(0, 4096)\naction = {0: 0}",
    )
    + _cases(
        "ok",
        action={7: 7},
        # as good as `action = {7: 7}`, and checked in the same way
        forged_frame_then_exit=_FORGE + "everywhere(answer(7, 7))\nos._exit(71)",
    )
    + _cases(
        "output",
        pipe_filled_with_junk=_FORGE
        + "for _ in range(40): everywhere(bytes(1 << 16))\naction = {0: 0}",
        patched_len="import builtins\nbuiltins.len = lambda _: 10 ** 9\naction = {0: 0}",
        exit_code_of_too_much_output="import os\nos._exit(73)",
        answer_of_a_million_entries="action = dict.fromkeys(range(10 ** 6), 0)",
        answer_one_entry_too_long="action = dict.fromkeys(range((1 << 16) + 1), 0)",
    )
    + _cases("memory", exit_code_of_too_much_memory="import os\nos._exit(72)")
    + _cases(
        "error",
        early_exit="action = {0: 0}\nimport os\nos._exit(0)",
        exit_code_of_failed_confinement="import os\nos._exit(80)",
        exit_code_of_failed_seccomp="import os\nos._exit(84)",
        system_exit="action = {0: 0}\nraise SystemExit(0)",
        keyboard_interrupt="raise KeyboardInterrupt",
        generator_exit="raise GeneratorExit",
        timeout_error="raise TimeoutError('timeout')",
        exception_text_of_a_gigabyte="raise ValueError('x' * (100 << 20))",
        exception_text_with_control_codes="raise ValueError('\\x1b[2J\\n\\r\\0status: ok')",
        exception_text_that_raises="""
class Mute(Exception):
    def __str__(self): raise SystemExit
raise Mute
""",
        exception_name_that_raises="""
class Meta(type):
    __name__ = property(lambda self: 1 / 0)
class Nameless(Exception, metaclass=Meta): pass
raise Nameless
""",
        read_every_descriptor="""
import os
for descriptor in range(3, 256):
    try: os.read(descriptor, 1)
    except OSError: continue
    raise RuntimeError(f'descriptor {descriptor} can be read')
raise ValueError('none')
""",
        copy_a_descriptor="import os\nos.dup(1)",
        grow_the_pipe="import fcntl\nfcntl.fcntl(3, 1031, 1 << 20)",
        ask_for_input="input()",
    )
    + _cases(
        "killed",
        segmentation_fault="import ctypes\nctypes.string_at(0)",
        abort="import os\nos.abort()",
    )
)

_RUNNER = "import sys\nchild = sys.modules['sandbox_inside.child']\n"
RUNNER = (
    _cases(
        "ok",
        action={0: 0},
        patched_json="import json\njson.dumps = json.loads = lambda *_: {7: 7}\naction = {0: 0}",
        patched_struct="import struct\nstruct.pack = struct.unpack = None\naction = {0: 0}",
        patched_exit="import os\nos._exit = print\naction = {0: 0}",
        patched_exception="import builtins\nbuiltins.BaseException = int\naction = {0: 0}",
        patched_stdout="import sys\nsys.stdout = sys.stderr = None\naction = {0: 0}",
        endless_atexit="""
import atexit
def stay():
    while True: pass
atexit.register(stay)
action = {0: 0}
""",
        endless_destructor_at_exit="""
class Undead:
    def __del__(self):
        while True: pass
undead = Undead()
action = {0: 0}
""",
        print_a_lot="for _ in range(1000): print('x' * 10_000)\naction = {0: 0}",
    )
    + _cases(
        "ok",
        action={7: 7},
        # it may rewrite its own runner: what comes out is still only an answer
        patched_runner=_RUNNER
        + "import sandbox_inside.answer as a\nreal = a.encode_action\n"
        + "child.encode_action = lambda action: real({7: 7})\naction = {0: 0}",
    )
    + _cases(
        "invalid",
        patched_frame=_RUNNER + "child.encode_action = lambda action: b'lsa1' * 9\naction = {0: 0}",
        patched_write="import os\nos.write = lambda *_: 25\naction = {0: 0}",
    )
    + _cases(
        "error invalid killed",
        runner_found_in_the_frames="""
import sys
frame = sys._getframe()
while frame: frame.f_globals.clear() ; frame = frame.f_back
""",
        runner_found_by_the_collector="""
import gc
for thing in gc.get_objects():
    if type(thing).__name__ in ('Walls', 'Job'):
        object.__setattr__(thing, 'answer' if hasattr(thing, 'answer') else 'ruleset', 1)
raise ValueError
""",
        types_broken_through_ctypes="""
import ctypes
ctypes.memset(id(int), 0, 128)
action = {0: 0}
""",
    )
)

_EVIL = """
class Evil{base}:
    def __index__(self): return 7
    def __int__(self): return 7
    def __hash__(self): return 0
    def __eq__(self, other): return {equal}
"""
ANSWERS = _cases(
    "invalid",
    no_answer="pass",
    answer_none="action = None",
    answer_list="action = [(0, 0)]",
    answer_array="action = np.zeros(3, int)",
    answer_proxy="import types\naction = types.MappingProxyType({0: 0})",
    bool_key="action = {True: 0}",
    bool_value="action = {0: True}",
    numpy_bool_value="action = {0: np.True_}",
    float_key="action = {0.0: 0}",
    float_value="action = {0: 1.0}",
    numpy_float_value="action = {0: np.float64(1)}",
    nan_key="action = {float('nan'): 0}",
    nan_value="action = {0: float('nan')}",
    infinite_value="action = {0: float('inf')}",
    complex_value="action = {0: 1 + 0j}",
    text_key="action = {'0': 0}",
    text_value="action = {0: '0'}",
    bytes_value="action = {0: b'0'}",
    none_value="action = {0: None}",
    nested_value="action = {0: {0: 0}}",
    tuple_key="action = {(0, 0): 0}",
    array_value="action = {0: np.array(0)}",
    time_difference_value="action = {0: np.timedelta64(1)}",
    fraction_value="import fractions\naction = {0: fractions.Fraction(1)}",
    decimal_value="import decimal\naction = {0: decimal.Decimal(1)}",
    integer_of_5000_digits="action = {0: 10 ** 5000}",
    key_of_5000_digits="action = {10 ** 5000: 0}",
    integer_just_too_large="action = {0: 2 ** 63}",
    integer_just_too_small="action = {0: -2 ** 63 - 1}",
    numpy_integer_too_large="action = {0: np.uint64(2 ** 63)}",
    subclass_of_int="class Int(int): pass\naction = {0: Int(1)}",
    enumeration="import enum\naction = {0: enum.IntEnum('E', 'a').a}",
    evil_index=_EVIL.format(base="", equal="True") + "action = {0: Evil()}",
    evil_key=_EVIL.format(base="", equal="False") + "action = {Evil(): 0, Evil(): 1}",
    evil_subclass_of_int=_EVIL.format(base="(int)", equal="False")
    + "action = {Evil(1): 0, Evil(1): 1}",
    answer_that_contains_itself="action = {}\naction[0] = action",
) + _cases(
    "ok",
    action={0: 0},
    evil_dict="""
class Liar(dict):
    def items(self): return [(7, 7)] * 10 ** 9
    def __len__(self): return 10 ** 9
    def __iter__(self): raise SystemExit
action = Liar({0: 0})
""",
)

STATE = _cases(
    "ok",
    action={0: 0},
    data_tampered_with="cost[:] = -1\naction = {0: 0}",
    data_tampered_with_through_c="""
import ctypes
ctypes.memset(cost.ctypes.data, 255, cost.nbytes)
action = {0: 0}
""",
    random_seed_left="import random\nrandom.seed(0)\nnp.random.seed(0)\naction = {0: 0}",
    random_state_replaced="np.random.rand = lambda *_: 0.5\naction = {0: 0}",
    numpy_patched="np.sort = np.argmin = np.sum = lambda *_: 7\naction = {0: 0}",
    scipy_patched="""
import scipy.optimize
scipy.optimize.linear_sum_assignment = lambda *_: ([], [])
action = {0: 0}
""",
    builtins_patched="import builtins\nbuiltins.sum = builtins.max = builtins.len\naction = {0: 0}",
    modules_emptied="import sys\nsys.modules.clear()\naction = {0: 0}",
    environment_left="import os\nos.environ['LEFT'] = '1'\naction = {0: 0}",
    module_left="""
import sys, types
sys.modules['left'] = types.ModuleType('left')
action = {0: 0}
""",
    errors_made_fatal="""
import warnings
warnings.simplefilter('error')
np.seterr(all='raise')
action = {0: 0}
""",
    collector_disabled="import gc\ngc.disable()\naction = {0: 0}",
    small_integer_changed="""
import ctypes
ctypes.c_long.from_address(id(200) + 24).value = 201
action = {0: 0}
""",
)

OUTWARD = [*PROCESSES, *FILES, *NETWORK]  # what several walls hold back, each by itself
INWARD = [*ENDLESS, *MEMORY, *RECURSION, *FORGERIES, *RUNNER, *ANSWERS, *STATE]
CASES = [*OUTWARD, *INWARD]
