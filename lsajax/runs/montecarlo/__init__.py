"""Monte Carlo studies on disk: parts that any process may compute, and three ways to run them."""

from lsajax.runs.montecarlo.driver import run, status
from lsajax.runs.montecarlo.engines import default_workers, engine
from lsajax.runs.montecarlo.record import Job

__all__ = ["Job", "default_workers", "engine", "run", "status"]
