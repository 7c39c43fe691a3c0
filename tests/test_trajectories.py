"""Replay of trajectory files: the same modes as the live run's, and no guessing."""

import bz2
import gzip
import itertools
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "decks"))
from make_data import write as write_data

from mlgle_lammps.api.streams import open_streams
from mlgle_lammps.chains.modes import chain_modes
from mlgle_lammps.commands.replay import main as replay
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.lammps_dump import read_dump
from mlgle_lammps.formats.trajectory import open_tensor, open_trajectory
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import joined
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.store.recorded import RecordedSource

DECKS = Path(__file__).parent / "decks"
BIN = Path(sys.executable).parent
# the deck's production, from step 50 to 450, one frame each 10 steps
DUMPS = """
dump full all custom 10 ${folder}/full.dump id mol type x y z ix iy iz
dump_modify full format float %.14g
dump plain all custom 10 ${folder}/plain.dump id mol type x y z ix iy iz
dump bare all custom 10 ${folder}/bare.dump.gz id x y z
dump_modify bare format float %.14g time yes units yes
dump far all custom 10 ${folder}/far.dump element id xu yu zu
dump_modify far format float %.14g element C
dump scaled all custom 10 ${folder}/scaled.dump id xs ys zs ix iy iz
dump_modify scaled format float %.14g
dump dcd all dcd 10 ${folder}/wrapped.dcd
dump xtc all xtc 10 ${folder}/wrapped.xtc
dump_modify xtc precision 1000000
"""


