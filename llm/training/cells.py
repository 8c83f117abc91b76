"""What decides which program is right: setting, objective, size, time budget."""

from typing import Any, NamedTuple

import lsajax as lsa

OBJECTIVES: dict[str, dict[str, Any]] = {
    "throughput": {},
    "priorities": {"weight_max": 10.0},
    "fair": {"objective": "fair"},
    "coupled": {"objective": "coupled"},
}
"""What may be asked for, as changes of a scenario; `priorities` are weights from 1 to 10."""


class Cell(NamedTuple):
    """What a prompt is about, but for the instance itself.

    Attributes:
        setting: key of `lsajax.SETTINGS`, what rates depend on.
        objective: key of `OBJECTIVES`.
        size: "users,channels,requests", or the paper's "I", "II", "III".
        time_budget_s: that the prompt states, and to which programs are held [s].
    """

    setting: str = "plain"
    objective: str = "throughput"
    size: str = "III"
    time_budget_s: float = 1.0

    @property
    def scenario(self) -> lsa.Scenario:
        """What its instances are drawn from.

        Raises:
            ValueError: a name that is not known, or sizes that do not fit together.
        """
        for name, value, known in (
            ("setting", self.setting, lsa.SETTINGS),
            ("objective", self.objective, OBJECTIVES),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        base = lsa.SCALES.get(self.size)
        if base is None:
            try:
                N, M, K = map(int, self.size.split(","))
            except ValueError:
                names = ", ".join(lsa.SCALES)
                raise ValueError(
                    f"size must be {names} or users,channels,requests, got {self.size!r}"
                ) from None
            base = lsa.Scenario(num_users=N, num_channels=M, num_active=K)
        return base.replace(**{**lsa.SETTINGS[self.setting], **OBJECTIVES[self.objective]})
