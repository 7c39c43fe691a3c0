"""Running displacements against the plain double loop, drift, segments, and chains that move together."""

import numpy as np
import pytest

from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.records import Frames
from mlgle_lammps.statistics.moments import MomentAccumulator, logarithmic_lags


def frames(com, modes, segments=None):
    segments = np.zeros(len(com), int) if segments is None else segments
    return [
        Frames.single(step, int(segment), x, z.astype(np.float32))
        for step, (x, z, segment) in enumerate(zip(com, modes, segments, strict=True))
    ]


def accumulate(com, modes, longest, segments=None):
    accumulator = MomentAccumulator(com.shape[1], modes.shape[2], longest)
    for frame in frames(com, modes, segments):
        accumulator.add(frame)
    return accumulator.moments()


@pytest.fixture
def walk():
    rng = np.random.default_rng(1)
    return np.cumsum(rng.standard_normal((90, 6, 3)), axis=0), rng.standard_normal((90, 6, 2, 3)).astype(np.float32)


def test_lags_are_logarithmic_and_end_at_the_longest():
    assert logarithmic_lags(20) == (1, 2, 3, 4, 6, 8, 12, 16, 20)
    assert logarithmic_lags(4) == (1, 2, 3, 4)


def test_equal_to_the_plain_double_loop_across_segments(walk):
    com, modes = walk
    segments = np.repeat([0, 1, 4], [40, 7, 43])
    moments = accumulate(com, modes, 16, segments)
    relative = com - com.mean(axis=1, keepdims=True)
    for i, lag in enumerate(moments.lags):
        pairs = [t for t in range(90 - lag) if segments[t] == segments[t + lag]]
        plain = np.mean([(relative[t + lag] - relative[t]) ** 2 for t in pairs], axis=0)
        assert moments.counts[i] == len(pairs)
        np.testing.assert_allclose(moments.msd_com_chain[i], plain.mean(axis=1) * 6 / 5, rtol=1e-12)
        plain_modes = np.mean([(modes[t + lag] - modes[t]) ** 2 for t in pairs], axis=(0, 1, 3))
        np.testing.assert_allclose(moments.msd_modes[i], plain_modes, rtol=1e-5)
    np.testing.assert_allclose(moments.mode_variance, (modes**2).mean(axis=(0, 1, 3)), rtol=1e-6)
    assert moments.segment_lengths == (40, 7, 43)


def test_steady_drift_is_removed_and_needs_no_factor(walk):
    com, modes = walk
    conserved = com - com.mean(axis=1, keepdims=True)
    drifting = conserved + np.arange(90)[:, None, None] * np.array([3.0, -1.0, 0.5])
    still, moved = accumulate(conserved, modes, 16), accumulate(drifting, modes, 16)
    assert not moved.center_diffuses
    np.testing.assert_allclose(moved.msd_com, still.msd_com, rtol=1e-9)


def test_diffusing_center_is_seen(walk):
    com, modes = walk
    assert accumulate(com, modes, 16).center_diffuses


def test_lags_not_reached_are_left_out(walk):
    com, modes = walk
    assert accumulate(com[:7], modes[:7], 16).lags.max() == 6


def test_design_effect_is_one_for_independent_chains_and_larger_for_chains_that_move_together():
    rng = np.random.default_rng(2)
    n_time, n_chains = 1500, 30
    empty = np.zeros((n_time, n_chains, 0, 3))
    alone = np.cumsum(rng.standard_normal((n_time, n_chains, 3)), axis=0)
    twins = np.repeat(alone[:, : n_chains // 2], 2, axis=1)
    independent = accumulate(alone, empty, 64)
    together = accumulate(twins, empty, 64)
    tolerance = 4 * np.sqrt(2 / independent.design_dof)
    assert independent.design_effect < 1 + tolerance
    assert abs(together.design_effect - 2) < 2 * tolerance
    assert together.design_effect > independent.design_effect + tolerance / 2


@pytest.mark.parametrize("n_chains", [2, 3, 5])
def test_the_error_of_few_chains_is_their_scatter(n_chains):
    """Squares about the own centre are anticorrelated: that loss counts once."""
    rng = np.random.default_rng(n_chains)
    found = []
    for _ in range(60):
        accumulator = MomentAccumulator(n_chains, 0, 16)
        accumulator.add_centers(np.cumsum(rng.standard_normal((600, n_chains, 3)), axis=0))
        found.append(accumulator.moments())
    effect = np.array([own.design_effect for own in found])
    assert effect.min() >= n_chains / (n_chains - 1) - 1e-9
    D = [normal_diffusion(own, 1.0, 0.1) for own in found]
    values, errors = np.array([own.value for own in D if own]), np.array([own.se for own in D if own])
    assert 0.75 < errors.mean() / values.std(ddof=1) < 1.35
