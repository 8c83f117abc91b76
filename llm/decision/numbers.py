"""Numbers of a slot as a prompt has them: dBm, MHz and dB, users and channels best first."""

from collections.abc import Iterable

import numpy as np

from llm.decision.slot import HostSlot

_MIN_POWER_W = 1e-30


class Numbers:
    """A slot in the prompt's units, users and channels with their orders."""

    def __init__(self, slot: HostSlot):
        self.slot = slot
        self.power_dbm = _dbm(_per(slot.mean_power_w, 1))
        self.bandwidth_mhz = slot.bandwidth_hz / 1e6
        self.by_power = np.argsort(-self.power_dbm, kind="stable")
        self.by_width = np.argsort(-self.bandwidth_mhz, kind="stable")
        self.carrier_db = None if slot.carrier_gain is None else 10 * np.log10(slot.carrier_gain)
        # The coupling of users is a function of where they are, unless it is given.
        self.shows_positions = slot.objective == "coupled" and slot.coupling is None
        self.interference_w = None
        if slot.interference_w is not None:
            self.interference_w = _per(slot.interference_w, 0)

    def user(self, place: int) -> str:
        text = f"{self.slot.users[place]}: {self.power_dbm[place]:.1f}"
        if self.shows_positions:
            text += " at {:.0f} {:.0f}".format(*self.slot.position_m[place])
        if self.slot.weight is not None:
            text += f" weight {self.slot.weight[place]:.2f}"
        if self.slot.min_rate_bps is not None:
            text += f" needs {self.slot.min_rate_bps[place] / 1e6:g}"
        return text

    def channel(self, place: int) -> str:
        text = f"{self.slot.channels[place]}: {self.bandwidth_mhz[place]:.2f}"
        if self.interference_w is not None and self.interference_w[place] > 0:
            text += f" I {_dbm(self.interference_w[place]):.1f}"
        if self.carrier_db is not None:
            text += f" G {self.carrier_db[place]:+.1f}"
        return text

    def rows(self, count: int) -> str:
        """The best users and channels with their numbers."""
        users, channels = self.by_power[:count], self.by_width[:count]
        of_user = "id: dBm at x y in m" if self.shows_positions else "id: dBm"
        return (
            f"Idle channels, widest first (id: MHz): {_join(map(self.channel, channels))}\n"
            f"Users, strongest first ({of_user}): {_join(map(self.user, users))}\n"
        )

    def ids(self, count: int) -> str:
        """Ids alone, best first: without them no mapping can be written down.

        Pairing them in this order is a feasible answer, so of each side the same number is shown.
        """
        users = " ".join(str(self.slot.users[i]) for i in self.by_power[:count])
        channels = " ".join(str(self.slot.channels[j]) for j in self.by_width[:count])
        return (
            f"Users, strongest first ({count} of {len(self.slot.users)}): {users}\n"
            f"Idle channels, widest first ({count} of {len(self.slot.channels)}): {channels}\n"
        )

    def statistics(self) -> list[str]:
        """Lines; what changes least from slot to slot comes first."""
        lines = [
            f"Bandwidth in MHz: {_statistics(self.bandwidth_mhz)}",
            f"Received power in dBm: {_statistics(self.power_dbm)}",
        ]
        if self.carrier_db is not None:
            lines.append(f"Carrier gain in dB: {_statistics(self.carrier_db)}")
        if self.interference_w is not None:
            hit = self.interference_w[self.interference_w > 0]
            lines.append(f"Interfered idle channels: {hit.size}, in dBm {_statistics(_dbm(hit))}")
        return [line + "\n" for line in lines]

    def noise(self) -> str:
        """The line of N_0."""
        return f"Noise: {10 * np.log10(self.slot.noise_psd_w_hz) + 30:.1f} dBm/Hz\n"

    def gains(self) -> str:
        """Power of every pair, with its fading."""
        return self._pairs("Power", self.slot.power_w())

    def interference(self) -> str:
        """Interference of every pair, where it differs between users."""
        assert self.slot.interference_w is not None
        return self._pairs("Interference", self.slot.interference_w)

    def _pairs(self, what: str, values_w: np.ndarray) -> str:
        rows = (
            f"{user}: {' '.join(f'{p:.1f}' for p in _dbm(row))}\n"
            for user, row in zip(self.slot.users, values_w, strict=True)
        )
        channels = _join(map(str, self.slot.channels))
        return f"{what} in dBm of each user on channels {channels}:\n" + "".join(rows)

    def coupling(self) -> str:
        """One's own G and rho, where they are given."""
        slot = self.slot
        return _matrix("G of each user with users", slot.users, slot.coupling) + _matrix(
            "rho of each channel with channels", slot.channels, slot.leakage
        )


def _matrix(title: str, ids: np.ndarray, matrix: np.ndarray | None) -> str:
    if matrix is None:
        return ""
    rows = (
        f"{i}: {' '.join(f'{x:.2g}' for x in row)}\n" for i, row in zip(ids, matrix, strict=True)
    )
    return f"{title} {_join(map(str, ids))}:\n" + "".join(rows)


def _per(values: np.ndarray, mean_over: int) -> np.ndarray:
    """Values of users or channels, those of pairs by their mean."""
    if values.ndim < 2:
        return values
    return values.mean(axis=mean_over) if values.size else np.zeros(values.shape[1 - mean_over])


def _dbm(power_w: np.ndarray | float) -> np.ndarray:
    return 10 * np.log10(np.maximum(power_w, _MIN_POWER_W)) + 30


def _statistics(values: np.ndarray) -> str:
    if values.size == 0:
        return "none"
    spread = f"mean {values.mean():.1f}, std {values.std():.1f}"
    return f"{values.min():.1f} to {values.max():.1f}, {spread}"


def _join(parts: Iterable[str]) -> str:
    return ", ".join(parts) or "none"
