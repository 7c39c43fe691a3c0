"""When frames are: steps, times, --timestep and --dt compared; even pieces of uneven frames; appended files."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from test_trajectories import expected_modes, frames_of, walkers, write_dump, write_topology

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadTrajectory, Stamp
from mlgle_lammps.formats.frame_plan import plan_frames
from mlgle_lammps.formats.trajectory import open_trajectory
from mlgle_lammps.options.trajectory import TrajectoryOptions


def plan(steps, times, needed=2, **options):
    """Return the plan of a file with these steps and times (None for none)."""
    n = len(times if steps is None else steps)
    stamps = [Stamp(*pair) for pair in zip(steps or [None] * n, times or [None] * n, strict=True)]
    return plan_frames(
        BeadTrajectory(Path("x.dump"), lambda warn: iter(())), TrajectoryOptions(**options), needed, stamps
    )


def used(found):
    return np.flatnonzero(found.places >= 0).tolist()


def single(values):
    """Values as single precision stores them."""
    return np.asarray(values, dtype=np.float32).astype(float).tolist()


EVEN = [100 * i for i in range(40)]


def test_steps_and_times_that_agree_say_nothing():
    found = plan(EVEN, [0.01 * step for step in EVEN])
    assert (found.dt, found.steps, found.remarks) == (1.0, 100, ())
    assert found.places.tolist() == list(range(40))


@pytest.mark.parametrize("change", [8, 20])
def test_a_time_step_that_changes(change):
    """Twice the time step from some frame on: places are those of the times, every second frame before it."""
    times = np.concatenate([np.arange(change), change + 2.0 * np.arange(40 - change)]).tolist()
    found = plan(EVEN, times, needed=25)
    assert "the time step changes within it, from 0.01 to 0.02" in found.remarks[0]
    assert f"first after frame {change}" in found.remarks[0]
    assert (found.dt, found.steps) == (2.0, 1)
    assert used(found) == [*range(0, change, 2), *range(change, 40)]
    assert set(found.segments.tolist()) == {0}


@pytest.mark.parametrize(("given", "dt"), [({"timestep": 0.01}, 1.0), ({"dt": 3.0}, 3.0)])
def test_a_time_step_that_changes_and_one_that_was_given(given, dt):
    times = [step * (0.01 if step < 1000 else 0.02) for step in EVEN]
    found = plan(EVEN, times, **given)
    assert (found.dt, found.steps, len(used(found))) == (dt, 100, 40)
    assert f"--{next(iter(given))} was given and is used" in found.remarks[0]


def test_what_was_given_wins_and_is_said():
    times = [0.01 * step for step in EVEN]
    found = plan(EVEN, times, dt=2.0, timestep=0.03)
    assert found.dt == 2.0
    assert any("--dt makes Δt 2 and is used, though --timestep and steps say 3" in line for line in found.remarks)
    assert any("though times in the file say 1" in line for line in found.remarks)
    assert plan(EVEN, times, timestep=0.02).remarks == (
        "x.dump: --timestep makes Δt 2 and is used, though times in the file say 1",
    )
    assert plan(EVEN, times, dt=1.0, timestep=0.01).remarks == ()


def test_steps_that_are_all_the_same_leave_it_to_times():
    found = plan([0] * 40, [2.0 * i for i in range(40)])
    assert (found.dt, found.steps, found.first_step) == (2.0, 1, 0)
    assert "all steps are 0" in found.remarks[0]


def test_steps_that_begin_anew_leave_it_to_times():
    found = plan([*EVEN[:25], *EVEN[:15]], [2.0 * i for i in range(40)])
    assert (found.dt, len(used(found)), set(found.segments.tolist())) == (2.0, 40, {0})
    assert "begin anew at frame 25" in found.remarks[0]


def test_steps_beyond_32_bits_count_on():
    steps = [(2**31 - 1000 + 100 * i + 2**31) % 2**32 - 2**31 for i in range(40)]
    assert min(steps) < 0 < max(steps)
    times = single([0.01 * (2**31 - 1000 + 100 * i) for i in range(40)])
    found = plan(steps, times, dt=1.0)
    assert (found.steps, found.first_step, len(used(found))) == (100, 2**31 - 1000, 40)
    assert found.remarks == ()  # the times are too coarse to contradict
    with pytest.raises(UserError, match="too coarse to tell the time between two frames"):
        plan(steps, times)
    with pytest.raises(UserError, match="too coarse to tell its frames apart"):
        plan(None, times)
    assert plan(None, times, dt=1.0).dt == 1.0


@pytest.mark.parametrize(("first", "dt"), [(0.0, 0.2), (5000.0, 0.2), (5000.1, 0.2), (20000.0, 0.12345), (7.0, 1 / 3)])
def test_rounding_of_times_in_single_precision_is_not_in_dt(first, dt):
    """Frames each 0.2 from 5000 on are 0.200195 apart in single precision."""
    times = first + dt * np.arange(400)
    assert plan(None, single(times)).dt == pytest.approx(dt, rel=3e-6)
    assert plan(None, times.tolist()).dt == pytest.approx(dt, rel=1e-8)


def test_stamps_of_no_use_need_the_time_between_frames():
    with pytest.raises(UserError, match="do not tell when the frames are: give `dt`"):
        plan([7] * 40, [0.0] * 40)
    found = plan([7] * 40, [0.0] * 40, dt=0.5)
    assert (found.dt, found.steps, len(used(found))) == (0.5, 1, 40)
    with pytest.raises(UserError, match=r"has no steps that can be used, so `timestep` does not give"):
        plan([7] * 40, [2.0 * i for i in range(40)], timestep=0.1)


# ------------------------------------------------------------------ uneven frames


def test_bursts_of_frames_are_used_at_the_spacing_of_the_bursts():
    """Frames 0, 1, 2, 4, .. 64 after each multiple of 100: the multiples are evenly spaced."""
    steps = [100 * cycle + offset for cycle in range(60) for offset in (0, 1, 2, 4, 8, 16, 32, 64)]
    found = plan(steps, None, needed=30, timestep=1.0)
    longest = np.bincount(found.segments[found.places >= 0]).max()
    assert (found.steps, found.dt) == (100, 100.0)
    assert longest >= 59
    assert "frames are not evenly spaced (1 to 36 apart): those 100 apart are used" in found.remarks[0]


def test_log_spaced_frames_are_refused_for_what_they_are():
    steps = sorted({round(1.06**i) for i in range(150)})
    with pytest.raises(
        UserError, match=r"not evenly spaced .* longest evenly spaced piece has \d+ frames .* 61 are needed"
    ):
        plan(steps, None, needed=61, timestep=1.0)
    with pytest.raises(UserError, match="`dt` is the time between two frames, and these are not evenly spaced"):
        plan([100 * c + o for c in range(60) for o in (0, 1, 3)], None, needed=30, dt=1.0)


def test_a_first_frame_at_another_distance_costs_that_frame_only():
    steps = [0, 37, *range(100, 4000, 100)]
    found = plan(steps, None, needed=20, timestep=1.0)
    assert found.steps == 100
    assert np.count_nonzero(found.places >= 0) >= 39
    assert {b - a for a, b in itertools.pairwise(np.array(steps)[found.places >= 0])} <= {37, 63, 100}
    # no two frames that are not 100 apart are neighbours in one piece
    kept = np.flatnonzero(found.places >= 0)
    together = np.diff(found.segments[kept]) == 0
    assert set(np.diff(np.array(steps)[kept])[together].tolist()) == {100}


def test_a_few_gaps_are_no_unevenness():
    steps = [step for step in EVEN if step not in (500, 1700, 1800)]
    found = plan(steps, None, needed=30, timestep=1.0)
    assert found.remarks == ("x.dump: frames are missing in 2 places; no lag or window reaches across them",)
    assert found.places[found.places >= 0].tolist() == [step // 100 for step in steps]


def test_with_a_stride_the_pieces_must_be_longer():
    steps = [*range(0, 2000, 100), *range(2050, 4000, 400)]
    plan(steps, None, needed=10, timestep=1.0, stride=2)
    with pytest.raises(UserError, match="61 are needed"):
        plan(steps, None, needed=31, timestep=1.0, stride=2)


# ------------------------------------------------------------------ appended files


@pytest.fixture
def melt(tmp_path):
    positions, ids = walkers(n_frames=20)
    return tmp_path, positions, ids, write_topology(tmp_path / "chains.data", ids)


def appended(folder, positions, ids, pieces):
    """A dump of pieces, each a list of frame numbers (step 100 times that); return its path."""
    text = ""
    for piece in pieces:
        steps = [100 * number for number in piece]
        text += write_dump(folder / "part.dump", positions[list(piece)], ids, steps=steps).read_text()
    path = folder / "t.dump"
    path.write_text(text)
    return path


def test_frames_written_twice_after_a_restart_are_used_once(melt):
    folder, positions, ids, topology = melt
    path = appended(folder, positions, ids, [range(12), range(8, 20)])
    _, found, steps, segments, told = frames_of(path, n_modes=7, topology=topology, dt=1.0)
    assert steps == [100 * i for i in range(20)]
    assert set(segments) == {0}
    assert np.abs(found - expected_modes(positions, ids)).max() < 1e-6
    assert len(told) == 1
    assert "goes back from 1100 to 800 at frame 12" in told[0]
    assert "the 4 frames from 800 on that were written before are left out" in told[0]


def test_a_restart_that_took_another_way_begins_a_piece(melt):
    folder, positions, ids, topology = melt
    other = positions + 1.0  # not where the first run was
    text = write_dump(folder / "a.dump", positions[:12], ids).read_text()
    text += write_dump(folder / "b.dump", other[8:], ids, steps=[100 * i for i in range(8, 20)]).read_text()
    path = folder / "t.dump"
    path.write_text(text)
    _, _, steps, segments, told = frames_of(path, n_modes=7, topology=topology, dt=1.0)
    assert steps == [100 * i for i in range(20)]
    assert segments == [0] * 8 + [1] * 12
    assert any("frame 12 does not show what frame 8" in line for line in told)


@pytest.mark.parametrize("cut", [25, 60, 140, 700, 1500])
def test_a_frame_that_was_cut_off_where_the_file_goes_on(melt, cut):
    """A run that was killed while writing, and went on later: at whatever byte, that frame alone is left out."""
    folder, positions, ids, topology = melt
    first = write_dump(folder / "a.dump", positions[:9], ids).read_text()
    begin = first.rindex("ITEM: TIMESTEP")
    again = write_dump(folder / "b.dump", positions[8:], ids, steps=[100 * i for i in range(8, 20)]).read_text()
    path = folder / "t.dump"
    path.write_text(first[: begin + cut] + again)
    _, found, steps, segments, told = frames_of(path, n_modes=7, topology=topology, dt=1.0)
    assert steps == [100 * i for i in range(20)]
    assert set(segments) == {0}
    assert np.abs(found - expected_modes(positions, ids)).max() < 1e-6
    assert len(told) == 1
    assert "a frame was cut off at step" in told[0]


def test_the_piece_that_the_memory_needs_is_asked_for_when_opening(melt):
    folder, positions, ids, topology = melt
    steps = np.cumsum(1 + np.arange(20) ** 2).tolist()
    path = write_dump(folder / "t.dump", positions, ids, steps=steps)
    with pytest.raises(UserError, match="not evenly spaced"):
        open_trajectory(path, TrajectoryOptions(topology=topology, timestep=1.0), 5, needed=9)