def frames_of(path, n_modes=9, topology=DECKS / "data.small", **options):
    """Return system, frames (time, chain, mode 0..k, 3), steps, segments and warnings of a trajectory."""
    recording = open_trajectory(path, TrajectoryOptions(topology=topology, **options), n_modes)
    source = RecordedSource([recording])
    frames = joined(list(source))
    modes = np.concatenate([frames.com[:, :, np.newaxis], frames.modes], axis=2)
    return source.system, modes, frames.steps.tolist(), frames.segments.tolist(), source.ending().warnings


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """One live run whose deck also dumps: its folder, system and frames."""
    folder = tmp_path_factory.mktemp("live")
    text = (DECKS / "in.small").read_text().replace("#mlgle production", DUMPS + "\n#mlgle production")
    (folder / "in.dumping").write_text(text)
    write_data(folder / "data.small")
    command = [BIN / "mpirun", "-n", 1, sys.executable, DECKS / "run_with_recorder.py", folder / "in.dumping",
               "--every", 10, "--memory", 4, "--train-frames", 31, "--val-frames", 10, "--modes", 9,
               "-var", "folder", folder, "--out", folder / "run"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(DECKS.parent.parent)}
    done = subprocess.run([str(c) for c in command], env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    with FramesReader(folder / "run" / "modes.h5") as reader:
        chunk = reader.read(0, len(reader.steps))
        modes = np.concatenate([chunk.com[:, :, np.newaxis], chunk.modes], axis=2)
        return folder, reader.system, modes, chunk.steps.tolist()


@pytest.mark.mpi
@pytest.mark.lammps
class TestAgainstTheLiveRun:
    @pytest.mark.parametrize(
        ("name", "tolerance", "options"),
        [
            ("full.dump", 1e-6, {"timestep": 0.01}),
            ("far.dump", 1e-6, {"timestep": 0.01}),
            ("scaled.dump", 1e-6, {"timestep": 0.01}),
            ("plain.dump", 2e-5, {"dt": 0.1}),  # LAMMPS writes six digits unless told otherwise
        ],
    )
    def test_dump_gives_the_same_modes(self, live, name, tolerance, options):
        folder, system, modes, steps = live
        read, found, found_steps, segments, told = frames_of(folder / name, **options)
        assert found_steps == steps
        assert set(segments) == {0}
        assert np.abs(found - modes).max() < tolerance
        assert read.dt == pytest.approx(system.dt, rel=1e-12)
        assert (read.every, read.n_beads, read.n_chains) == (10, 10, 10)
        assert read.notes == told == ()
        assert read.box == pytest.approx(system.box, rel=1e-12)
        assert read.mode_variances == pytest.approx(system.mode_variances, rel=2e-4)

    def test_the_dump_was_wrapped_and_in_no_order(self, live):
        frames = list(read_dump(live[0] / "full.dump", print))
        assert any((np.diff(frame.ids) < 0).any() for frame in frames)
        assert frames[0].images is not None
        assert frames[-1].images is not None
        first, last = frames[0].images[np.argsort(frames[0].ids)], frames[-1].images[np.argsort(frames[-1].ids)]
        assert np.abs(first - last).max() >= 1  # some crossed the boundary
        assert all(((frame.positions > -0.5) & (frame.positions < 5.5)).all() for frame in frames)

    def test_h5md_with_image_flags_gives_the_same_modes(self, live, tmp_path):
        write_h5md(tmp_path / "t.h5", list(read_dump(live[0] / "full.dump", print)))
        system, found, steps, _, _ = frames_of(tmp_path / "t.h5", units="lj")
        assert np.abs(found - live[2]).max() < 1e-6
        assert steps == live[3]
        assert system.dt == pytest.approx(0.1)

    def test_dropping_the_image_flags_is_told_and_gives_the_same_displacements(self, live):
        system, found, _, _, told = frames_of(live[0] / "bare.dump.gz")
        assert "without image flags" in system.notes[0]
        assert "half the box" in system.notes[0]
        assert "of the box" in told[0]
        assert (system.units, system.time_unit, system.dt) == ("lj", "tau", pytest.approx(0.1))
        boxes = (found - live[2])[:, :, 0] / 5.0
        np.testing.assert_allclose(boxes, np.broadcast_to(np.rint(boxes[0]), boxes.shape), atol=1e-6)
        assert np.abs(found - live[2])[:, :, 1:].max() < 1e-6

    @pytest.mark.parametrize("name", ["wrapped.dcd", "wrapped.xtc"])
    def test_binary_trajectories_through_mdanalysis(self, live, name):
        system, found, steps, _, _ = frames_of(live[0] / name, units="lj")
        assert "without image flags" in system.notes[0]
        assert (system.dt, system.time_unit) == (pytest.approx(0.1, rel=1e-6), "tau")
        assert np.abs(found - live[2])[:, :, 1:].max() < 1e-5
        moved, expected = found[:, :, 0] - found[0, :, 0], live[2][:, :, 0] - live[2][0, :, 0]
        assert np.abs(moved - expected).max() < 1e-5
        assert steps == live[3]

    def test_netcdf_and_h5md_written_by_mdanalysis(self, live, tmp_path):
        universe = load_quietly(live[0] / "data.small", live[0] / "wrapped.dcd", topology_format="DATA")
        for name in ("t.ncdf", "t.h5md"):
            import MDAnalysis

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with MDAnalysis.Writer(str(tmp_path / name), len(universe.atoms)) as writer:
                    for _ in universe.trajectory:
                        writer.write(universe.atoms)
            system, found, _, _, _ = frames_of(tmp_path / name, dt=0.1)
            assert np.abs(found - live[2])[:, :, 1:].max() < 1e-5
            assert system.length_unit == "Angstrom"

    def test_replay_takes_the_dump_from_the_command_line(self, live, tmp_path, monkeypatch):
        import mlgle_lammps.pipeline.learning

        taken = []

        def take(source, *_):
            taken.extend(source)
            return 0

        monkeypatch.setattr(mlgle_lammps.pipeline.learning, "learn", take)
        options = ["--topology", live[0] / "data.small", "--timestep", 0.01, "--stride", 2, "--skip", 1]
        arguments = [live[0] / "full.dump", *options, "--modes", 5, "--out", tmp_path / "out"]
        assert replay([str(a) for a in arguments]) == 0
        assert [frame.last_step for frame in taken] == live[3][1::2]
        assert np.abs(joined(taken).modes - live[2][1::2, :, 1:6]).max() < 1e-6


def load_quietly(*files, **options):
    import MDAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MDAnalysis.Universe(*map(str, files), to_guess=(), **options)


def write_h5md(path, frames, units=None):
    with h5py.File(path, "w") as file:
        group = file.create_group("particles/all")
        group["position/value"] = np.array([frame.positions for frame in frames])
        group["position/step"] = 50 + 10 * np.arange(len(frames))
        group["position/time"] = 0.1
        group["position/time"].attrs["offset"] = 0.5
        group["image/value"] = np.array([frame.images for frame in frames])
        group["id/value"] = np.array([frame.ids for frame in frames])
        group["box/edges"] = np.diag(frames[0].cell)
        group["box"].attrs["boundary"] = ["periodic"] * 3
        for name, unit in (units or {}).items():
            group["position"][name].attrs["unit"] = unit


# ------------------------------------------------------------------ without LAMMPS

BOX, N_CHAINS, N_BEADS = 6.0, 4, 8
TILTED = np.array([[6.0, 0, 0], [1.5, 6.0, 0], [-2.0, 1.0, 6.0]])


def walkers(n_frames=12, step=0.1, seed=5):
    """Return unwrapped chains (time, chain, bead, 3) that drift through the box, and their atom ids."""
    generator = np.random.default_rng(seed)
    start = generator.normal(size=(N_CHAINS, N_BEADS, 3)).cumsum(axis=1) * 0.5 + generator.uniform(0, BOX, (4, 1, 3))
    moves = generator.normal(size=(n_frames, N_CHAINS, 1, 3)) * step + 0.3 * np.array([1.0, -1.0, 0.5])
    wiggle = 0.02 * generator.normal(size=(n_frames, N_CHAINS, N_BEADS, 3))
    ids = generator.permutation(np.arange(1, 1 + N_CHAINS * N_BEADS)).reshape(N_CHAINS, N_BEADS)
    return start + moves.cumsum(axis=0) + wiggle, ids


def write_topology(path, ids, masses=(1.0,)):
    bonds = [(a, b) for row in ids for a, b in itertools.pairwise(row)]
    lines = ["chains", "", f"{ids.size} atoms", f"{len(bonds)} bonds", f"{len(masses)} atom types", "1 bond types", ""]
    lines += [f"0 {BOX} {axis}lo {axis}hi" for axis in "xyz"] + ["", "Masses", ""]
    lines += [f"{i} {mass}" for i, mass in enumerate(masses, start=1)] + ["", "Atoms # bond", ""]
    lines += [f"{atom} {row // N_BEADS + 1} {1 + row % len(masses)} 0 0 0" for row, atom in enumerate(ids.ravel())]
    lines += ["", "Bonds", ""] + [f"{i} 1 {a} {b}" for i, (a, b) in enumerate(bonds, start=1)]
    path.write_text("\n".join(lines) + "\n")
    return path


def write_dump(path, positions, ids, *, cell=None, images=True, steps=None, seed=1, boundary="pp pp pp"):
    """Write frames as LAMMPS does: wrapped, in a new order each time."""
    generator = np.random.default_rng(seed)
    cells = [np.diag([BOX] * 3) if cell is None else np.asarray(cell)] * len(positions)
    if np.ndim(cell) == 3:
        cells = list(cell)
    lines = []
    for number, (frame, H) in enumerate(zip(positions, cells, strict=True)):
        step = 100 * number if steps is None else steps[number]
        flat = frame.reshape(-1, 3)
        boxes = np.floor(flat @ np.linalg.inv(H)).astype(int)
        inside = flat - boxes @ H
        lines += ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(flat))]
        xy, xz, yz = H[1, 0], H[2, 0], H[2, 1]
        if xy or xz or yz:
            lines += [f"ITEM: BOX BOUNDS xy xz yz {boundary}"]
            lines += [f"{min(0, xy, xz, xy + xz)} {H[0, 0] + max(0, xy, xz, xy + xz)} {xy}"]
            lines += [f"{min(0, yz)} {H[1, 1] + max(0, yz)} {xz}", f"0 {H[2, 2]} {yz}"]
        else:
            lines += [f"ITEM: BOX BOUNDS {boundary}"] + [f"0 {H[i, i]}" for i in range(3)]
        lines += ["ITEM: ATOMS id x y z" + (" ix iy iz" if images else "")]
        for i in generator.permutation(len(flat)):
            row = f"{ids.ravel()[i]} " + " ".join(f"{x:.12f}" for x in inside[i])
            lines.append(row + (" " + " ".join(map(str, boxes[i])) if images else ""))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def melt(tmp_path):
    positions, ids = walkers()
    return tmp_path, positions, ids, write_topology(tmp_path / "chains.data", ids)


