"""Numbers as the report writes them."""

import math


def number(value: float, digits: int = 4) -> str:
    """Digits that count, and all of those before the point, thousands apart; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value + 0.0:.{digits}g}"


def interval(value: float, half: float) -> str:
    """`value ± half`, or the value alone; no more digits than the interval leaves."""
    if half is None or not math.isfinite(half) or not math.isfinite(value):
        return number(value)
    if max(abs(value), half) < 5e-5:
        return "0"
    if half == 0 or max(abs(value), half) >= 1000:
        return f"{number(value)} ± {number(half, 1 if half >= 1 else 2)}"
    places = max(0, 1 - math.floor(math.log10(half)))
    places = min(places, 4)
    return f"{round(value, places) + 0.0:.{places}f} ± {half:.{places}f}"
