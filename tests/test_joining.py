"""Sources that are parts of one run are one stream, repeated frames once; independent runs stay apart."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from test_trajectories import BOX, write_dump, write_topology

from mlgle_lammps.api.streams import open_streams
from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import Frames, Species, joined
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter

N_FRAMES, N_CHAINS, N_BEADS = 40, 6, 5


def walk(seed, start=None):
    """Chains whose beads move a little from frame to frame and far in all, (frame, chain, bead, 3)."""
    random = np.random.default_rng(seed)
    frames = np.empty((N_FRAMES, N_CHAINS, N_BEADS, 3))
    beads = random.uniform(0, 10, (N_CHAINS, 1, 3)) + np.cumsum(random.normal(0, 0.5, (N_CHAINS, N_BEADS, 3)), axis=1)
    frames[0] = beads if start is None else start
    centre = frames[0].mean(axis=1, keepdims=True)
    shape = frames[0] - centre
    for i in range(1, N_FRAMES):
        new = np.cumsum(random.normal(0, 0.5, shape.shape), axis=1)
        shape = 0.98 * shape + np.sqrt(1 - 0.98**2) * (new - new.mean(axis=1, keepdims=True))
        centre = centre + random.normal(0, 0.25, centre.shape)
        frames[i] = centre + shape
    return frames


RUN, STEPS = walk(1), np.arange(N_FRAMES) * 100


@pytest.fixture
def ids(tmp_path):
    found = 1 + np.arange(N_CHAINS * N_BEADS).reshape(N_CHAINS, N_BEADS)
    write_topology(tmp_path / "m.data", found)
    return found


def read(folder, paths, **options):
    """Return steps, segments, com and modes of what is replayed, and all that is said."""
    given = options if "dt" in options else options | {"timestep": 0.01}
    streams = open_streams(paths, TrajectoryOptions(topology=folder / "m.data", **given), 4)
    return collected(streams)


def collected(streams):
    source = RecordedSource(streams)
    frames = joined(list(source))
    return frames, len(streams), [*source.system.notes, *source.ending().warnings]


def dump(folder, ids, name, part, frames=RUN, steps=STEPS, **options):
    return write_dump(folder / name, frames[part], ids, steps=steps[part], **options)


def the_run(folder, ids, **options):
    return read(folder, [dump(folder, ids, "whole.dump", slice(None))], **options)[0]


def assert_frames(found, expected):
    assert found.steps.tolist() == expected.steps.tolist()
    assert found.segments.tolist() == expected.segments.tolist()
    assert np.abs(found.modes - expected.modes).max() < 1e-5
    moved, wanted = found.com - found.com[0], expected.com - expected.com[0]
    assert np.abs(moved - wanted).max() < 1e-6


# ------------------------------------------------------------------ trajectories


@pytest.mark.parametrize("how", ["itself", "copy", "link", "prefix first", "prefix last", "stride", "other digits"])
def test_the_same_frames_are_taken_once(tmp_path, ids, how):
    whole = dump(tmp_path, ids, "whole.dump", slice(None))
    twin = tmp_path / "twin.dump"
    if how == "copy":
        shutil.copy(whole, twin)
    elif how == "link":
        twin.symlink_to(whole)
    elif how.startswith("prefix"):
        dump(tmp_path, ids, "twin.dump", slice(0, 25))
    elif how == "stride":
        dump(tmp_path, ids, "twin.dump", slice(None, None, 3))
    elif how == "other digits":
        dump(tmp_path, ids, "twin.dump", slice(None), frames=np.round(RUN, 4))
    paths = [whole, whole] if how == "itself" else [twin, whole] if how == "prefix first" else [whole, twin]
    found, n_streams, said = read(tmp_path, paths)
    assert n_streams == 1
    assert_frames(found, the_run(tmp_path, ids))
    lines = [line for line in said if "it is taken once" in line or "it is left out" in line]
    assert len(lines) == 1, said


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize(
    "cuts",
    [
        [(0, 20), (20, 40)],  # one goes on where the other ended
        [(0, 21), (20, 40)],  # with the frame of the restart in both
        [(0, 25), (15, 40)],
        [(15, 40), (0, 25)],  # in the wrong order
        [(25, 40), (0, 12), (10, 30)],
        [(0, 25), (10, 20), (24, 40)],  # one within another
    ],
)
def test_parts_of_one_run_are_one_stream(tmp_path, ids, cuts, images):
    paths = [dump(tmp_path, ids, f"{i}.dump", slice(*cut), images=images) for i, cut in enumerate(cuts)]
    found, n_streams, said = read(tmp_path, paths)
    assert n_streams == 1
    assert_frames(found, the_run(tmp_path, ids))
    assert sum("are parts of one run and are read as one stream" in line for line in said) == 1


def test_skip_and_stride_are_of_the_whole_run(tmp_path, ids):
    paths = [dump(tmp_path, ids, f"{i}.dump", slice(*cut)) for i, cut in enumerate([(0, 20), (17, 40)])]
    found, _, _ = read(tmp_path, paths, skip=3, stride=3)
    assert_frames(found, the_run(tmp_path, ids, skip=3, stride=3))


def test_phases_of_one_run_interleave(tmp_path, ids):
    """Every second frame in one file, the others in another: no frame is in both, yet they are one run."""
    paths = [dump(tmp_path, ids, f"{i}.dump", slice(i, None, 2)) for i in range(2)]
    found, n_streams, _ = read(tmp_path, paths)
    assert n_streams == 1
    assert_frames(found, the_run(tmp_path, ids))


def test_steps_and_image_flags_that_begin_anew(tmp_path, ids):
    """As after read_data of what write_data wrote without flags, and reset_timestep 0: content tells the place."""
    again = RUN.copy()
    again[20:] -= BOX * np.floor(again[20] / BOX)  # flags are zero in the first frame; whole boxes from there on
    steps = np.where(np.arange(N_FRAMES) < 20, STEPS, STEPS - 2000)
    one = dump(tmp_path, ids, "one.dump", slice(0, 21), steps=STEPS)
    two = dump(tmp_path, ids, "two.dump", slice(20, None), frames=again, steps=steps)
    found, n_streams, said = read(tmp_path, [one, two])
    assert n_streams == 1
    assert_frames(found, the_run(tmp_path, ids))
    assert any("begin anew" in line for line in said)


def test_steps_that_begin_anew_without_a_frame_in_common(tmp_path, ids):
    one = dump(tmp_path, ids, "one.dump", slice(0, 20))
    two = dump(tmp_path, ids, "two.dump", slice(20, None), steps=STEPS - 2000)
    found, n_streams, _ = read(tmp_path, [two, one])
    assert n_streams == 1
    assert_frames(found, the_run(tmp_path, ids))


def test_a_restart_takes_the_place_of_what_it_went_back_over(tmp_path, ids):
    """The run was killed at frame 24 and started again at 20 with other noise."""
    other = walk(7, start=RUN[20])[:20]
    one = dump(tmp_path, ids, "one.dump", slice(0, 25))
    two = write_dump(tmp_path / "two.dump", other, ids, steps=STEPS[20:])
    found, n_streams, said = read(tmp_path, [one, two])
    expected, _, _ = read(tmp_path, [write_dump(tmp_path / "all.dump", np.concatenate([RUN[:20], other]), ids)])
    assert n_streams == 1
    assert_frames(found, expected)
    assert any("5 frames after a restart's beginning are left out" in line for line in said)


def test_parts_with_a_gap_are_segments(tmp_path, ids):
    paths = [dump(tmp_path, ids, f"{i}.dump", slice(*cut)) for i, cut in enumerate([(0, 15), (20, 40)])]
    found, _, _ = read(tmp_path, paths)
    assert len(found) == 35
    assert found.segments.tolist() == [0] * 15 + [1] * 20


@pytest.mark.parametrize("start", ["own", "the same", "the other's end"])
def test_independent_runs_stay_apart(tmp_path, ids, start):
    """Negative control: also replicas from one configuration, which share their first frame."""
    origin = {"own": None, "the same": RUN[0], "the other's end": RUN[-1] + 5.0}[start]
    other = walk(9, start=origin)
    if start == "the other's end":
        other = other[20:]
    one = dump(tmp_path, ids, "one.dump", slice(None))
    two = write_dump(tmp_path / "two.dump", other, ids)
    found, n_streams, said = read(tmp_path, [one, two])
    assert n_streams == 2
    assert len(found) == N_FRAMES + len(other)
    assert not any("one run" in line or "left out" in line for line in said)


def test_frames_in_another_order_are_refused(tmp_path, ids):
    one = dump(tmp_path, ids, "one.dump", slice(None))
    two = write_dump(tmp_path / "two.dump", np.concatenate([RUN[20:], RUN[:20]]), ids)
    with pytest.raises(UserError, match=r"one.dump and .*two.dump hold the same frames in another order"):
        read(tmp_path, [one, two])


def test_one_file_a_frame_with_copies(tmp_path, ids):
    for i in range(8):
        dump(tmp_path, ids, f"d.{100 * i}.dump", slice(i, i + 1))
    shutil.copy(tmp_path / "d.300.dump", tmp_path / "d.copy.dump")
    found, n_streams, said = read(tmp_path, [tmp_path / "d.*.dump"])
    assert n_streams == 1
    assert len(found) == 8
    assert any("1 frames repeat the step before" in line for line in said)


# ------------------------------------------------------------------ recorded streams


SOURCE = RouseSource(6, 12, 4, 60, 0.02, seed=2, every=10)
FRAMES = joined(list(SOURCE))


def part(start, stop, stride=1):
    return FRAMES[start:stop:stride]


def h5(path, frames, system=SOURCE.system):
    with FramesWriter(path, system) as writer:
        for frame in frames:
            writer.append(frame)
    return path


def npz(path, frames):
    np.savez(path, com=frames.com, modes=frames.modes, dt=0.02)
    return path


def run_folder(path, frames):
    run = RunFolder.create(path)
    journal = run.open_journal(SOURCE.system)
    for frame in frames:
        journal.append(frame)
    journal.flush()
    run.assemble_modes()
    return path


def opened(*paths):
    return collected(open_streams(paths, TrajectoryOptions(), 4))


def test_a_recorded_run_given_in_several_ways_is_taken_once(tmp_path):
    folder = run_folder(tmp_path / "run", FRAMES)
    shutil.copytree(folder, tmp_path / "copy")
    ways = [folder, folder / "modes.h5", tmp_path / "copy", npz(tmp_path / "s.npz", FRAMES), folder]
    ways.append(h5(tmp_path / "part.h5", part(10, 30)))
    found, n_streams, said = opened(*ways)
    assert n_streams == 1
    assert found.same_bits(joined(list(RecordedSource([folder]))))
    assert sum("taken once" in line or "left out" in line for line in said) == len(ways) - 1, said


@pytest.mark.parametrize("write", [h5, npz])
@pytest.mark.parametrize("cuts", [[(0, 40), (20, 60)], [(20, 60), (0, 21)], [(0, 30), (30, 60)]])
def test_recorded_parts_are_one_segment(tmp_path, write, cuts):
    """Centres that are whole boxes off in the later part are brought to those of the earlier one."""
    paths = []
    for i, cut in enumerate(cuts):
        frames = part(*cut)
        if cut[0] and cut[0] < max(stop for _, stop in cuts if stop < 60):
            moved = frames.com + np.arange(6)[:, None] * 30.0
            frames = Frames.of_chains(frames.steps, frames.segments, moved, frames.modes)
        paths.append(write(tmp_path / f"{i}.{'npz' if write is npz else 'h5'}", frames))
    found, n_streams, said = opened(*paths)
    assert n_streams == 1
    assert found.segments.tolist() == [0] * 60
    assert np.array_equal(found.modes, FRAMES.modes)
    assert np.allclose(found.com - found.com[0], FRAMES.com - FRAMES.com[0], atol=1e-9)
    assert np.array_equal(np.diff(found.steps), np.diff(FRAMES.steps) // (10 if write is npz else 1))
    assert any("parts of one run" in line for line in said)


def test_the_same_run_at_another_spacing_is_left_out(tmp_path):
    """A coarser record that reaches no further gives nothing; of one that does, the longer is used, and it is said."""
    frames = [f for f in part(0, 60, 2)]
    coarse = h5(tmp_path / "coarse.h5", frames, SOURCE.system.__class__(6, 12, 4, 0.04, every=20))
    found, n_streams, said = opened(h5(tmp_path / "fine.h5", FRAMES), coarse)
    assert (n_streams, len(found)) == (1, 60)
    assert any("coarse.h5 holds the same frames" in line for line in said)
    found, n_streams, said = opened(h5(tmp_path / "fine.h5", part(0, 31)), coarse)
    assert (n_streams, len(found)) == (1, 30)
    assert any("fine.h5: of the same run as" in line and "left out" in line for line in said)


def test_independent_recordings_stay_apart(tmp_path):
    """Negative control."""
    other = joined(list(RouseSource(6, 12, 4, 60, 0.02, seed=3, every=10)))
    found, n_streams, said = opened(h5(tmp_path / "a.h5", FRAMES), h5(tmp_path / "b.h5", other))
    assert (n_streams, len(found)) == (2, 120)
    assert not any("one run" in line or "left out" in line for line in said)


def with_ions(path, frames, n_ions=3):
    system = replace(SOURCE.system, others=(Species("ion", n_ions, 1, 0, ("com",)),))
    ions = {"ion": {"com": np.zeros((len(frames), n_ions, 3))}}
    return h5(path, replace(frames, channels=frames.channels | ions), system)


def test_species_that_are_left_out_are_named(tmp_path):
    parts = [with_ions(tmp_path / f"{i}.h5", part(*cut)) for i, cut in enumerate([(0, 40), (20, 60)])]
    assert any("'ion' are left out: replay one part by itself" in line for line in opened(*parts)[2])
    other = joined(list(RouseSource(6, 12, 4, 60, 0.02, seed=3, every=10)))
    pooled = [with_ions(tmp_path / "a.h5", FRAMES), with_ions(tmp_path / "b.h5", other, n_ions=4)]
    assert any("'ion': not the same in all recordings that are pooled" in line for line in opened(*pooled)[2])
    alike = [pooled[0], with_ions(tmp_path / "c.h5", other)]
    assert not any("'ion'" in line for line in opened(*alike)[2])


def test_recordings_without_modes_are_not_held_against_one_another(tmp_path):
    bare = h5(tmp_path / "bare.h5", FRAMES.first_modes(0), replace(SOURCE.system, n_modes=0, channels=("com",)))
    for pair in ((h5(tmp_path / "a.h5", FRAMES), bare), (bare, tmp_path / "a.h5")):
        with pytest.raises(UserError, match=r"bare\.h5: the frames have no modes, only com"):
            RecordedSource(open_streams(pair, TrajectoryOptions(), 3), n_modes=3)
