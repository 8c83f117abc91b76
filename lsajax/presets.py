"""The scenarios of the paper's tables, and the settings that vary them."""

from typing import Any

from lsajax.scenario import Scenario


def _triple(num_users: int, num_channels: int, num_active: int) -> Scenario:
    return Scenario(num_users=num_users, num_channels=num_channels, num_active=num_active)


SCALES: dict[str, Scenario] = {
    "I": _triple(1000, 1000, 200),
    "II": _triple(1500, 1500, 300),
    "III": _triple(2000, 2000, 400),
}
"""Scales of the paper's Table V."""

SMALL_SCALES: dict[tuple[int, int, int], Scenario] = {
    triple: _triple(*triple)
    for triple in (
        (5, 5, 1),
        (7, 10, 2),
        (10, 15, 3),
        (15, 20, 4),
        (5, 5, 2),
        (8, 10, 4),
        (12, 15, 6),
        (15, 20, 8),
    )
}
"""Triples (N, M, K) of the paper's Table III."""

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fading": {"fading": True},
    "multipath": {"multipath": True},
    "wideband": {"wideband": True},
    "interference": {"interference": True},
    "poisson": {"poisson": True},
    "fair": {"objective": "fair"},
}
"""Variants of a scenario: `SCALES["I"].replace(**SETTINGS["fading"])`."""
