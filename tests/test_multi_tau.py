"""The multiple-tau correlator against plain sums, and through an interruption."""

import numpy as np
import pytest

from mlgle_lammps.statistics.multi_tau import MOST_BLOCKS, MultipleTau


def ornstein_uhlenbeck(n, a, seed):
    noise = np.random.default_rng(seed).standard_normal((n, 2)) * np.sqrt(1 - a**2)
    x = np.empty((n, 2))
    x[0] = noise[0] / np.sqrt(1 - a**2)
    for i in range(1, n):
        x[i] = a * x[i - 1] + noise[i]
    return x


def test_the_first_level_is_the_plain_sum():
    x = np.random.default_rng(1).standard_normal((5000, 2))
    correlator = MultipleTau(2)
    for start in range(0, 5000, 37):
        correlator.add(x[start : start + 37])
    found = correlator.correlation()
    assert found is not None
    for i in range(10):
        lag = int(found.lags[i])
        blocks = found.counts[:, i].sum()
        expected = sum((x[t] * x[t - lag]) for t in range(lag, int(blocks) + lag)) / blocks
        assert np.allclose(found.mean[i], expected, rtol=1e-10, atol=1e-12)


def test_an_exponential_comes_out_within_its_errors_and_a_wrong_one_does_not():
    a = 0.99
    x = ornstein_uhlenbeck(200_000, a, 2)
    correlator = MultipleTau(2)
    correlator.add(x)
    found = correlator.correlation()
    assert found is not None
    assert len(found.sums) <= MOST_BLOCKS
    short = found.lags <= 200
    error = found.left_out().std(axis=0) * np.sqrt(len(found.sums) - 1)
    z = (found.mean - a ** found.lags[:, None])[short] / error[short]
    wrong = (found.mean - (a**0.4) ** found.lags[:, None])[short] / error[short]
    assert np.abs(z).max() < 4.5
    assert np.abs(wrong).max() > 6


def test_what_is_kept_goes_on_to_the_last_bit():
    x = np.random.default_rng(3).standard_normal((3000, 2))
    straight, broken = MultipleTau(2), MultipleTau(2)
    for start in range(0, 3000, 100):
        straight.add(x[start : start + 100])
        broken.add(x[start : start + 100])
        if start == 1500:
            state = {name: values.copy() for name, values in broken.state().items()}
            broken = MultipleTau.from_state(state)
    one, other = straight.correlation(), broken.correlation()
    assert one is not None
    assert other is not None
    assert one.sums.tobytes() == other.sums.tobytes()
    assert np.array_equal(one.counts, other.counts)


def test_no_product_reaches_across_a_gap():
    x = np.ones((2048, 1))
    correlator = MultipleTau(1)
    correlator.add(x)
    correlator.interrupt()
    correlator.add(-x)
    found = correlator.correlation()
    assert found is not None
    assert np.allclose(found.mean, 1.0)


def test_a_damaged_state_is_refused():
    state = MultipleTau(2).state() | {"counts": np.zeros((3, 1, 2))}
    with pytest.raises(ValueError, match="do not fit"):
        MultipleTau.from_state(state)
