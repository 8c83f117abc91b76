"""The same program draws the same numbers in any worker and any run."""

import numpy as np  # noqa: F401 -- in GENERATORS
import pytest

from llm.sandbox import Limits, Sandbox

DRAWS = [
    "np.random.default_rng().integers(10**9)",
    "np.random.default_rng(None).permutation(10**6)[0]",
    "(np.random.default_rng().integers(10**6), np.random.default_rng().integers(10**6))[1]",
    "np.random.randint(10**9)",
    "np.random.RandomState().randint(10**9)",
    "np.random.Generator(np.random.PCG64()).integers(10**9)",
    "np.random.SeedSequence().generate_state(1)[0]",
    "(np.random.seed(), np.random.randint(10**9))[1]",
    "__import__('random').randrange(10**9)",
    "__import__('random').Random().randrange(10**9)",
    "__import__('random').SystemRandom().randrange(10**9)",
    "(random := __import__('random'), random.seed(), random.randrange(10**9))[2]",
    "__import__('secrets').randbelow(10**9)",
    "__import__('uuid').uuid4().int % 10**9",
    "int.from_bytes(__import__('os').urandom(6), 'big')",
    "int.from_bytes(__import__('os').getrandom(6), 'big')",
    "__import__('scipy.stats').stats.norm.rvs() * 10**9",
    "__import__('scipy.stats').stats.qmc.Sobol(1).random(1)[0, 0] * 10**9",
]


def test_draws_repeat_in_any_run_and_worker():
    code = "".join(f"\naction[{i}] = int({draw})" for i, draw in enumerate(DRAWS))
    seen = []
    for _ in range(2):
        with Sandbox(workers=1) as box:
            for _ in range(2):
                ran = box.run(f"action = {{}}{code}", {}, limits=Limits(wall_s=30, cpu_s=10))
                assert ran.status == "ok", ran.detail
                seen.append(ran.action)
    assert [draw for i, draw in enumerate(DRAWS) if len({run[i] for run in seen}) > 1] == []
    assert len(set(seen[0].values())) == len(DRAWS)  # and each is another number


GENERATORS = {
    "np.random.default_rng": "integers",
    "np.random.RandomState": "randint",
    "__import__('random').Random": "randrange",
}


@pytest.mark.parametrize("make", GENERATORS)
def test_generators_differ_from_each_other_and_obey_a_seed(box, make):
    code = f"make, draw = {make}, {GENERATORS[make]!r}\n" + (
        "action = {i: int(getattr(make(*seed), draw)(10**9)) for i, seed in enumerate(seeds)}"
    )
    action = box.run(code, {"seeds": [(), (), (5,), (5,)]}).action
    assert len({action[0], action[1], action[2]}) == 3
    assert action[2] == action[3] == int(getattr(eval(make)(5), GENERATORS[make])(10**9))