def expected_modes(positions, ids, n_modes=7):
    """Chains start at their end of lower id and follow one another by it."""
    rows = [row if ids[c, 0] < ids[c, -1] else row[:, ::-1] for c, row in enumerate(np.moveaxis(positions, 1, 0))]
    order = np.argsort([min(ids[c, 0], ids[c, -1]) for c in range(len(ids))])
    return chain_modes(np.moveaxis(np.array(rows)[order], 0, 1), n_modes)


@pytest.mark.parametrize("images", [True, False])
@pytest.mark.parametrize("cell", [None, TILTED])
def test_boxes_straight_and_tilted(melt, cell, images):
    folder, positions, ids, topology = melt
    path = write_dump(folder / "t.dump", positions, ids, cell=cell, images=images)
    _, found, _, _, _ = frames_of(path, n_modes=7, topology=topology, dt=1.0)
    expected = expected_modes(positions, ids)
    assert np.abs(found[:, :, 1:] - expected[:, :, 1:]).max() < 1e-6
    moved, wanted = found[:, :, 0] - found[0, :, 0], expected[:, :, 0] - expected[0, :, 0]
    assert np.abs(moved - wanted).max() < 1e-6
    assert np.abs(wanted).max() > 3.0  # chains did cross the box
    if images:
        assert np.abs(found[:, :, 0] - expected[:, :, 0]).max() < 1e-6


