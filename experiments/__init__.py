"""Studies that reproduce the tables and figures: Config -> cells -> rows -> table and figure.

A study is one file: `Config`, `cells`, `table`, `figure`, and a constant `TIME` by which
`python -m experiments` finds it. Such a file imports nothing heavy at its top, so that options are
checked before PyTorch, pandas and Matplotlib are loaded, and before JAX compiles.
"""

import os
import signal
import sys


def _leave(*_: object) -> None:
    os.write(2, b"\ninterrupted\n")
    os._exit(130)


# Started as `python -m experiments.STUDY`: JAX, imported next, swallows an interrupt or crashes on
# it. `lsajax.runs.cli` takes over from here.
if sys.argv[:1] == ["-m"]:
    signal.signal(signal.SIGINT, _leave)
