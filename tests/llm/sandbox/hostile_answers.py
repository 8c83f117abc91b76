"""Programs that attack their own runner, the answer, or the next program."""

from .hostile_case import cases

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
    cases(
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
    )
    + cases(
        "ok",
        action={7: 7},
        # as good as `action = {7: 7}`, and checked in the same way
        forged_frame_then_exit=_FORGE + "everywhere(answer(7, 7))\nos._exit(71)",
    )
    + cases(
        "output",
        pipe_filled_with_junk=_FORGE
        + "for _ in range(40): everywhere(bytes(1 << 16))\naction = {0: 0}",
        exit_code_of_too_much_output="import os\nos._exit(73)",
        answer_of_a_million_entries="action = dict.fromkeys(range(10 ** 6), 0)",
        answer_one_entry_too_long="action = dict.fromkeys(range((1 << 14) + 1), 0)",
    )
    + cases("memory", exit_code_of_too_much_memory="import os\nos._exit(72)")
    + cases(
        "error",
        early_exit="action = {0: 0}\nimport os\nos._exit(0)",
        exit_code_of_failed_confinement="import os\nos._exit(80)",
        exit_code_of_failed_seccomp="import os\nos._exit(84)",
        system_exit="action = {0: 0}\nraise SystemExit(0)",
        keyboard_interrupt="raise KeyboardInterrupt",
        generator_exit="raise GeneratorExit",
        timeout_error="raise TimeoutError('timeout')",
        exception_text_of_100_megabytes="raise ValueError('x' * (100 << 20))",
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
    + cases(
        "invalid killed",  # glibc aborts where it cannot close a range
        every_descriptor_closed="import os\nos.closerange(0, 4096)\naction = {0: 0}",
    )
    + cases(
        "killed",
        segmentation_fault="import ctypes\nctypes.string_at(0)",
        abort="import os\nos.abort()",
    )
)

_RUNNER = "import sys\nchild = sys.modules['sandbox_inside.child']\n"
RUNNER = (
    cases(
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
    + cases(
        "ok",
        action={7: 7},
        # it may rewrite its own runner: what comes out is still only an answer
        patched_runner=_RUNNER
        + "import sandbox_inside.answer as a\nreal = a.encode_action\n"
        + "child.encode_action = lambda action: real({7: 7})\naction = {0: 0}",
    )
    + cases(
        "invalid",
        patched_len="import builtins\nbuiltins.len = lambda _: 10 ** 9\naction = {0: 0}",
        patched_frame=_RUNNER + "child.encode_action = lambda action: b'lsa1' * 9\naction = {0: 0}",
        patched_write="import os\nos.write = lambda *_: 25\naction = {0: 0}",
    )
    + cases(
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
ANSWERS = cases(
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
    time_difference_value="action = {0: np.timedelta64(1, 's')}",
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
) + cases(
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

STATE = cases(
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
