"""One way to start every experiment: a dataclass is the command line, a bad input is one line."""

import pathlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

from experiments.results import BadRun
from llm.models import ModelUnavailable
from llm.sandbox import SandboxUnavailable

Options = TypeVar("Options")
BAD_INPUT = (ValueError, BadRun, ModelUnavailable, SandboxUnavailable)


def main(
    options_type: type[Options],
    prepare: Callable[[Options], Any],
    run: Callable[[Any], None],
    description: str,
) -> None:
    """Parses the command line, prepares and runs.

    What `prepare` raises of `BAD_INPUT` is the user's to mend: one line on stderr and exit code 2,
    before any long work. An error in `run` is ours and keeps its traceback. Ctrl-C exits with 130
    and what was computed is on disk.
    """
    # Run as a module, argv[0] is the file's whole path.
    prog = f"python -m experiments.{pathlib.Path(sys.argv[0]).stem}"
    options = tyro.cli(options_type, prog=prog, description=description)
    try:
        prepared = prepare(options)
    except BAD_INPUT as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    try:
        run(prepared)
    except (ModelUnavailable, SandboxUnavailable) as error:
        message = f"error: {error}; what was computed is on disk, --resume goes on"
        print(message, file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted; what was computed is on disk, --resume goes on", file=sys.stderr)
        raise SystemExit(130) from None
