"""Large-scale spectrum access as pure JAX functions of arrays; everything jits and vmaps."""

from lsajax import solvers, traffic
from lsajax.instance import Instance, check_assignment, check_instance, make_instance
from lsajax.link import (
    assigned_power,
    assigned_rate,
    channel_power,
    rate_matrix,
    received_power,
    shannon_rate,
)
from lsajax.objective import (
    Violations,
    alpha_fair_utility,
    coupled_objective,
    coupling_loss,
    discounted_utility,
    jain_index,
    throughput,
    user_rates,
    violations,
)
from lsajax.presets import SCALES, SETTINGS, SMALL_SCALES
from lsajax.repair import repair
from lsajax.reward import (
    expected_random_throughput,
    performance_gain,
    sampled_random_throughput,
)
from lsajax.sampling import sample_instance, slot_instance
from lsajax.scenario import Scenario

__version__: str

__all__ = [
    "SCALES",
    "SETTINGS",
    "SMALL_SCALES",
    "Instance",
    "Scenario",
    "Violations",
    "__version__",
    "alpha_fair_utility",
    "assigned_power",
    "assigned_rate",
    "channel_power",
    "check_assignment",
    "check_instance",
    "coupled_objective",
    "coupling_loss",
    "discounted_utility",
    "expected_random_throughput",
    "jain_index",
    "make_instance",
    "performance_gain",
    "rate_matrix",
    "received_power",
    "repair",
    "sample_instance",
    "sampled_random_throughput",
    "shannon_rate",
    "slot_instance",
    "solvers",
    "throughput",
    "traffic",
    "user_rates",
    "violations",
]
