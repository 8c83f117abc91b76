"""What a program can import: all of it is loaded before the walls go up.

After that no file can be opened, so a module that is not here cannot be imported any more. SciPy
imports much lazily; calling the functions once is what finds those modules in every release.
"""

import codecs
import contextlib
import importlib
import warnings

STANDARD = """
    _strptime abc argparse array ast asyncio atexit base64 bisect builtins bz2 calendar cmath
    collections collections.abc concurrent.futures concurrent.futures.process
    concurrent.futures.thread contextlib copy copyreg cProfile csv ctypes dataclasses datetime
    decimal difflib doctest enum faulthandler fractions functools gc getopt glob graphlib gzip
    hashlib heapq inspect io itertools json linecache locale logging lzma math multiprocessing
    multiprocessing.pool multiprocessing.synchronize numbers operator optparse os pathlib pickle
    platform pprint pstats queue random re resource sched secrets select shlex shutil signal
    socket statistics string struct subprocess sys tempfile textwrap threading time timeit
    tomllib trace traceback tracemalloc types typing unicodedata unittest urllib.request uuid
    warnings weakref zipfile zlib zoneinfo
"""
SCIENTIFIC = """
    numpy numpy.fft numpy.lib.recfunctions numpy.linalg numpy.ma numpy.matlib numpy.polynomial
    numpy.random
    scipy scipy.cluster.hierarchy scipy.cluster.vq scipy.constants scipy.fft scipy.fftpack
    scipy.integrate scipy.interpolate scipy.io scipy.linalg scipy.ndimage scipy.optimize
    scipy.signal scipy.sparse scipy.sparse.csgraph scipy.sparse.linalg scipy.spatial
    scipy.spatial.distance scipy.spatial.transform scipy.special scipy.stats scipy.stats.mstats
    scipy.stats.qmc scipy.stats.sampling
"""
# not in every release of SciPy that we support
PERHAPS = """
    scipy.differentiate scipy.io._fast_matrix_market._fmm_core scipy.odr scipy.optimize.elementwise
"""
ENCODINGS = ("ascii", "latin-1", "idna", "unicode_escape", "raw_unicode_escape", "utf-16", "utf-32")


def load() -> None:
    """Import everything named here. Raises ImportError if NumPy or SciPy lacks a module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in (STANDARD + SCIENTIFIC).split():
            importlib.import_module(name)
        for name in PERHAPS.split():
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        _warm_up()
    for name in ENCODINGS:
        codecs.lookup(name)


def _warm_up() -> None:
    import numpy as np
    from scipy import io, linalg, optimize, sparse, stats

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
    with contextlib.suppress(AttributeError):
        io._fast_matrix_market.PARALLELISM = 1  # in place of threads, which a program cannot have
    linalg.logm(cost)
    graph = sparse.csr_array(cost)
    graph.tobsr()
    sparse.csgraph.maximum_bipartite_matching(graph)
    sparse.csgraph.min_weight_full_bipartite_matching(graph)
    stats.spearmanr([1, 2, 3], [1, 3, 2])
    stats.qmc.Sobol(2).random(2)
