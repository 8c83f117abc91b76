"""One way to start every command: a dataclass is the command line, a bad input is one line."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from lsajax.runs import provenance
from lsajax.runs.folder import BadRun

Config = TypeVar("Config")
Prepared = TypeVar("Prepared")

RESUMES = "what was computed is on disk, --resume goes on"
_SHOW_CURSOR = "\x1b[?25h"


class Unavailable(RuntimeError):  # noqa: N818 - a state of the machine, a hub or a server
    """What the command needs cannot be had; the message says what, in a line."""


def main(
    config_type: type[Config],
    prepare: Callable[[Config], Prepared],
    run: Callable[[Prepared], None],
    description: str | None,
    *,
    advice: str = RESUMES,
    parse: Callable[[], Config] | None = None,
) -> None:
    """Parses the command line, prepares and runs.

    Call it before anything heavy is imported: `--help` and a wrong option then answer at once. Exit
    codes: 2 with one line for a bad input, 1 with one line where something needed went away during
    the run, 130 with one line on Ctrl-C. Any other error of `run` is ours and keeps its traceback.

    Args:
        config_type: dataclass; fields, defaults and docstring are the options and their help.
        prepare: checks and loads, cheap checks first. A ValueError, OSError or `Unavailable` that
            it raises is a bad input.
        run: does the work. It must leave the disk in order at any moment, as `RunFolder` does:
            Ctrl-C ends the process at once.
        description: first lines of the help.
        advice: what is said after why a run ended early.
        parse: reads the command line, where another library's configurations are part of it; None
            leaves it to tyro. A ValueError that it raises is a bad input.
    """
    _on_interrupt("interrupted")
    import tyro

    busy = provenance.busy()
    try:
        # Here already a value may be refused, by a dataclass that checks itself.
        if parse is None:
            config = tyro.cli(config_type, prog=provenance.program(), description=description)
        else:
            config = parse()
        prepared = prepare(config)
    except (ValueError, OSError, Unavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    if busy:
        print(busy, file=sys.stderr)
    _on_interrupt(f"interrupted; {advice}")
    try:
        run(prepared)
    except (OSError, Unavailable, BadRun) as error:
        print(f"error: {error}; {advice}", file=sys.stderr)
        raise SystemExit(1) from None


def _on_interrupt(message: str) -> None:
    """Makes Ctrl-C print one line and end the process, whatever it is doing.

    A KeyboardInterrupt would be raised inside imports, compilers and finalisers, which answer with
    tracebacks of their own or swallow it.
    """

    def leave(*_: Any) -> None:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        shown = _SHOW_CURSOR if sys.stderr.isatty() else ""
        os.write(2, f"{shown}\n{message}\n".encode())
        os._exit(130)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, leave)
