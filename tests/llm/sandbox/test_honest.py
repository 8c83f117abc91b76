"""What a good program may do: everything that NumPy, SciPy and the standard library compute."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from llm.sandbox import Limits

ROOMY = Limits(wall_s=60, cpu_s=20, memory_mb=512, output_bytes=1 << 20)
RNG = np.random.default_rng(1)
COST = RNG.random((40, 40))
OPTIMUM = COST[linear_sum_assignment(COST)].sum()

ASSIGNMENTS = {
    "linear_sum_assignment": """
from scipy.optimize import linear_sum_assignment
action = dict(zip(*linear_sum_assignment(cost)))
""",
    "milp": """
from scipy.optimize import Bounds, LinearConstraint, milp
n = len(cost)
rows = np.kron(np.eye(n), np.ones(n))
columns = np.kron(np.ones(n), np.eye(n))
result = milp(cost.ravel(), integrality=np.ones(n * n), bounds=Bounds(0, 1),
              constraints=LinearConstraint(np.vstack([rows, columns]), 1, 1))
action = dict(zip(*np.nonzero(result.x.reshape(n, n) > 0.5)))
""",
    "linprog": """
from scipy.optimize import linprog
n = len(cost)
equations = np.vstack([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
result = linprog(cost.ravel(), A_eq=equations, b_eq=np.ones(2 * n), bounds=(0, 1))
action = dict(zip(*np.nonzero(result.x.reshape(n, n) > 0.5)))
""",
    "linprog_dual_simplex": """
from scipy.optimize import linprog
n = len(cost)
equations = np.vstack([np.kron(np.eye(n), np.ones(n)), np.kron(np.ones(n), np.eye(n))])
result = linprog(cost.ravel(), A_eq=equations, b_eq=np.ones(2 * n), method="highs-ds")
action = dict(zip(*np.nonzero(result.x.reshape(n, n) > 0.5)))
""",
    "sparse_graph_matching": """
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
action = dict(zip(*min_weight_full_bipartite_matching(csr_array(cost))))
""",
}


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_exact_assignment(box, name):
    execution = box.run(ASSIGNMENTS[name], {"cost": COST}, limits=ROOMY)
    assert execution.status == "ok", execution
    assert sorted(execution.action) == sorted(execution.action.values()) == list(range(len(COST)))
    value = sum(COST[user, channel] for user, channel in execution.action.items())
    assert value == pytest.approx(OPTIMUM)


# name: (program, answer)
PROGRAMS = {
    "differential_evolution": (
        """
from scipy.optimize import differential_evolution
best = differential_evolution(lambda x: ((x - 0.25) ** 2).sum(), [(0, 1)] * 2, seed=1)
action = {i: round(100 * v) for i, v in enumerate(best.x)}
""",
        {0: 25, 1: 25},
    ),
    "dual_annealing": (
        """
from scipy.optimize import dual_annealing
best = dual_annealing(lambda x: ((x - 0.5) ** 2).sum(), [(0, 1)] * 2, maxiter=20, seed=1)
action = {0: round(10 * best.x[0])}
""",
        {0: 5},
    ),
    "shgo": (
        """
from scipy.optimize import shgo
action = {0: round(10 * shgo(lambda x: (x[0] - 0.5) ** 2, [(0, 1)]).x[0])}
""",
        {0: 5},
    ),
    "minimize_by_every_method": (
        """
from scipy.optimize import minimize
methods = ["Nelder-Mead", "Powell", "CG", "BFGS", "L-BFGS-B", "TNC", "COBYLA", "COBYQA", "SLSQP",
           "trust-constr"]
bowl = lambda x: (x[0] - 1) ** 2 + (x[1] - 2) ** 2
action = {i: round(minimize(bowl, [0.5, 0.5], method=m).x.sum()) for i, m in enumerate(methods)}
""",
        dict.fromkeys(range(10), 3),
    ),
    "quadratic_assignment": (
        """
from scipy.optimize import quadratic_assignment
path = np.diag(np.ones(3), 1)
action = {0: round(quadratic_assignment(path, path, options={"maximize": True}).fun)}
""",
        {0: 3},
    ),
    "sparse_graphs": (
        """
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra, maximum_bipartite_matching
graph = csr_array(np.array([[0, 1, 0], [0, 0, 2], [0, 0, 0]]))
action = {0: connected_components(graph)[0], 1: int(dijkstra(graph)[0, 2]),
          2: int((maximum_bipartite_matching(graph) >= 0).sum())}
""",
        {0: 1, 1: 3, 2: 2},
    ),
    "stats": (
        """
from scipy import stats
action = {0: round(1000 * stats.norm.cdf(1)), 1: int(stats.rankdata([3, 1, 2])[0]),
          2: round(stats.linregress([0, 1, 2], [1, 3, 5]).slope)}
""",
        {0: 841, 1: 3, 2: 2},
    ),
    "linear_algebra": (
        """
from scipy import linalg
action = {0: round(np.linalg.det(np.eye(3) * 2)), 1: round(linalg.expm(np.zeros((2, 2))).sum()),
          2: np.linalg.matrix_rank(np.ones((4, 4)))}
""",
        {0: 8, 1: 2, 2: 1},
    ),
    "spatial": (
        """
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
points = np.arange(10.0)[:, None]
action = {0: KDTree(points).query([3.2])[1], 1: int(cdist(points, points).max())}
""",
        {0: 3, 1: 9},
    ),
    "interpolation_and_integration": (
        """
from scipy.integrate import quad
from scipy.interpolate import interp1d
action = {0: round(3 * quad(lambda x: x * x, 0, 1)[0]), 1: int(interp1d([0, 2], [0, 4])(1))}
""",
        {0: 1, 1: 2},
    ),
    "greedy_with_the_standard_library": (
        """
import heapq, itertools, math
from collections import Counter, defaultdict, deque
from functools import lru_cache, reduce
@lru_cache(None)
def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
heap = [(-v, i) for i, v in enumerate([3, 9, 5])]
heapq.heapify(heap)
action = defaultdict(int, {0: heapq.heappop(heap)[1], 1: fibonacci(50),
                           2: math.prod(itertools.chain([2], deque([3]))),
                           3: Counter("aab")["a"], 4: reduce(int.__add__, range(5))})
""",
        {0: 1, 1: 12586269025, 2: 6, 3: 2, 4: 10},
    ),
    "dataclasses_and_types": (
        """
from __future__ import annotations
from dataclasses import dataclass
from typing import NamedTuple
import enum
@dataclass(order=True)
class User:
    rate: float
    id: int
class Pair(NamedTuple):
    a: int
    b: int
class Color(enum.Enum):
    RED = 1
action = {max(User(1.0, 4), User(2.0, 5)).id: Pair(1, 2).b}
""",
        {5: 2},
    ),
    "main_guard_and_print": (
        """
def main():
    global action
    print("assigning", flush=True)
    action = {1: 1}
if __name__ == "__main__":
    main()
""",
        {1: 1},
    ),
    "numpy_integers": (
        """
types = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64, np.intp]
action = {t(i): t(i + 1) for i, t in enumerate(types)}
""",
        {i: i + 1 for i in range(9)},
    ),
    "extreme_integers": (
        "action = {-2**63: 2**63 - 1, 2**63 - 1: -2**63}",
        {-(2**63): 2**63 - 1, 2**63 - 1: -(2**63)},
    ),
    "empty_answer": ("action = {}", {}),
    "largest_answer": ("action = {i: i for i in range(16_384)}", {i: i for i in range(16_384)}),
    "random_numbers": (
        """
import random
random.seed(3)
rng = np.random.default_rng(3)
action = {random.randrange(10): int(rng.integers(10)), 50: int(np.random.default_rng().random())}
""",
        {3: 8, 50: 0},
    ),
    "logarithm_of_a_matrix": (
        """
from scipy.linalg import fractional_matrix_power, logm
action = {0: round(logm(np.eye(3) * np.e).trace()),
          1: round(fractional_matrix_power(np.eye(2) * 9, 0.5).sum())}
""",
        {0: 3, 1: 6},
    ),
    "dates_from_text": (
        """
import time
from datetime import datetime
action = {0: datetime.strptime("2026-11-24", "%Y-%m-%d").day,
          1: time.strptime("24 Nov", "%d %b").tm_mon}
""",
        {0: 24, 1: 11},
    ),
    "files_in_memory": (
        """
import io
from scipy import io as files
buffer = io.BytesIO()
files.savemat(buffer, {"a": np.arange(3)})
buffer.seek(0)
text = io.StringIO()
np.savetxt(text, np.eye(2))
market = io.BytesIO()
files.mmwrite(market, np.eye(2))
market.seek(0)
action = {0: int(files.loadmat(buffer)["a"].sum()), 1: len(text.getvalue().splitlines()),
          2: int(files.mmread(market).sum())}
""",
        {0: 3, 1: 2, 2: 2},
    ),
    "executors_are_imported_though_not_used": (
        """
import concurrent.futures
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
action = {0: 0}
""",
        {0: 0},
    ),
    "locks_and_queues_of_one_thread": (
        """
import queue, threading
lock = threading.Lock()
with lock: action = {0: int(lock.acquire(timeout=0.01))}
try: queue.Queue().get(timeout=0.01)
except queue.Empty: action[1] = 1
condition = threading.Condition()
with condition: action[2] = int(condition.wait(0.01))
""",
        {0: 0, 1: 1, 2: 0},
    ),
    "every_clock": (
        """
import time
names = ["monotonic", "perf_counter", "process_time", "thread_time", "time"]
action = {i: int(getattr(time, name)() >= 0 and time.get_clock_info(name).resolution > 0)
          for i, name in enumerate(names)}
for clock in (time.CLOCK_BOOTTIME, time.CLOCK_TAI, time.CLOCK_MONOTONIC_RAW):
    action[100 + clock] = int(time.clock_gettime(clock) > 0)
""",
        {**dict.fromkeys(range(5), 1), 107: 1, 111: 1, 104: 1},
    ),
    "memory_given_back_and_taken_again": (
        """
rng = np.random.default_rng(0)
blocks = {}
for i in range(3000):
    blocks[i % 20] = np.ones(int(rng.integers(1, 1 << 21)))
    growing = bytearray(1 << 17)
    for _ in range(4): growing += bytes(growing)
action = {0: len(blocks)}
""",
        {0: 20},
    ),
    "sleep_a_little": ("import time\ntime.sleep(0.01)\naction = {0: 0}", {0: 0}),
    "own_timer": (
        """
import signal
class Late(Exception): pass
def late(*_): raise Late
signal.signal(signal.SIGALRM, late)
action = {0: 0}
try:
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    while True: pass
except Late: action[1] = 1
""",
        {0: 0, 1: 1},
    ),
    "caught_exceptions": (
        """
try: open("/etc/hostname")
except OSError: action = {0: 1}
try: import pandas
except ImportError: action[1] = 1
""",
        {0: 1, 1: 1},
    ),
    "text_outside_ascii": ("nutzer_für_kanal = {'ä': 1}\naction = {len('日本'): 1}", {2: 1}),
    "logging_and_json": (
        """
import json, logging, re
logging.warning("here")
action = {int(k): v for k, v in json.loads('{"1": 2}').items()}
action[int(re.search(r"\\d+", "user 17").group())] = 3
""",
        {1: 2, 17: 3},
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(box, name):
    code, answer = PROGRAMS[name]
    execution = box.run(code, {}, limits=ROOMY)
    assert (execution.status, execution.action) == ("ok", answer), execution


def test_assignment_of_2000_users(box):
    cost = np.random.default_rng(0).random((2000, 2000))
    execution = box.run(ASSIGNMENTS["linear_sum_assignment"], {"cost": cost}, limits=ROOMY)
    assert execution.status == "ok", execution
    assert execution.action == dict(enumerate(linear_sum_assignment(cost)[1].tolist()))
