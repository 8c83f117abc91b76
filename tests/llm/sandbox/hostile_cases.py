"""All hostile programs."""

from .hostile_answers import ANSWERS, FORGERIES, RUNNER, STATE
from .hostile_outward import FILES, NETWORK, PROCESSES
from .hostile_resources import ENDLESS, MEMORY, RECURSION

OUTWARD = [*PROCESSES, *FILES, *NETWORK]  # what several walls hold back, each by itself
CASES = [*OUTWARD, *ENDLESS, *MEMORY, *RECURSION, *FORGERIES, *RUNNER, *ANSWERS, *STATE]
