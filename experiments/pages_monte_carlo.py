"""The tables of docs/clusters.md from what `benchmarks.monte_carlo`, and `…_costs`, wrote."""

from typing import Any

_NAMES = {
    "given": "given assignment",
    "repair": "random answer, repaired",
    "optimum": "exact optimum",
}


def large(number: float) -> str:
    """Three digits, and all of those before the point, in groups."""
    return f"{number:,.0f}".replace(",", " ") if number >= 100 else f"{number:.3g}"


def engines(record: dict[str, Any]) -> str:
    """Markdown: realisations per second by setting, size and where they are computed."""
    names = list(record["table"][0]["per_s"])
    head = ["realisations/s", "K", *names, "one device over NumPy loop"]
    head.append("two processes over multiprocessing")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in record["table"]:
        cells = [_named(row), str(row["users"])]
        cells += [large(row["per_s"][name]) for name in names]
        cells.append(large(row["ratio"]))
        cells.append(large(row["per_s"]["two processes"] / row["per_s"]["multiprocessing"]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def weak_scaling(record: dict[str, Any]) -> str:
    """Markdown: time of one task on a CPU over that of two tasks on two."""
    names = list(record["weak"][0]["share"])
    lines = [f"| weak scaling | K | {' | '.join(names)} |", f"|{'---|' * (2 + len(names))}"]
    for row in record["weak"]:
        cells = [f"{100 * row['share'][name]:.0f} %" for name in names]
        lines.append(f"| {_named(row)} | {row['users']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _named(row: dict[str, Any]) -> str:
    return f"{_NAMES[row['what']]}, {row['setting']}"


def _range(rows: list[dict[str, Any]], name: str) -> str:
    values = [row[name] for row in rows]
    return f"{large(min(values))} to {large(max(values))}"


def costs(record: dict[str, Any]) -> str:
    """Markdown: the floor, and 10^9 realisations on paper."""
    given = [row for row in record["table"] if row["what"] == "given"]
    per_core = {
        row["what"]: row["per_s"]["two processes"] / 2
        for row in record["table"]
        if row["setting"] == "fading" and row["users"] == 400
    }
    core_hours = {what: 1e9 / rate / 3600 for what, rate in per_core.items()}
    return (
        f"- **The floor** of a given assignment: with networks drawn beforehand it is "
        f"{_range(given, 'gather_per_s')} realisations a second, one copy of their bytes "
        f"{_range(given, 'copy_per_s')}. Drawn anew they take {_range(given, 'over_gather')} times "
        f"as long as the first and {_range(given, 'over_copy')} times as long as the second.\n"
        f"- **On paper**: 10^9 realisations with the exact optimum (N = M = 2000, K = 400, "
        f"fading) at {per_core['optimum']:.0f} a second and core are "
        f"{large(core_hours['optimum'])} core hours: on 100 nodes of 64 cores "
        f"{core_hours['optimum'] / 6400:.1f} hours, were 64 cores of a node 32 times these two. "
        f"Parts would have 16 384 realisations each, {16384 / per_core['optimum'] / 60:.1f} "
        f"minutes of a core, which is what a kill costs; "
        f"{large(-(-(10**9) // 16384))} files of some kB. With repair they are "
        f"{large(core_hours['repair'])} core hours, with a given assignment "
        f"{large(core_hours['given'])}.\n"
    )


def overhead(record: dict[str, Any]) -> str:
    """Markdown: what summaries, parts and memory cost."""
    extra, memory = record["overhead"], record["memory"]
    summaries, files = (
        f"{middle:+.1f} % (quartiles {low:+.1f} and {high:+.1f})"
        for low, middle, high in (extra["summaries_percent"], extra["files_percent"])
    )
    (first, early), (_, late) = memory["mib"][0], memory["mib"][-1]
    return (
        f"- **A study in memory**, with summaries and sketches, costs {summaries} beside bare "
        f"chunks of a given assignment, the cheapest measure there is; with parts on disk of "
        f"{extra['part_s']:.1f} s each it is {files} in all, over {extra['turns']} interleaved "
        f"turns. Of that the summary with its sketch, timed alone, is "
        f"{1e6 * extra['summary_s']:.0f} µs of a chunk's {1e3 * extra['chunk_s']:.1f} ms, "
        f"{100 * extra['summary_s'] / extra['chunk_s']:.1f} %; writing a part takes "
        f"{1e3 * extra['file_s']:.1f} ms, and a part has some 20 s.\n"
        f"- **Memory** of a study (N = M = 32, with a sketch): {early:.0f} MiB after "
        f"{large(first)} realisations, {late:.0f} MiB after {large(memory['realizations'])}; "
        f"peak {memory['peak_mib']:.0f} MiB.\n"
    )
