"""Any stream against MD: sound ones agree, spoiled ones are named, and neither is asked who made it."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from test_compare import Page

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.commands import compare
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.labels import surrogate_label
from mlgle_lammps.evaluate.mode_differences import mode_differences
from mlgle_lammps.evaluate.observables import displacement_moments, observe
from mlgle_lammps.evaluate.stream_statistics import StreamStatistics, summarize_window
from mlgle_lammps.evaluate.trajectories import read_trajectory
from mlgle_lammps.evaluate.two_streams import compare_streams
from mlgle_lammps.records import CHAINS, Frames, Species, joined
from mlgle_lammps.statistics.correlation import autocorrelation
from mlgle_lammps.statistics.species_moments import centers_of, mass_shares
from mlgle_lammps.store.writer import FramesWriter, GeneratedWriter

BEADS, MODES = 12, 4


def melt(seed, n_chains=24, n_frames=500, dt=1.0, n_beads=BEADS):
    source = RouseSource(n_chains, n_beads, MODES, n_frames, dt, seed)
    return source.system, joined(list(source))


def scaled(frames, factor):
    return Frames.of_chains(frames.steps, frames.segments, frames.com, frames.modes * np.float32(factor))


def write_md(path, seed, **size):
    system, frames = melt(seed, **size)
    with FramesWriter(path, system) as writer:
        writer.append(frames)
    return path


def write_generated(path, seed, save_every=1, factor=1.0, n_frames=600):
    system, frames = melt(seed, 60, n_frames)
    with GeneratedWriter(path, system, 60, n_frames // save_every, save_every) as writer:
        writer.append(scaled(frames, factor)[::save_every])
    return path


@pytest.fixture(scope="module")
def md(tmp_path_factory):
    return write_md(tmp_path_factory.mktemp("md") / "modes.h5", 1)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A generated.h5 beside the result of another surrogate's run."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "result.json").write_text('{"surrogate": "nm-mb"}')
    return write_generated(folder / "generated.h5", 101)


def test_the_command_holds_a_generated_stream_against_md(md, generated, tmp_path, unrendered):
    out = tmp_path / "out"
    assert compare.main([str(generated), str(md), "--out", str(out)]) == 0
    numbers = json.loads((out / "comparison.json").read_text())
    assert (numbers["kind"], numbers["subject"], numbers["reference"]) == ("two streams", "NM-MB", "MD")
    assert "generated, 600 frames of 60 trajectories" in numbers["streams"]["NM-MB"]
    assert "MD, 500 frames of 24 chains" in numbers["streams"]["MD"]
    assert numbers["check"]["passed"]
    assert [mode["mode"] for mode in numbers["check_of_modes"]] == [1, 2, 3, 4]
    for mode in numbers["check_of_modes"]:
        assert abs(mode["stationary_variance_ratio"] - 1) < 4 * mode["stationary_variance_ratio_se"]
    assert abs(numbers["D"]["NM-MB, slope"]["z"]) < 4
    assert numbers["D"]["MD, slope"]["z"] is None
    assert all(abs(z) < 4 for z in numbers["size_z"].values())
    page = Page(out / "report.html")
    assert "NM-MB agrees with MD in every mode" in page.text
    assert page.tags.count("img") == len(list((out / "figures").glob("*.png"))) == 11
    assert "nan" not in page.text.lower()


@pytest.mark.parametrize(("factor", "off"), [(1.3, [1, 2, 3, 4]), (0.7, [1, 2, 3, 4]), (1.0, [])])
def test_a_spoiled_stream_is_named_and_a_sound_one_is_not(md, tmp_path, factor, off):
    found = compare_streams(write_generated(tmp_path / "generated.h5", 102, factor=factor), md)
    assert found.subject == "generated"  # nothing beside it says by what
    assert found.judgement is not None
    assert found.judgement.summary()["off"]["variance"] == off
    assert bool(found.judgement.words()) == bool(off)
    sizes = [abs(z) > 4 for z in found.size_z_scores.values()]
    assert sizes == [bool(off)] * 2


def test_two_streams_of_md_agree_also_where_they_are_short(tmp_path):
    md = [write_md(tmp_path / f"{seed}.h5", seed, n_chains=8, n_frames=160) for seed in range(6)]
    for first, second in pairwise(md):
        found = compare_streams(first, second)
        assert found.subject == "other MD"
        assert found.judgement is not None
        assert found.judgement.modes_off == ()
        assert not any("not independent" in note for note in found.notes)


def summary(seed):
    _, frames = melt(seed, 16, 300)
    return summarize_window(frames, autocorrelation(frames.modes, frames.segments, 150))


def test_the_errors_of_two_short_streams_hold():
    scores = []
    for seed in range(12):
        found = mode_differences(summary(seed), summary(50 + seed), scarce=True)
        scores.append([found.variance.value / found.variance.se, found.kurtosis.value / found.kurtosis.se])
    spread = np.std(scores, axis=(0, 2))
    assert np.all((spread > 0.5) & (spread < 1.2))


def test_frames_that_are_kept_less_often_are_compared_at_common_times(md, tmp_path):
    found = compare_streams(write_generated(tmp_path / "generated.h5", 103, save_every=3), md)
    assert {label: stream.dt for label, stream in found.streams.items()} == {"MD": 3.0, "generated": 3.0}
    assert found.streams["MD"].n_frames == 167
    assert found.judgement is not None
    assert found.judgement.modes_off == ()
    assert any("one frame in 3 is used" in note for note in found.notes)


def test_an_npz_and_a_run_that_was_killed_are_streams_too(md, tmp_path):
    _, frames = melt(2)
    np.savez(tmp_path / "other.npz", com=frames.com.astype(np.float32), modes=frames.modes, dt=1.0, n_beads=BEADS)
    folder = tmp_path / "killed"
    folder.mkdir()
    write_md(folder / "modes.h5", 1)
    found = compare_streams(tmp_path / "other.npz", folder)
    assert found.judgement is not None
    assert found.judgement.modes_off == ()
    same = compare_streams(tmp_path / "other.npz", md)
    np.testing.assert_array_equal(found.streams["MD"].msd, same.streams["MD"].msd)


def test_frames_in_common_are_told(md):
    found = compare_streams(md, md)
    assert any("500 frames are in both" in note for note in found.notes)
    assert found.differences is not None
    assert np.all(found.differences.variance.value == pytest.approx(0.0, abs=1e-3))


def test_what_cannot_be_compared_is_refused_in_one_line(md, generated, tmp_path):
    with pytest.raises(UserError, match="holds generated trajectories, not MD"):
        compare_streams(md, generated)
    with pytest.raises(UserError, match="not the same melt"):
        compare_streams(write_md(tmp_path / "longer.h5", 1, n_beads=BEADS + 1), md)
    with pytest.raises(UserError, match="neither is a multiple"):
        compare_streams(write_md(tmp_path / "odd.h5", 1, dt=1.5), md)
    with pytest.raises(UserError, match="at least 8 in one piece"):
        compare_streams(write_md(tmp_path / "short.h5", 1, n_frames=5), md)
    with pytest.raises(UserError, match="no such file"):
        compare_streams(md, tmp_path / "absent")


@pytest.mark.parametrize(
    ("result", "label"), [({}, "ML-GLE"), ({"surrogate": None}, "ML-GLE"), ({"surrogate": "cg-gnn"}, "CG-GNN")]
)
def test_a_surrogate_is_called_by_its_name(result, label):
    assert surrogate_label(result) == label


def test_frames_that_stream_by_say_what_the_file_of_them_says(tmp_path):
    """The one pass by blocks in time and the other by groups of chains, over a seam."""
    system, frames = melt(3, n_frames=400)
    seam = Frames.of_chains(frames.steps, np.repeat([0, 2], [150, 250]), frames.com, frames.modes)
    with FramesWriter(tmp_path / "modes.h5", system) as writer:
        writer.append(seam)
    statistics = StreamStatistics(24, MODES, 400)
    for start in range(0, 400, 70):
        statistics.add(seam[start : start + 70])
    summary, moments = statistics.summary().modes, statistics.summary().moments
    found = observe(read_trajectory(tmp_path / "modes.h5"))
    assert found.correlation is not None
    assert found.summary is not None
    np.testing.assert_array_equal(summary.correlation.nacf, found.correlation.nacf)
    np.testing.assert_array_equal(summary.correlation.by_group, found.correlation.by_group)
    assert summary.segment_lengths == found.summary.segment_lengths == moments.segment_lengths == (150, 250)
    for name in ("variance", "variance_se", "kurtosis", "kurtosis_se"):
        np.testing.assert_allclose(getattr(summary, name), getattr(found.summary, name), rtol=1e-12)
    shared = np.isin(moments.lags, found.moments.lags)
    same = np.isin(found.moments.lags, moments.lags)
    np.testing.assert_allclose(moments.msd_com[shared], found.moments.msd_com[same], rtol=1e-10)
    np.testing.assert_allclose(summary.variance, summary.correlation.variance, rtol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 7])
def test_thinned_frames_begin_anew_in_every_segment(tmp_path, stride):
    system, frames = melt(4, n_frames=50)
    seam = Frames.of_chains(frames.steps, np.repeat([0, 1], [23, 27]), frames.com, frames.modes)
    with FramesWriter(tmp_path / "modes.h5", system) as writer:
        writer.append(seam)
    found = read_trajectory(tmp_path / "modes.h5", stride=stride)
    kept = [*range(0, 23, stride), *range(23, 50, stride)]
    assert found.system.dt == stride
    np.testing.assert_array_equal(found.window().steps, frames.steps[kept])
    np.testing.assert_array_equal(found.window().modes, frames.modes[kept])


def two_species(path, seed, first=("a",), second=("b",)):
    """Write MD of 24 molecules "one" and 24 molecules "two", as long, which move four times as slowly."""
    (system, one), (_, two) = melt(seed), melt(seed + 50)
    whole = replace(
        system, name="one", types=first * BEADS,
        others=(Species("two", 24, BEADS, MODES, ("com", "modes"), types=second * BEADS),),
    )  # fmt: skip
    other = {"com": two.com / 2, "modes": two.modes}
    with FramesWriter(path, whole) as writer:
        writer.append(replace(one, channels={**one.channels, "two": other}))
    return path


def test_the_species_that_a_stream_is_of_is_compared(tmp_path):
    both = two_species(tmp_path / "both.h5", 11)
    system, frames = melt(111)
    of_two = replace(system, name="two", types=("b",) * BEADS)
    with FramesWriter(tmp_path / "two.h5", of_two) as writer:
        writer.append(Frames.of_chains(frames.steps, frames.segments, frames.com / 2, frames.modes))
    found = compare_streams(tmp_path / "two.h5", both)
    (md, own) = (found.streams[name].msd[100] for name in ("MD", found.subject))
    assert md == pytest.approx(own, rel=0.4)
    assert compare_streams(write_md(tmp_path / "one.h5", 12), both).streams["MD"].msd[100] > 2 * md
    with FramesWriter(tmp_path / "x.h5", replace(of_two, name="x", types=("x",) * BEADS)) as writer:
        writer.append(frames)
    with pytest.raises(UserError, match="not the same molecules"):
        compare_streams(tmp_path / "x.h5", both)


def test_molecules_of_a_mixture_move_about_the_centre_of_all(tmp_path):
    """At rest it takes nothing from them; their own centre would take a share of their motion."""
    path = two_species(tmp_path / "both.h5", 13)
    trajectory = read_trajectory(path)
    (frames,) = trajectory.frames()
    centre = centers_of(frames, mass_shares(trajectory.system.species))
    still = {name: {**own, "com": own["com"] - centre[:, None]} for name, own in frames.channels.items()}
    with FramesWriter(tmp_path / "still.h5", trajectory.system) as writer:
        writer.append(replace(frames, channels=still))
    found = read_trajectory(tmp_path / "still.h5")
    moments, seen = displacement_moments(found), observe(found)
    com = still[CHAINS]["com"]
    assert np.abs(found.center).max() < 1e-9
    for lag, msd in zip(moments.lags, moments.msd_com, strict=True):
        assert msd == pytest.approx(np.mean((com[lag:] - com[:-lag]) ** 2), rel=1e-6)
        assert seen.msd[lag] == pytest.approx(3 * msd, rel=1e-6)
    assert not moments.center_diffuses
    diffusing = displacement_moments(trajectory)
    assert diffusing.center_diffuses
    assert diffusing.made_good(diffusing.lags) == pytest.approx(diffusing.lag_factors)