def test_directions_that_are_not_periodic_are_left_alone(melt):
    folder, positions, ids, topology = melt
    path = write_dump(folder / "t.dump", positions, ids, images=False)
    path.write_text(path.read_text().replace("pp pp pp", "ff ff ff"))
    system, found, _, _, _ = frames_of(path, n_modes=7, topology=topology, dt=1.0)
    assert system.box is None
    assert (
        np.abs(found[:, :, 1:] - expected_modes(positions, ids)[:, :, 1:]).max() > 1.0
    )  # wrapped, and no box to undo it


@pytest.mark.parametrize("pack", [gzip.open, bz2.open])
def test_compressed_dumps(melt, pack):
    folder, positions, ids, topology = melt
    plain = write_dump(folder / "t.dump", positions, ids)
    packed = folder / f"t.dump.{'gz' if pack is gzip.open else 'bz2'}"
    with pack(packed, "wb") as file:
        file.write(plain.read_bytes())
    one, two = (frames_of(path, n_modes=7, topology=topology, dt=1.0)[1] for path in (plain, packed))
    assert one.tobytes() == two.tobytes()


def test_without_image_flags_a_step_too_long_is_refused(melt):
    folder, _, ids, topology = melt
    positions = walkers(step=1.0)[0]
    path = write_dump(folder / "t.dump", positions, ids, images=False)
    with pytest.raises(UserError, match=r"would move 0\.\d+ of the box .* image flags"):
        frames_of(path, topology=topology, dt=1.0)
    frames_of(write_dump(path, positions, ids), topology=topology, dt=1.0)  # with them it is read


def test_without_image_flags_a_bond_too_long_is_refused(melt):
    folder, positions, ids, topology = melt
    positions = positions.copy()
    positions[3, 1, 4:] += 2.7
    path = write_dump(folder / "t.dump", positions, ids, images=False)
    with pytest.raises(UserError, match=r"in frame 3 a bond spans 0\.\d+ of the box"):
        frames_of(path, topology=topology, dt=1.0)


def test_missing_and_repeated_frames_become_a_seam_and_are_told(melt):
    folder, positions, ids, topology = melt
    steps = [0, 100, 200, 200, 500, 600, 700, 800, 900, 1000, 1100, 1200]
    path = write_dump(folder / "t.dump", positions, ids, steps=steps)
    _, found, kept, segments, told = frames_of(path, n_modes=7, topology=topology, timestep=0.5)
    assert kept == [0, 100, 200, *steps[4:]]
    assert segments == [0] * 3 + [1] * 8
    assert "1 frames repeat" in told[0]
    assert "missing in 1 places" in told[1]
    expected = np.delete(expected_modes(positions, ids), 3, axis=0)
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([0, 100, 200, *range(0, 900, 100)], r"frame 3 goes back from 200 to 0: give independent runs as separate"),
        ([300, 200, 100, *range(400, 1300, 100)], r"frame 1 goes back from 300 to 200"),
    ],
)
def test_frames_that_go_back_to_the_beginning_are_refused(melt, steps, message):
    folder, positions, ids, topology = melt
    path = write_dump(folder / "t.dump", positions, ids, steps=steps)
    with pytest.raises(UserError, match=message):
        frames_of(path, topology=topology, dt=1.0)


