"""Run a stranger's program, on Linux, in milliseconds, without trusting it.

    with Sandbox(workers=2) as box:
        box.run("action = {0: int(rates.argmax())}", {"rates": rates}).action

The host's side: `pool` (the public object), `worker` (one zygote), `request` (one program on its
way), `selftest`, `packing` (data in), `answer` (the answer back), `limits`, `errors`. The inside:
`zygote` (walled in once), `child` (one program), `preload` (what can be imported). The walls:
`namespaces`, `privileges`, `landlock`, `seccomp`, on `syscalls`, `addresses` and `kernel`. Both
sides share `protocol` (what crosses between them) and `waiting` (time limits).
"""

from .answer import Execution
from .errors import SandboxUnavailable
from .limits import Limits
from .packing import Packed
from .pool import Sandbox

__all__ = ["Execution", "Limits", "Packed", "Sandbox", "SandboxUnavailable"]
