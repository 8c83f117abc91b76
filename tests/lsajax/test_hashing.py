"""Statistics of the hashed draws; each test has a false-alarm rate of 1e-4, at fixed keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lsajax import hashing

P_MIN = 1e-4
KEYS = [0, 1, 2, 12345]


def matrix(draw, key, rows=300, columns=400):
    seed = hashing.seeds(jax.random.key(key), 1)[0]
    return np.asarray(draw(seed, jnp.arange(rows)[:, None], jnp.arange(columns)))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    ("draw", "law"),
    [
        (hashing.uniform, stats.uniform),
        (hashing.exponential, stats.expon),
        (hashing.normal, stats.norm),
    ],
)
def test_distribution(draw, law, key):
    assert stats.kstest(matrix(draw, key).ravel(), law.cdf).pvalue > P_MIN
    one_axis = draw(hashing.seeds(jax.random.key(key), 1)[0], jnp.arange(50_000))
    assert stats.kstest(np.asarray(one_axis), law.cdf).pvalue > P_MIN


@pytest.mark.parametrize("key", KEYS)
def test_neighbours_are_independent(key):
    u = matrix(hashing.uniform, key)
    for a, b in ((u[1:], u[:-1]), (u[:, 1:], u[:, :-1]), (u[1:, 1:], u[:-1, :-1])):
        cells, _, _ = np.histogram2d(a.ravel(), b.ravel(), bins=16, range=[[0, 1]] * 2)
        assert stats.chisquare(cells.ravel()).pvalue > P_MIN


@pytest.mark.parametrize("key", KEYS)
def test_no_interaction_between_rows_and_columns(key):
    """A sum of mixed row and column words would show in 2 x 2 blocks; the finaliser hides it."""
    u = matrix(hashing.uniform, key) - 0.5
    contrast = (u[0::2, 0::2] - u[0::2, 1::2] - u[1::2, 0::2] + u[1::2, 1::2]).ravel()
    # Variance of a sum of four independent uniforms: 4 / 12. Kurtosis shows dependence as well.
    z = (contrast.var() - 1 / 3) / (contrast.var() * np.sqrt(2 / contrast.size))
    assert abs(z) < stats.norm.isf(P_MIN / 2)
    assert stats.kstest((u.mean(axis=1)) * np.sqrt(12 * u.shape[1]), "norm").pvalue > P_MIN
    assert stats.kstest((u.mean(axis=0)) * np.sqrt(12 * u.shape[0]), "norm").pvalue > P_MIN


def test_every_bit_is_balanced():
    words = matrix(hashing.bits, 3).ravel()
    ones = np.array([(words >> b & 1).sum() for b in range(32)])
    z = (ones - words.size / 2) / np.sqrt(words.size / 4)
    assert np.abs(z).max() < stats.norm.isf(P_MIN / 2 / 32)


def test_keys_give_different_streams():
    a, b = matrix(hashing.uniform, 0), matrix(hashing.uniform, 1)
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < stats.norm.isf(P_MIN / 2) / np.sqrt(
        a.size
    )


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_any_key_implementation(impl):
    assert hashing.seeds(jax.random.key(0, impl=impl), 3).shape == (3, 2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_both_ends_of_the_words_stay_inside(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        words = jnp.array([0, 1, 2**31, 2**32 - 1], jnp.uint32)
        unit = np.asarray(hashing._to_unit(words, jnp.dtype(dtype)), np.float64)
    assert 0 < unit[0] < 1e-6 and 1 - 1e-6 < unit[3] < 1
    assert unit[0] + unit[3] == 1


def test_open_interval_in_both_precisions():
    seed = hashing.seeds(jax.random.key(0), 1)[0]
    with jax.enable_x64(True):
        wide = hashing.uniform(seed, jnp.arange(100_000))
        assert wide.dtype == jnp.float64 and wide.min() > 0 and wide.max() < 1
    narrow = hashing.uniform(seed, jnp.arange(100_000))
    assert narrow.dtype == jnp.float32 and narrow.min() > 0 and narrow.max() < 1
    np.testing.assert_allclose(narrow, wide, atol=2**-23)


SPECIAL = [(0, 0), (7, 7), (7, 0), (0, 7), (1, 0), (0, 1), (2**32 - 1, 2**32 - 1)]


def square(seed, size=256):
    counter = jnp.arange(size)
    return np.asarray(hashing.uniform(jnp.array(seed, jnp.uint32), counter[:, None], counter))


def correlation(a, b):
    """Standard normal under independence, for as many pairs as there are here."""
    return np.corrcoef(a.ravel(), b.ravel())[0, 1] * np.sqrt(a.size)


@pytest.mark.parametrize("seed", SPECIAL)
def test_no_seed_gives_a_symmetric_matrix(seed):
    """Uniform, and h_im tells nothing of h_mi; false alarm 1e-4 for each of the three."""
    u = square(seed)
    above = np.triu_indices(len(u), 1)
    assert stats.kstest(u.ravel(), "uniform").pvalue > P_MIN
    assert abs(correlation(u[above], u.T[above])) < stats.norm.isf(P_MIN / 2)
    cells, _, _ = np.histogram2d(u[above], u.T[above], bins=16, range=[[0, 1]] * 2)
    assert stats.chisquare(cells.ravel()).pvalue > P_MIN
    assert np.mean(u[above] == u.T[above]) < 1e-3


def test_no_two_seeds_share_a_matrix():
    """Each pair of special seeds and of neighbours, as it is, transposed, and shifted by one row or
    column: false alarm 1e-4 over all the pairs together."""
    golden = 0x9E3779B9
    near = [(3, 5), (4, 5), (3, 6), (3 + golden, 5), (3, 5 + golden), (5, 3), (5 + golden, 3)]
    matrices = [square(seed) for seed in [*SPECIAL, *near]]
    scores = [
        correlation(x, y)
        for i, a in enumerate(matrices)
        for b in matrices[:i]
        for x, y in (
            (a, b),
            (a, b.T),
            (a[1:], b[:-1]),
            (a[:-1], b[1:]),
            (a[:, 1:], b[:, :-1]),
            (a[:, :-1], b[:, 1:]),
        )
    ]
    assert np.abs(scores).max() < stats.norm.isf(P_MIN / 2 / len(scores))


def test_random_seeds_have_the_moments_of_independent_draws():
    """Pairs h_im, h_mi over many seeds, and one entry over consecutive seeds: false alarm 1e-4."""
    seeds = jnp.stack([jnp.arange(4096), jnp.arange(4096)[::-1] // 64], 1).astype(jnp.uint32)
    draw = jax.vmap(lambda s: hashing.uniform(s, jnp.arange(6)[:, None], jnp.arange(6)))
    u = np.asarray(draw(seeds))
    pairs = [(u[:, i, j], u[:, j, i]) for i in range(6) for j in range(i)]
    pairs += [(u[1:, i, j], u[:-1, i, j]) for i in range(6) for j in range(6)]
    scores = [correlation(a, b) for a, b in pairs]
    assert np.abs(scores).max() < stats.norm.isf(P_MIN / 2 / len(scores))
    assert stats.kstest(u[:, 0, 0], "uniform").pvalue > P_MIN


def test_words_of_one_axis_are_distinct():
    words = np.asarray(hashing.bits(jnp.array([7, 7], jnp.uint32), jnp.arange(200_000)))
    assert len(np.unique(words)) == len(words)


def test_subsets_are_uniform():
    member = np.array([1, 0, 1, 1, 0, 1, 1], bool)
    seeds = hashing.seeds(jax.random.key(0), 5000)
    for count in (0, 1, 2, 5, 9):
        draw = jax.jit(jax.vmap(lambda s, n=count: hashing.subset(s, jnp.asarray(member), n)))
        sets = np.asarray(draw(seeds))
        assert not (sets & ~member).any() and (sets.sum(axis=1) == min(count, 5)).all()
        if count == 2:
            _, cells = np.unique(sets @ (1 << np.arange(7)), return_counts=True)
            assert len(cells) == 10 and stats.chisquare(cells).pvalue > P_MIN


def test_names_make_streams_that_do_not_depend_on_each_other():
    key = jax.random.key(0)
    seeds = [hashing.seed(key, *names) for names in ((), ("a",), ("b",), ("a", 1), ("a", "1"))]
    assert len({tuple(np.asarray(seed).tolist()) for seed in seeds}) == len(seeds)
    np.testing.assert_array_equal(hashing.seed(key, "a", 1), hashing.seed(key, "a", np.int64(1)))
    np.testing.assert_array_equal(jax.jit(lambda k: hashing.seed(k, "a"))(key), seeds[1])


@pytest.mark.parametrize("size", [1, 2, 5, 700])
def test_subsets_are_those_with_the_smallest_words(size):
    rng = np.random.default_rng(size)
    draw = jax.jit(jax.vmap(hashing.subset))
    seeds = jnp.asarray(rng.integers(0, 2**32, (60, 2)), jnp.uint32)
    member = rng.random((60, size)) < rng.choice([0.0, 0.05, 0.5, 1.0], (60, 1))
    count = rng.integers(0, size + 2, 60)
    found = np.asarray(draw(seeds, jnp.asarray(member), jnp.asarray(count, jnp.int32)))
    for seed, members, own, number in zip(seeds, member, found, count, strict=True):
        word = np.asarray(hashing.bits(seed, jnp.arange(size))).astype(np.int64)
        order = np.argsort(np.where(members, word, 2**40))
        expected = np.zeros(size, bool)
        expected[order[: min(number, members.sum())]] = True
        np.testing.assert_array_equal(own, expected)