def test_independent_runs_are_pooled(melt):
    folder, _, ids, topology = melt
    paths = [write_dump(folder / f"{i}.dump", walkers(seed=5 + i)[0], ids) for i in range(2)]
    streams = open_streams(paths, TrajectoryOptions(topology=topology, dt=2.0), 5)
    frames = list(RecordedSource(streams, n_modes=5))
    assert [f.last_segment for f in frames] == [0] * 12 + [1] * 12
    assert [f.last_step for f in frames] == list(range(0, 2400, 100))


def test_time_must_be_known(melt):
    folder, positions, ids, topology = melt
    path = write_dump(folder / "t.dump", positions, ids)
    with pytest.raises(UserError, match=r"does not say the time between two frames: give `timestep` .* or `dt`"):
        frames_of(path, topology=topology)
    system, *_ = frames_of(path, topology=topology, timestep=0.02, stride=3)
    assert (system.dt, system.every) == (pytest.approx(6.0), 300)


def test_a_dump_cut_off_by_the_end_of_its_run_loses_its_last_frame(melt):
    folder, positions, ids, topology = melt
    path = write_dump(folder / "t.dump", positions, ids)
    path.write_text(path.read_text()[:-30])
    _, found, _, _, told = frames_of(path, topology=topology, dt=1.0)
    assert len(found) == len(positions) - 1
    assert "ends within frame 11" in told[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ITEM: ATOMS id", "ITEM: ATOMS type", "has columns type x y z .* are needed"),
        ("ITEM: ATOMS id x y z", "ITEM: ATOMS id u v w", "has columns id u v w"),
        ("ITEM: BOX BOUNDS pp", "ITEM: BOX BOUNDS abc origin pp", "the box is 0 6.0"),
        ("ITEM: NUMBER", "SOMETHING: NUMBER", "not a whole LAMMPS text dump"),
        ("TIMESTEP\n300", "TIMESTEP\nthree", "frame 3, step 200: invalid literal"),
    ],
)
def test_damaged_dumps_are_named(melt, old, new, message):
    folder, positions, ids, topology = melt
    path = write_dump(folder / "t.dump", positions, ids)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        frames_of(path, topology=topology, dt=1.0)


def test_topology_of_another_system_is_refused(melt):
    folder, positions, ids, topology = melt
    path = write_dump(folder / "t.dump", positions[:, :3], ids[:3])
    with pytest.raises(UserError, match=r"frame 0 has 24 of the chains' 32 beads: .* do not belong together"):
        frames_of(path, topology=topology, dt=1.0)


def test_masses_that_differ_and_selections(melt):
    folder, positions, ids, _ = melt
    path = write_dump(folder / "t.dump", positions, ids)
    mixed = write_topology(folder / "mixed.data", ids, masses=(1.0, 1.5))
    system, *_ = frames_of(path, n_modes=5, topology=mixed, dt=1.0)
    assert "masses in the molecules differ (1 to 1.5)" in system.notes[0]
    with pytest.raises(UserError, match="`select` 'type 3' finds no atom"):
        frames_of(path, topology=mixed, dt=1.0, select="type 3")
    with pytest.raises(UserError, match=r"no bond joins two atoms of group .* check `select`"):
        frames_of(path, topology=mixed, dt=1.0, select="type 2")
    ends = " or ".join(f"id {atom}" for atom in ids[:, 0])
    system, *_ = frames_of(path, topology=mixed, dt=1.0, select=f"not ({ends})")
    assert system.n_beads == N_BEADS - 1


def test_h5md_units(melt):
    folder, positions, ids, topology = melt
    frames = list(read_dump(write_dump(folder / "t.dump", positions, ids), print))
    write_h5md(folder / "t.h5", frames, units={"value": "nm", "time": "ps"})
    system, *_ = frames_of(folder / "t.h5", topology=topology)
    assert (system.length_unit, system.time_unit) == ("nm", "ps")
    with pytest.raises(UserError, match="is in ps, `units` real means fs"):
        frames_of(folder / "t.h5", topology=topology, units="real")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # MDAnalysis closes what never opened
