import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource, rouse_diffusion, rouse_mode_variance, rouse_relaxation_time
from mlgle_lammps.records import joined

CHAINS, BEADS, MODES, FRAMES, DT = 64, 16, 4, 600, 0.5


def frames(**changes):
    options = dict(n_chains=CHAINS, n_beads=BEADS, n_modes=MODES, n_frames=FRAMES, dt=DT, seed=7) | changes
    whole = joined(list(RouseSource(**options)))
    return whole.com, whole.modes.astype(np.float64)


def over_chains(per_chain):
    """Mean and standard error over independent chains (axis 0)."""
    return per_chain.mean(axis=0), per_chain.std(axis=0, ddof=1) / np.sqrt(len(per_chain))


def variances(modes):
    return over_chains((modes**2).mean(axis=(0, 3)))


def decays(modes, lag=2):
    """One-lag regression coefficient of each mode, exp(-lag dt/τ), by a ratio estimator."""
    product = (modes[lag:] * modes[:-lag]).mean(axis=(0, 3))
    square = (modes**2).mean(axis=(0, 3))
    ratio = product.mean(axis=0) / square.mean(axis=0)
    _, se = over_chains((product - ratio * square) / square.mean(axis=0))
    return ratio, se


def diffusion(com):
    steps = np.diff(com, axis=0)
    return over_chains((steps**2).mean(axis=(0, 2)) / (2 * DT))


def distance(estimate_and_se, oracle):
    estimate, se = estimate_and_se
    return np.max(np.abs(estimate - oracle) / se)


def test_variances_relaxation_times_and_diffusion_are_those_of_the_formulas():
    com, modes = frames()
    p = np.arange(1, MODES + 1)
    assert distance(variances(modes), rouse_mode_variance(p, BEADS)) < 4
    assert distance(decays(modes), np.exp(-2 * DT / rouse_relaxation_time(p, BEADS))) < 4
    assert distance(diffusion(com), rouse_diffusion(BEADS)) < 4


def test_a_friction_that_is_wrong_by_10_percent_fails_the_same_checks():
    com, modes = frames()
    p = np.arange(1, MODES + 1)
    assert distance(decays(modes), np.exp(-2 * DT / rouse_relaxation_time(p, BEADS, friction=1.1))) > 4
    assert distance(diffusion(com), rouse_diffusion(BEADS, friction=1.1)) > 4


def test_formulas_are_those_of_beads_moved_one_by_one():
    """Brownian dynamics of harmonic chains, diagonalized exactly: no formula of the module enters."""
    bond, friction, kT = 1.3, 0.7, 1.9
    spring = 3 * kT / bond**2
    laplacian = 2 * np.eye(BEADS) - np.eye(BEADS, k=1) - np.eye(BEADS, k=-1)
    laplacian[0, 0] = laplacian[-1, -1] = 1
    for p in (1, 3, 8):
        cosine = np.cos(np.pi * p * (np.arange(BEADS) + 0.5) / BEADS) / BEADS
        covariance = kT / spring * np.linalg.pinv(laplacian)
        assert cosine @ covariance @ cosine == pytest.approx(rouse_mode_variance(p, BEADS, bond), rel=1e-10)
        rate = spring / friction * (laplacian @ cosine) @ cosine / (cosine @ cosine)
        assert 1 / rate == pytest.approx(rouse_relaxation_time(p, BEADS, bond, friction, kT), rel=1e-10)


def test_coupling_adds_the_modes_to_the_centre_of_mass_and_leaves_the_noise():
    com, modes = frames(coupling=0.6)
    plain, same = frames()
    assert np.array_equal(modes, same)
    displacement = modes.sum(axis=2) - modes[0].sum(axis=1)
    assert np.allclose(com, plain + 0.6 * displacement, rtol=0, atol=1e-12)


def test_frames_repeat_and_keep_their_modes_at_the_hand_off():
    source = RouseSource(3, 8, 2, 10, 1.0, seed=1, every=5)
    first = list(source)
    again = []
    for frame in source:
        again.append(frame)
        if len(again) == 6:
            source.hand_off()
    assert [f.last_step for f in first] == list(range(0, 50, 5))
    assert all(a.same_bits(b) for a, b in zip(first, again, strict=True))
    assert {f.modes.shape for f in again} == {(1, 3, 2, 3)}
    assert first[0].modes.dtype == np.float32
    assert source.ending().step == first[-1].last_step


def test_more_modes_than_beads_are_refused():
    with pytest.raises(ValueError, match=r"modes 1\.\.7"):
        RouseSource(3, 8, 8, 10, 1.0, seed=1)
