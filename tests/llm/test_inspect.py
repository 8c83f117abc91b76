"""Families of programs, by how they look and by what they answer."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from llm import inspect
from llm.embedded import corpus
from llm.training import programs

_END = "action = dict(zip(users[i].tolist(), channels[j].tolist()))\n"

WRITTEN = {
    "a LAP under another name": (
        programs.ASSIGN_VALUES,
        "from scipy.optimize import linear_sum_assignment as f\ni, j = f(-values())\n" + _END,
    ),
    "rates written out": (
        programs.ASSIGN_RATES,
        "import scipy.optimize as so\n"
        "R = bandwidth_hz * np.log2(1 + power_w / (noise_w + interference_w))\n"
        "i, j = so.linear_sum_assignment(R, maximize=True)\n" + _END,
    ),
    "a matrix through two names": (
        programs.ASSIGN_VALUES,
        "import scipy.optimize as so\nV = values()\ncost = V.max() - V\n"
        "i, j = so.linear_sum_assignment(cost)\n" + _END,
    ),
    "sorted lists": (
        programs.SORT_BOTH,
        "i = sorted(range(len(users)), key=lambda k: -power_w[k, 0])\n"
        "j = sorted(range(len(channels)), key=lambda k: -bandwidth_hz[k])\n"
        "action = {int(users[a]): int(channels[b]) for a, b in zip(i, j)}\n",
    ),
    "pairs, the best first": (
        programs.GREEDY,
        "worth = rate_bps()\naction, used = {}, set()\n"
        "for i in range(len(users)):\n"
        "    left = [j for j in range(len(channels)) if j not in used]\n"
        "    j = max(left, key=lambda j: worth[i, j])\n"
        "    used.add(j)\n    action[int(users[i])] = int(channels[j])\n",
    ),
    "random by choice": (
        programs.RANDOM,
        "chosen = np.random.choice(channels, len(users), replace=False)\n"
        "action = dict(zip(users.tolist(), chosen.tolist()))\n",
    ),
    "ids in order": (
        programs.FIRST_FIT,
        "action = dict(zip(users.tolist(), channels[:len(users)].tolist()))\n",
    ),
    "no program": (programs.UNKNOWN, "action = \n"),
    "nothing": (programs.UNKNOWN, "print('hello')\n"),
}


@pytest.fixture(scope="module")
def probe(box):
    return inspect.Probe(box)


@pytest.mark.parametrize("name", WRITTEN)
def test_programs_in_other_words(probe, name):
    family, code = WRITTEN[name]
    assert inspect.syntax(code) == family
    assert probe.families([code]) == [family]


@pytest.mark.parametrize("family", programs.PROGRAMS)
def test_plain_programs(probe, family):
    code = programs.PROGRAMS[family]
    assert inspect.syntax(code) == family
    assert probe.families([code]) == [family]


@pytest.mark.parametrize("family", corpus.FAMILIES)
def test_every_style_of_the_corpus(probe, family):
    rng = np.random.default_rng(5)
    codes = [
        corpus.sample_completion(rng, kind, family=family, mistake=None).code
        for kind in corpus.KINDS
        for _ in range(4)
    ]
    assert {inspect.syntax(code) for code in codes} == {family}
    assert set(probe.families(codes)) == {family}


def test_behaviour_goes_before_looks(probe):
    """It is called values, and it is rates."""
    code = (
        "from scipy.optimize import linear_sum_assignment\nvalues = rate_bps\n"
        "i, j = linear_sum_assignment(values(), maximize=True)\n" + _END
    )
    assert probe.families([code]) == [programs.ASSIGN_RATES]


def test_what_nests_is_not_parsed():
    for code in ("x = " + "(" * 150 + ")" * 150, "x = " + "-" * 8000 + "1", "x = 1\n" * 5000):
        assert inspect.syntax(code) == programs.UNKNOWN


def test_greedy_is_told_from_others():
    rng = np.random.default_rng(0)
    for _ in range(20):
        worth = rng.random((6, 8))
        cols, free = np.full(6, -1), np.ones(8, bool)
        for i in rng.permutation(6):
            cols[i] = np.argmax(np.where(free, worth[i], -1))
            free[cols[i]] = False
        assert inspect.is_greedy(worth, cols)
        assert not inspect.is_greedy(-worth, linear_sum_assignment(worth, maximize=True)[1])
