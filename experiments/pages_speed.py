"""The tables of docs/speed.md and docs/solvers.md from what the benchmarks wrote."""

from typing import Any

from experiments.pages_monte_carlo import large

_SIZE = 2000

# Of `benchmarks.assignment`: (kind, problems at once, N), in the order of the table.
_ASSIGNMENTS = [
    ("plain", 1, 1000),
    ("fading", 1, 1000),
    ("wideband", 1, 1000),
    ("both", 1, 1000),
    ("heavy", 1, 1000),
    ("heavy, min", 1, 1000),
    ("log heavy, min", 1, 1000),
    ("integers", 1, 1000),
    ("uniform, min", 1, 1000),
    ("plain", 64, 200),
    ("fading", 64, 200),
    ("wideband", 64, 200),
    ("heavy", 64, 200),
    ("integers", 64, 200),
    ("heavy", 1, 200),
    ("integers", 1, 200),
    ("fading", 256, 20),
    ("wideband", 256, 20),
    ("fading", 1, 20),
]
_SOLVERS = ("sorted matching", "C++ kernel", "lapx", "pure JAX", "optax", "ott, rounded")


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def simulator(record: dict[str, Any]) -> str:
    """Markdown of `benchmarks.simulator` at N = M = K = 2000: ours, NumPy, ratios."""
    rows = {row.get("kind", "repair"): row for row in record["table"] if row["size"] == _SIZE}
    rate = rows["fading"]["throughput"]
    repair = rows["repair"]["repair"]
    cells = [
        (
            f"throughput of a feasible assignment, fading, per realisation of {record['batch']}",
            f"{large(rate['feasible_us'])} µs",
            f"NumPy, matrix form: {large(rate['numpy_us'] / 1e3)} ms",
            rate["feasible_ratio"],
        ),
        (
            "the same with the collision rule of Eq. (13)",
            f"{large(rate['ours_us'])} µs",
            "the same, which has no such rule",
            rate["ratio"],
        ),
        (
            "the same without it",
            f"{large(rate['feasible_us'])} µs",
            f"NumPy, N entries alone: {large(rate['entries_us'])} µs",
            rate["entries_ratio"],
        ),
    ]
    for kind in ("plain", "fading"):
        own = rows[kind]["rate_matrix"]
        beside = f"NumPy: {large(own['numpy_ms'])} ms"
        cells.append((f"rate matrix, {kind}", f"{large(own['ours_ms'])} ms", beside, own["ratio"]))
    beside = f"a dict and a loop: {large(repair['dict_us'])} µs"
    name = "repair, per action of 64"
    cells.append((name, f"{large(repair['ours_us'])} µs", beside, repair["ratio"]))
    table = _markdown(["", "ours", "beside", "ratio"], [[*c[:3], large(c[3])] for c in cells])
    return f"N = M = K = {_SIZE}, medians of {record['runs']} interleaved turns.\n\n{table}"


def rewards(record: dict[str, Any]) -> str:
    """Markdown of `benchmarks.rewards`: a group's rewards beside a loop, by what is kept."""
    (own,) = [group for group in record["groups"] if group["size"] == _SIZE]
    loop = f"a Python loop with a random assignment each: {large(own['loop_ms'])} ms"
    given = f"a Python loop with the baseline given: {large(own['loop_given_ms'])} ms"
    anew = f"{large(own['ours_anew_ms'])} ms"
    rows = [
        ["baselines kept", f"{large(own['ours_ms'])} ms", loop, large(own["ratio"])],
        ["baselines kept", f"{large(own['ours_ms'])} ms", given, large(own["ratio_given"])],
        ["the expected baseline computed anew", anew, loop, large(own["ratio_anew"])],
    ]
    table = _markdown(["", "ours", "beside", "ratio"], rows)
    return f"N = M = K = {_SIZE}, medians of {record['runs']} interleaved turns.\n\n{table}"


def sandbox(record: dict[str, Any]) -> str:
    """Markdown of `benchmarks.sandbox`: milliseconds of a program by what runs it."""
    by_contestant: dict[str, dict[str, float]] = {}
    for row in record["table"]:
        by_contestant.setdefault(row["contestant"], {})[row["workload"]] = row["median_ms"]
    workloads = list(dict.fromkeys(row["workload"] for row in record["table"]))
    turns = {row["workload"]: row["runs"] for row in record["table"]}
    head = ["ms a program", *(f"{name}, {turns[name]} turns" for name in workloads)]
    rows = [
        [name, *(large(own[w]) if w in own else "–" for w in workloads)]
        for name, own in by_contestant.items()
    ]
    return _markdown(head, rows)


def assignment(record: dict[str, Any]) -> str:
    """Markdown of `benchmarks.assignment`: time over a SciPy loop, by kind of matrix and solver."""
    found = {(r["kind"], r["batch"], r["size"], r["method"]): r for r in record["rows"]}
    rows = []
    for kind, batch, size in _ASSIGNMENTS:
        own = [found.get((kind, batch, size, method)) for method in _SOLVERS]
        many = f"{batch} of " if batch > 1 else ""
        ratios = [None if row is None else row["over_scipy"] for row in own]
        cells = ["–" if r is None else large(r) if r >= 99.5 else f"{r:.2g}" for r in ratios]
        turns = found[kind, batch, size, "SciPy loop"]["runs"]
        rows.append([f"{kind}, {many}{size} x {size}", *cells, str(turns)])
    return _markdown(["time over a SciPy loop", *_SOLVERS, "turns"], rows)
