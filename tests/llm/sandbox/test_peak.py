"""How much of the machine a program takes beyond its memory limit."""

import threading
from pathlib import Path

import pytest

from llm.sandbox import Limits

from .conftest import children

LIMITS = Limits(wall_s=60, cpu_s=20, memory_mb=512)
CALLS = """
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
PRIVATE, FIXED, FAILED = 0x22, 0x10, ctypes.c_void_p(-1).value
"""
SPREAD = {
    "one_page_per_gib": """
for gib in range(1, 60_000):
    page = libc.mmap(gib << 30, 4096, 3, PRIVATE | FIXED, -1, 0)
    if page != FAILED: ctypes.memset(page, 1, 1)
""",
    "all_but_one_page_given_back": """
size = 400 << 20
for _ in range(60_000):
    block = libc.mmap(None, size, 3, PRIVATE, -1, 0)
    if block == FAILED: break
    ctypes.memset(block, 1, 1)
    if libc.munmap(block + 4096, size - 4096) != 0: break
    size += 4096 if size < 440 << 20 else 0
""",
    "shrunk_to_one_page": """
libc.mremap.restype = ctypes.c_void_p
libc.mremap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)
size = 400 << 20
for _ in range(60_000):
    block = libc.mmap(None, size, 3, PRIVATE, -1, 0)
    if block == FAILED: break
    ctypes.memset(block, 1, 1)
    if libc.mremap(block, size, 4096, 0) == FAILED: break
""",
}


def page_tables_mib(box) -> float:
    """Page tables of the processes of the only worker [MiB]."""
    (worker,) = box._workers
    total = 0
    for pid in children(worker.pid):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:  # it ended meanwhile
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if "VmPTE" in line)
    return total / 1024


@pytest.mark.parametrize("name", SPREAD)
def test_scattered_pages_cost_no_page_tables(box, name):
    before = page_tables_mib(box)
    code = CALLS + SPREAD[name] + "action = {0: 0}\ntime.sleep(3)"
    results = []
    program = threading.Thread(target=lambda: results.append(box.run(code, {}, limits=LIMITS)))
    program.start()
    peak = 0.0
    while program.is_alive():
        peak = max(peak, page_tables_mib(box) - before)
        program.join(0.1)
    assert results[0].status == "ok", results
    assert peak < 32
