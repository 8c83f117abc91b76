"""The one exception that says: this machine cannot hold a stranger's program."""

import contextlib
import errno
import resource
from collections.abc import Iterator


class SandboxUnavailable(RuntimeError):  # noqa: N818 -- a state of the machine
    """A layer of the sandbox is missing or not enforced, or the machine keeps ending programs.

    Raised by `Sandbox(...)` before anything was run; later if a worker cannot be replaced, if
    descriptors or memory for a program cannot be had, or if something outside the sandbox ended
    the same program several times. It is never turned into a status: a broken sandbox must stop
    training, not give a reward of 0.

    Attributes:
        feature: `"seccomp"`, `"landlock"`, `"namespaces"`, `"privileges"`, `"limits"`, `"data"`,
            `"process"`, `"pidfd"`, `"linux"`, `"descriptors"` or `"worker"`.
        reason: what the kernel or the worker said.
    """

    def __init__(self, feature: str, reason: str):
        super().__init__(f"{feature}: {reason}")
        self.feature, self.reason = feature, reason


@contextlib.contextmanager
def unavailable(feature: str) -> Iterator[None]:
    """Turn an OSError of the block into SandboxUnavailable, with what helps against it."""
    try:
        yield
    except OSError as error:
        hint = ""
        if error.errno == errno.EMFILE:
            allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            hint = f"; `ulimit -n` is {allowed}: raise it, or close packed instances"
        raise SandboxUnavailable(feature, f"{error}{hint}") from error
