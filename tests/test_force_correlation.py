"""Correlations of forces against plain sums over all products, and what spreading lags must keep."""

from __future__ import annotations

import numpy as np
import pytest

from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.force_correlation import (
    collective_motions,
    correlate_forces,
    correlation_time,
    hat_weights,
    pairs_within,
    spread_lags,
)

BOX = np.array([6.0, 7.0, 8.0])


def motions_of(forces: Float64) -> Float64:
    return collective_motions(np.random.default_rng(1).uniform(0, 6, forces.shape[1:]), BOX)


def naive(forces: Float64, i: int, j: int, lag: int, half: slice) -> Float64:
    """The definition: products within a half, then the mean of the two orders that time reversal makes alike."""
    own = (forces - forces.mean(axis=0))[half]
    first, second = own[lag:, i], own[: len(own) - lag, j]
    again, other = own[lag:, j], own[: len(own) - lag, i]
    total: Float64 = (first.T @ second + (again.T @ other).T) / (2 * len(first))
    return total


def test_correlations_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(5)
    forces = rng.normal(size=(61, 4, 3)).cumsum(axis=0)  # odd length, strongly correlated, a mean far from zero
    pairs = np.array([[0, 2], [1, 3]])
    lags = np.arange(8)
    found = correlate_forces(forces, lags, pairs, motions_of(forces))
    for part, half in enumerate((slice(0, 30), slice(30, 60))):
        assert found.mean_force[part] == pytest.approx(forces[half].mean(axis=0), abs=1e-12)
        for k, lag in enumerate(lags.tolist()):
            for p, (i, j) in enumerate(pairs):
                assert found.pair[part, k, p] == pytest.approx(naive(forces, i, j, lag, half), rel=2e-5, abs=1e-4)
            for i in range(4):
                assert found.own[part, k, i] == pytest.approx(naive(forces, i, i, lag, half), rel=2e-5, abs=1e-4)


def test_collective_motions_are_sums_over_all_pairs() -> None:
    """uᵀ C u of the blocks of all pairs is what the summed forces' own correlation is."""
    n, rng = 5, np.random.default_rng(9)
    forces, centres = rng.normal(size=(90, n, 3)).cumsum(axis=0), rng.uniform(0, 8, (n, 3))
    pairs = np.array([(i, j) for i in range(n) for j in range(i + 1, n)])
    u = collective_motions(centres, BOX)
    assert np.sum(u**2, axis=0) == pytest.approx(np.ones(18))
    along_y = u.reshape(n, 3, 3, 2, 3)[:, 1, 1, :, 1]  # component y of the waves along y
    assert along_y[:, 0] / along_y[0, 0] == pytest.approx(
        np.cos(2 * np.pi * centres[:, 1] / 7) / np.cos(2 * np.pi * centres[0, 1] / 7)
    )
    found = correlate_forces(forces, np.arange(20), pairs, u)
    whole = np.zeros((2, 20, n, 3, n, 3))
    i, j = pairs.T
    whole[:, :, i, :, j] = found.pair.transpose(2, 0, 1, 3, 4)
    whole[:, :, j, :, i] = found.pair.transpose(2, 0, 1, 4, 3)
    whole[:, :, range(n), :, range(n)] = found.own.transpose(2, 0, 1, 3, 4)
    wanted = np.einsum("xm,hlxy,ym->hlm", u, whole.reshape(2, 20, 3 * n, 3 * n), u)
    assert np.allclose(found.motions, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_swapping_a_pair_transposes_its_correlation() -> None:
    forces = np.random.default_rng(6).normal(size=(80, 3, 3)).cumsum(axis=0)
    lags = spread_lags(30)
    one = correlate_forces(forces, lags, np.array([[0, 1]]), motions_of(forces))
    other = correlate_forces(forces[:, [1, 0, 2]], lags, np.array([[0, 1]]), motions_of(forces))
    assert np.allclose(one.pair[:, :, 0], other.pair[:, :, 0].transpose(0, 1, 3, 2), rtol=1e-5, atol=1e-5)
    assert np.allclose(one.own, one.own.transpose(0, 1, 2, 4, 3), rtol=1e-6, atol=1e-6)


def test_sums_over_all_lags_survive_the_spreading() -> None:
    """Kept lags, each as often as its hat function counts, give the sum over every lag to rounding."""
    forces = np.random.default_rng(7).normal(size=(400, 2, 3)).cumsum(axis=0)
    pairs, longest = np.array([[0, 1]]), 150
    whole = correlate_forces(forces, np.arange(longest + 1), pairs, motions_of(forces))
    kept = spread_lags(longest, resolved=10, growth=1.3)
    assert len(kept) < 30
    spread = correlate_forces(forces, kept, pairs, motions_of(forces))
    steps = np.diff(kept)
    hats = np.array([np.interp(np.arange(longest + 1), kept, unit).sum() for unit in np.eye(len(kept))])
    trapezoid = np.convolve(steps, [0.5, 0.5])
    assert hats[1:-1] == pytest.approx(trapezoid[1:-1])
    for name in ("pair", "own", "motions"):
        expected = getattr(whole, name).astype(float).sum(axis=1)
        found = np.tensordot(hats, getattr(spread, name).astype(float), axes=(0, 1))
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_lags_are_resolved_then_spread_and_end_where_asked() -> None:
    lags = spread_lags(1000)
    assert lags[:17].tolist() == list(range(17))
    assert lags[-1] == 1000
    assert np.all(np.diff(lags) > 0)
    assert len(lags) < 60
    assert spread_lags(5).tolist() == list(range(6))
    assert spread_lags(0).tolist() == [0]
    weights = hat_weights(lags)
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert np.array_equal(weights[:16, :16], np.eye(16))


def test_lags_beyond_half_of_a_run_are_refused() -> None:
    with pytest.raises(ValueError, match="beyond"):
        correlate_forces(np.zeros((20, 2, 3)), np.array([0, 10]), np.array([[0, 1]]), np.zeros((6, 18)))


def test_pairs_are_those_of_nearest_images() -> None:
    centres = np.array([[0.5, 0, 0], [9.5, 0, 0], [5.0, 0, 0], [20.6, 0, 0]])  # the last one lies two boxes on
    found = pairs_within(centres, np.array([10.0, 10.0, 10.0]), 1.2)
    assert found.tolist() == [[0, 1], [0, 3], [1, 3]]
    assert pairs_within(centres, np.array([10.0, 10.0, 10.0]), 0.05).shape == (0, 2)


def test_correlation_time_of_an_exponential() -> None:
    rng, tau, n = np.random.default_rng(8), 12.0, 20_000
    a = np.exp(-1 / tau)
    noise = rng.normal(size=(n, 6)) * np.sqrt(1 - a**2)
    series = np.empty((n, 6))
    series[0] = rng.normal(size=6)
    for t in range(1, n):
        series[t] = a * series[t - 1] + noise[t]
    assert correlation_time(series) == pytest.approx(tau, rel=0.1)
    assert correlation_time(np.ones((50, 2))) == np.inf
    assert correlation_time(np.zeros((50, 2))) == np.inf
