"""Large-scale spectrum access as pure JAX functions of arrays; everything jits and vmaps."""

from importlib import metadata

from lsajax import env, hashing, montecarlo, scheduling, solvers, traffic, units
from lsajax.checks import check_instance
from lsajax.coupling import coupling_loss
from lsajax.fading import Fading, Multipath
from lsajax.instance import OBJECTIVES, Instance
from lsajax.link import (
    assigned_power,
    assigned_rate,
    channel_power,
    rate_matrix,
    received_power,
    shannon_rate,
)
from lsajax.measured import check_assignment, make_instance
from lsajax.objective import (
    Violations,
    discounted_utility,
    fair_utility,
    jain_index,
    objective_value,
    throughput,
    user_rates,
    value_matrix,
    violations,
)
from lsajax.presets import SCALES, SETTINGS, SMALL_SCALES
from lsajax.repair import repair
from lsajax.reward import (
    expected_random_value,
    performance_gain,
    sampled_random_value,
)
from lsajax.sampling import sample_instance, slot_instance
from lsajax.scenario import Scenario

try:
    __version__ = metadata.version("lsajax")
except metadata.PackageNotFoundError:  # a checkout on the path that was never installed
    __version__ = "0+unknown"

__all__ = [
    "OBJECTIVES",
    "SCALES",
    "SETTINGS",
    "SMALL_SCALES",
    "Fading",
    "Instance",
    "Multipath",
    "Scenario",
    "Violations",
    "__version__",
    "assigned_power",
    "assigned_rate",
    "channel_power",
    "check_assignment",
    "check_instance",
    "coupling_loss",
    "discounted_utility",
    "env",
    "expected_random_value",
    "fair_utility",
    "hashing",
    "jain_index",
    "make_instance",
    "montecarlo",
    "objective_value",
    "performance_gain",
    "rate_matrix",
    "received_power",
    "repair",
    "sample_instance",
    "sampled_random_value",
    "scheduling",
    "shannon_rate",
    "slot_instance",
    "solvers",
    "throughput",
    "traffic",
    "units",
    "user_rates",
    "value_matrix",
    "violations",
]
