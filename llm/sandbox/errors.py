"""The one exception that says: this machine cannot hold a stranger's program."""


class SandboxUnavailable(RuntimeError):  # noqa: N818 -- a state of the machine
    """A layer of the sandbox is missing, or present but not enforced.

    Raised by ``Sandbox(...)`` before anything was run, and later only if a worker cannot be
    replaced. It is never turned into a status: a broken sandbox must stop training, not pay 0.

    Attributes:
        feature: ``"seccomp"``, ``"landlock"``, ``"namespaces"``, ``"privileges"``, ``"limits"``,
            ``"data"``, ``"process"``, ``"pidfd"``, ``"linux"`` or ``"worker"``.
        reason: what the kernel said, in a line.
    """

    def __init__(self, feature: str, reason: str):
        super().__init__(f"{feature}: {reason}")
        self.feature, self.reason = feature, reason
