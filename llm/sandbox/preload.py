"""What a program can import: all of it is loaded before the walls go up.

After that no file can be opened, so a module that is not here cannot be imported any more. SciPy
imports much lazily; calling the functions once is what finds those modules in every release.
"""

import codecs
import importlib
import warnings

STANDARD = """
    abc argparse array ast asyncio atexit base64 bisect builtins calendar cmath collections
    collections.abc concurrent.futures contextlib copy copyreg csv ctypes dataclasses datetime
    decimal enum fractions functools gc glob graphlib hashlib heapq inspect io itertools json
    linecache logging math multiprocessing multiprocessing.pool numbers operator os pathlib pickle
    platform pprint queue random re resource sched secrets select shutil signal socket statistics
    string struct subprocess sys tempfile textwrap threading time timeit traceback types typing
    unicodedata urllib.request uuid warnings weakref zlib
"""
SCIENTIFIC = """
    numpy numpy.fft numpy.linalg numpy.ma numpy.polynomial numpy.random
    scipy scipy.cluster.hierarchy scipy.fft scipy.integrate scipy.interpolate scipy.linalg
    scipy.ndimage scipy.optimize scipy.signal scipy.sparse scipy.sparse.csgraph
    scipy.sparse.linalg scipy.spatial scipy.spatial.distance scipy.special scipy.stats
"""
ENCODINGS = ("ascii", "latin-1", "idna", "unicode_escape", "raw_unicode_escape", "utf-16", "utf-32")


def load() -> None:
    """Import everything named here. Raises ImportError if NumPy or SciPy lacks a module."""
    for name in (STANDARD + SCIENTIFIC).split():
        importlib.import_module(name)
    for name in ENCODINGS:
        codecs.lookup(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _warm_up()


def _warm_up() -> None:
    import numpy as np
    from scipy import optimize, sparse, stats

    cost = np.eye(2)
    bounds = [(0.0, 1.0)] * 2

    def bowl(x):
        return float(np.dot(x, x))

    optimize.linear_sum_assignment(cost)
    optimize.linprog([1.0, 1.0], bounds=bounds)
    optimize.milp([1.0, 1.0], integrality=[1, 1], bounds=optimize.Bounds(0, 1))
    optimize.quadratic_assignment(cost, cost)
    optimize.quadratic_assignment(cost, cost, method="2opt")
    for method in ("Nelder-Mead", "Powell", "L-BFGS-B", "SLSQP", "COBYLA", "COBYQA"):
        optimize.minimize(bowl, [0.5, 0.5], method=method, bounds=bounds, options={"maxiter": 5})
    optimize.minimize(
        bowl,
        [0.5, 0.5],
        method="trust-constr",
        constraints=optimize.LinearConstraint(np.ones((1, 2)), 0, 1),
        options={"maxiter": 2},
    )
    optimize.differential_evolution(bowl, bounds, maxiter=1, popsize=2)
    optimize.dual_annealing(bowl, bounds, maxiter=2)
    optimize.basinhopping(bowl, [0.5, 0.5], niter=1)
    optimize.shgo(bowl, bounds, iters=1)
    optimize.direct(bowl, bounds, maxiter=2)
    optimize.root(lambda x: x, [0.5])
    graph = sparse.csr_array(cost)
    sparse.csgraph.maximum_bipartite_matching(graph)
    sparse.csgraph.min_weight_full_bipartite_matching(graph)
    stats.spearmanr([1, 2, 3], [1, 3, 2])
    stats.qmc.Sobol(2).random(2)
