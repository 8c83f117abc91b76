"""A study as a program of its own, whose processes can be killed; prints a digest of its result.

python -m tests.lsajax.runs.study_program '{"out": "FOLDER", "workers": 2}'
"""

import hashlib
import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import lsajax as lsa
from lsajax import montecarlo
from lsajax.runs.montecarlo import driver

SCENARIO = lsa.Scenario(num_users=12, num_channels=12, num_active=8, fading=True)
CHUNK = 16
REALIZATIONS = 1000  # the last chunk is not full


def measure(key, inst):
    assignment = lsa.solvers.random(key, inst).assignment
    rate = lsa.user_rates(inst, assignment) / 1e6
    return {"sum": jnp.sum(rate), "rate": rate}


def slow(key, inst):
    """The same and 0.1 s of work a chunk, so that there is a time at which to be killed."""
    found = measure(key, inst)
    spun = jax.lax.fori_loop(0, 3_000_000, lambda _, x: jnp.cos(x), found["sum"])
    return {**found, "spun": spun}


def digest(summaries):
    """Of all bits of a result."""
    content = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(summaries))
    return hashlib.sha256(content).hexdigest()


def run(*, of=measure, realizations=REALIZATIONS, **options):
    options = {"chunk": CHUNK, "sketch": True, **options}
    return montecarlo.study(jax.random.key(7), SCENARIO, of, realizations, **options)


def main(*, process=None, port=None, of="measure", part_s=None, **options):
    if part_s is not None:
        driver.PART_S = part_s
    if process is not None:
        jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=process)
    start = time.monotonic()
    found = run(of={"measure": measure, "slow": slow}[of], **options)
    result = None if found is None else digest(found.summaries)
    print(
        json.dumps({"digest": result, "devices": jax.device_count(), "s": time.monotonic() - start})
    )


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
