"""Solvers: one file per method, one signature ``solver(key, inst, **options) -> Solution``."""

from lsajax.solvers.solution import Duals, Solution, Status, Trace, status_name

__all__ = ["Duals", "Solution", "Status", "Trace", "status_name"]