def test_options_that_do_not_fit_are_named(melt, tmp_path):
    folder, positions, ids, topology = melt
    path = write_dump(folder / "t.dump", positions, ids)
    with pytest.raises(UserError, match=r"name its LAMMPS data file .* with `topology`"):
        open_streams([path], TrajectoryOptions(), 5)
    with pytest.raises(UserError, match="`topology`: for trajectories only"):
        open_streams([folder], TrajectoryOptions(topology=topology), 5)
    with pytest.raises(UserError, match="no such file"):
        frames_of(path, topology=folder / "other.data", dt=1.0)
    (tmp_path / "noise.xtc").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(UserError, match="cannot be read"):
        frames_of(tmp_path / "noise.xtc", topology=topology, dt=1.0)
    with pytest.raises(UserError, match="`dt` is 0; give a time above 0"):
        TrajectoryOptions(dt=0.0)


def test_without_mdanalysis_the_extra_is_named(melt, monkeypatch):
    folder, positions, ids, topology = melt
    path = write_dump(folder / "t.dump", positions, ids)
    monkeypatch.setitem(sys.modules, "MDAnalysis", None)
    _, found, *_ = frames_of(path, n_modes=7, topology=topology, dt=1.0)  # a data file and a dump need no extra
    np.testing.assert_allclose(found, expected_modes(positions, ids), atol=1e-3)
    shutil.copy(topology, folder / "t.xtc")
    for wanted in ({"select": "type 1"}, {"path": folder / "t.xtc"}):
        with pytest.raises(UserError, match=r"pip install 'mlgle_lammps\[trajectories\]'"):
            frames_of(**{"path": path, "topology": topology, "dt": 1.0} | wanted)


# ------------------------------------------------------------------ tensors of modes


def write_tensor(path, content):
    import torch

    torch.save(content, path)
    return path


def test_tensor_of_modes_with_the_centre_of_mass_first(tmp_path):
    import torch

    values = np.random.default_rng(2).normal(size=(50, 6, 5, 3))
    path = write_tensor(tmp_path / "modes.pt", torch.tensor(values))
    for options in (TrajectoryOptions(dt=100.0), TrajectoryOptions(dt=100.0, skip=3, stride=2)):
        source = RecordedSource([open_tensor(path, options)])
        frames, kept = list(source), values[options.skip :: options.stride]
        assert (source.system.n_chains, source.system.n_modes, source.system.n_beads) == (6, 4, None)
        assert source.system.dt == 100.0 * options.stride
        np.testing.assert_array_equal(joined(frames).com, kept[:, :, 0])
        np.testing.assert_array_equal(joined(frames).modes, kept[:, :, 1:].astype(np.float32))


def test_options_that_tensors_have_no_use_for_are_named(tmp_path):
    import torch

    path = write_tensor(tmp_path / "modes.pt", torch.zeros(50, 6, 5, 3))
    for own, named in (
        ({"timestep": 0.1}, "`timestep`"), ({"select": "type 1"}, "`select`"), ({"topology": path}, "`topology`"),
        ({"group": "all", "unwrapped": True}, "`unwrapped`, `group`"), ({"length_bin": 0.1}, "`length_bin`"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"^{named}: for trajectories only, and .*modes.pt is a tensor of modes"):
            open_streams([path], TrajectoryOptions(dt=1.0, **own), 4)
    assert len(open_streams([path], TrajectoryOptions(dt=1.0, units="lj", skip=1, stride=2), 4)) == 1


class Evil:
    def __reduce__(self):
        return (os.system, ("touch evil",))


def test_tensors_that_are_none_are_refused(tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    options = TrajectoryOptions(dt=1.0)
    good = torch.zeros(5, 3, 4, 3)
    cases = {
        "holds Python objects, which are never loaded": Evil(),
        "holds a dict where one tensor": {"modes": good},
        r"shape \(5, 3, 4\)": good[..., 0],
        r"shape \(5, 3, 1, 3\)": good[:, :, :1],
        "torch.int64": good.to(torch.int64),
    }
    for message, content in cases.items():
        with pytest.raises(UserError, match=message):
            open_tensor(write_tensor(tmp_path / "t.pt", content), options)
    assert not (tmp_path / "evil").exists()
    (tmp_path / "t.pt").write_bytes(b"no torch file")
    with pytest.raises(UserError, match=r"t\.pt"):
        open_tensor(tmp_path / "t.pt", options)
    with pytest.raises(UserError, match="give it with `dt`"):
        open_tensor(tmp_path / "t.pt", replace(options, dt=None))
