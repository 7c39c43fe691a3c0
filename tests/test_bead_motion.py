"""Beads from centre and modes: their motion against plain sums, and what tells one generator's from another's."""

import numpy as np
import pytest

from mlgle_lammps.chains.beads import bead_positions
from mlgle_lammps.chains.mode_basis import linear_basis
from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.evaluate.bead_judgement import judge_beads
from mlgle_lammps.observe.bead_motion import bead_motion_of
from mlgle_lammps.observe.chain_motion import group_motion, with_centre_made_good
from mlgle_lammps.records import Frames, joined

N, MODES, LAGS = 12, 5, (2, 8)


def frames(seed, coupling=0.0, n_chains=80):
    found = joined(list(RouseSource(n_chains, N, MODES, 300, 0.3, seed, coupling=coupling)))
    com = found.com - found.com.mean(axis=1, keepdims=True)
    return Frames.of_chains(found.steps, found.segments, com, found.modes)


def motion_of(whole, lags):
    found = bead_motion_of(whole, lags)
    assert found is not None
    return found


def test_bead_motion_is_the_plain_mean_over_rebuilt_beads():
    whole = frames(1)[:40]
    beads = bead_positions(whole.com, whole.modes.astype(float), N)
    value, _ = motion_of(whole, (2,)).beads(N)
    starts = np.arange(38)
    common = whole.com[2:] - whole.com[:-2]
    assert np.abs(common.mean(axis=1)).max() < 1e-9
    moved = (beads[2:] - beads[:-2])[starts]
    np.testing.assert_allclose(value[0], (moved**2).mean(axis=(0, 1, 3)), rtol=1e-4)


@pytest.mark.parametrize("coupling", [0.0, 0.8])
def test_ties_are_those_of_the_process(coupling):
    value, se = motion_of(frames(2, coupling), LAGS).ties()
    assert np.all(np.abs(value - coupling) < 4.5 * se)
    assert np.all(se < 0.15)


def test_the_same_law_passes_and_a_tied_centre_is_named():
    md = bead_motion_of(frames(3), LAGS)
    same = judge_beads(bead_motion_of(frames(4), LAGS), md, N)
    assert same is not None
    assert same.summary()["passed"]
    assert same.warnings() == []
    tied = judge_beads(bead_motion_of(frames(5, 1.5), LAGS), md, N)
    assert tied is not None
    assert tied.beads_off
    assert tied.tie_off
    (line,) = tied.warnings("use --preset default")
    assert "bead" in line
    assert "use --preset default" in line
    assert judge_beads(None, md, N) is None


def test_without_counted_beads_ties_alone_are_judged():
    found = judge_beads(bead_motion_of(frames(6), LAGS), bead_motion_of(frames(7), LAGS), None)
    assert found is not None
    assert found.summary()["bead_msd_ratio"] is None
    assert not found.beads_off


def test_what_a_diffusing_centre_takes_from_few_chains_is_made_good():
    exact = 2 * 0.3 * 8 / N  # 2 D t
    found: dict[str, list[float]] = {"free": [], "gone": [], "held": []}
    for seed in range(40):
        raw = joined(list(RouseSource(6, N, MODES, 300, 0.3, 100 + seed)))
        com = raw.com - raw.com.mean(axis=1, keepdims=True)
        rest = Frames.of_chains(raw.steps, raw.segments, com, raw.modes)
        for name, own, held in (("free", raw, False), ("gone", rest, False), ("held", rest, True)):
            motion = bead_motion_of(own, (8,), held)
            assert motion is not None
            found[name].append(float(motion.products[0, :, 0, 0].mean()))
    for name, share in (("free", 1.0), ("gone", 5 / 6), ("held", 1.0)):
        values = np.array(found[name])
        assert abs(values.mean() - share * exact) < 4 * values.std() / np.sqrt(40) < 0.08 * exact


def test_g1_of_few_chains_takes_the_share_of_the_centre_on_the_centre_alone():
    """Five independent chains, their common motion taken off: g_1 is that of chains whose centre nobody touched."""
    n_chains, lags = 5, np.array([0, 1, 4])
    basis, known, found = linear_basis(N), [], []
    for seed in range(12):
        whole = joined(list(RouseSource(n_chains, N, N - 1, 200, 0.3, seed, coupling=0.5)))
        about = whole.com - whole.com.mean(axis=1, keepdims=True)
        raw, seen = (group_motion(com, whole.modes, whole.segments, lags, 8, basis) for com in (whole.com, about))
        known.append(raw.g1)
        found.append(with_centre_made_good(np.append(seen.g1, seen.g2), n_chains / (n_chains - 1)))
    off = np.array(found) - np.array(known)
    se = off.std(axis=0, ddof=1) / np.sqrt(len(off))
    assert np.all(np.abs(off.mean(axis=0)) <= 4 * se)
    too_much = n_chains / (n_chains - 1) * seen.g1 - raw.g1
    assert too_much[1] > 4 * se[1]


@pytest.mark.parametrize("n_chains", [2, 3])
def test_few_chains_of_the_same_law_raise_no_alarm(n_chains):
    alarms = 0
    for seed in range(12):
        md = bead_motion_of(frames(200 + seed, n_chains=n_chains), LAGS)
        found = judge_beads(bead_motion_of(frames(300 + seed), LAGS), md, N)
        assert found is not None
        alarms += not found.summary()["passed"]
    assert alarms <= 1
