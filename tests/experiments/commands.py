"""A command in this process: a start of its own takes seconds for imports alone."""

import signal
import sys

import pytest

from lsajax.runs import cli


def refused(module, arguments, folder):
    """Exit code of what `python -m MODULE ARGUMENTS` refuses in a folder."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", [module.__name__, *arguments])
        try:
            with pytest.raises(SystemExit) as ended:
                cli.main(module.Config, module.prepare, module.run, module.__doc__)
        finally:
            signal.signal(signal.SIGINT, before)
    return ended.value.code
