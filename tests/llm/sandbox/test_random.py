"""The same program draws the same numbers in any worker and any run."""

import pytest

from llm.sandbox import Sandbox

DRAWS = [
    "np.random.default_rng().integers(10**9)",
    "np.random.default_rng(None).permutation(10**6)[0]",
    "(np.random.default_rng().integers(10**6), np.random.default_rng().integers(10**6))[1]",
    "np.random.randint(10**9)",
    "__import__('random').randrange(10**9)",
]


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_repeat(draw):
    seen = set()
    for _ in range(2):
        with Sandbox(workers=1) as box:
            for _ in range(2):
                ran = box.run(f"action = {{0: int({draw})}}", {})
                assert ran.status == "ok", ran.detail
                seen.add(ran.action[0])
    assert len(seen) == 1


def test_generators_differ_from_each_other_and_obey_a_seed():
    code = (
        "a, b = np.random.default_rng(), np.random.default_rng()\n"
        "action = {0: int(a.integers(10**9)), 1: int(b.integers(10**9)),\n"
        "          2: int(np.random.default_rng(5).integers(10**9))}"
    )
    with Sandbox(workers=1) as box:
        action = box.run(code, {}).action
    assert action[0] != action[1]
    import numpy as np

    assert action[2] == int(np.random.default_rng(5).integers(10**9))
