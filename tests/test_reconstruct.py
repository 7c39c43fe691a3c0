"""Beads from modes: exact transform, sizes of known chains, files that other programs open."""

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from mlgle_lammps.chains.beads import (
    SIZES,
    bead_positions,
    chain_sizes,
    completed_variances,
    draw_fast_modes,
    extrapolated_variances,
    sizes_from_modes,
)
from mlgle_lammps.chains.modes import chain_modes
from mlgle_lammps.chains.random_walks import ChainModel, grow_chains
from mlgle_lammps.chains.rouse import RouseSource, rouse_mode_variance
from mlgle_lammps.commands.reconstruct import main as reconstruct
from mlgle_lammps.evaluate.reconstruction import compare_sizes
from mlgle_lammps.formats.bead_files import SUFFIXES
from mlgle_lammps.formats.trajectory import open_trajectory
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import Frames, joined
from mlgle_lammps.store.reader import FramesReader
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.writer import FramesWriter, GeneratedWriter

N, K = 20, 6
VARIANCES = rouse_mode_variance(np.arange(1, N), N)
# of an ideal chain with unit bonds
KNOWN = {"end_to_end_sq": N - 1, "gyration_sq": (N * N - 1) / (6 * N), "bond_sq": 1.0}
CUBIC, TILTED = (9.0, 9.0, 9.0, 0.0, 0.0, 0.0), (9.0, 8.0, 7.0, 1.0, -2.0, 1.5)


def test_all_modes_give_the_beads_back():
    beads = np.random.default_rng(1).normal(size=(3, 4, N, 3)).cumsum(axis=2)
    modes = chain_modes(beads, N - 1)
    np.testing.assert_allclose(bead_positions(modes[..., 0, :], modes[..., 1:, :], N), beads, atol=1e-12)


def test_sizes_from_modes_are_those_of_the_beads():
    beads = np.random.default_rng(2).normal(size=(5, N, 3)).cumsum(axis=1)
    modes = chain_modes(beads, N - 1)[:, 1:]
    np.testing.assert_allclose(sizes_from_modes(modes, np.zeros(0), N), chain_sizes(beads), rtol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_drawn_chains_have_the_known_sizes(factor):
    """Negative control: variances 10% too large are seen."""
    modes = draw_fast_modes(factor * VARIANCES, (20000,), np.random.default_rng(3))
    sizes = chain_sizes(bead_positions(np.zeros((20000, 3)), modes, N))
    scores = (sizes.mean(axis=0) - list(KNOWN.values())) / (sizes.std(axis=0) / np.sqrt(len(sizes)))
    assert (np.abs(scores) < 4).all() == (factor == 1.0)
    expected = sizes_from_modes(np.zeros((0, 3)), VARIANCES, N)
    np.testing.assert_allclose(expected, list(KNOWN.values()), rtol=1e-12)


def test_extrapolation_is_exact_for_ideal_chains_and_too_long_for_stiff_ones():
    np.testing.assert_allclose(extrapolated_variances(VARIANCES[:K], N), VARIANCES[K:], rtol=1e-12)
    stiff = ChainModel(bond=1.0, angle_stiffness=5.0)
    modes = chain_modes(grow_chains(stiff, 4000, N, np.random.default_rng(4)), N - 1)[:, 1:]
    recorded = np.mean(modes**2, axis=(0, 2))
    _, _, bond_sq = sizes_from_modes(modes[:, :K], extrapolated_variances(recorded[:K], N), N).mean(axis=0)
    assert bond_sq > 1.3
    *_, known = sizes_from_modes(modes[:, :K], recorded[K:], N).mean(axis=0)
    assert known == pytest.approx(1.0, rel=1e-10)


def test_one_frame_of_stiff_chains_completes_the_average_of_the_slow_modes():
    stiff = ChainModel(bond=1.0, angle_stiffness=2.0)
    chains = chain_modes(grow_chains(stiff, 4000, N, np.random.default_rng(4)), N - 1)[:, 1:]
    average, first = np.mean(chains**2, axis=(0, 2)), np.mean(chains[:10] ** 2, axis=(0, 2))
    for variances, close in ((completed_variances(average[:K], first), True), (first[K:], False)):
        *_, bond_sq = sizes_from_modes(chains[:, :K], variances, N).mean(axis=0)
        assert (abs(bond_sq - 1.0) < 1e-10) == close
    np.testing.assert_array_equal(completed_variances(np.zeros(0), first), first)


def make_run(folder, *, box=CUBIC, variances=tuple(VARIANCES), bond=1.0, n_beads=N, frames=300):
    """Write modes.h5 and generated.h5 of Rouse chains as a run leaves them."""
    folder.mkdir()
    md = RouseSource(12, N, K, frames, 60.0, 7, every=100)
    made = RouseSource(40, N, K, frames, 60.0, 8, bond=bond)
    system = replace(md.system, box=box, mode_variances=variances, n_beads=n_beads)
    com = 5.0 * np.random.default_rng(5).normal(size=(12, 3))
    with FramesWriter(folder / "modes.h5", system) as writer:
        for f in md:
            writer.append(Frames.of_chains(f.steps, f.segments, f.com + com, f.modes))
    with GeneratedWriter(folder / "generated.h5", system, 40, frames, 2) as generated:
        for n, f in enumerate(made, start=1):
            generated.append(replace(f, steps=np.array([2 * n])))
    return folder


def run(*arguments):
    return reconstruct([str(argument) for argument in arguments])


def open_quietly(*files, **options):
    import MDAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MDAnalysis.Universe(*map(str, files), to_guess=(), **options)


@pytest.fixture(scope="module")
def rouse_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("rouse") / "run")


def test_sizes_of_a_rouse_run_are_known_and_those_of_its_md(tmp_path):
    folder = make_run(tmp_path / "run", frames=2000)
    assert run(folder, "--trajectories", 40) == 0
    kept = json.loads((folder / "reconstruct.json").read_text())
    assert (kept["chains"], kept["frames"], kept["modes_drawn"]) == (40, 1000, N - 1 - K)
    for name, known in KNOWN.items():
        row = kept["sizes"][name]
        for which in ("reconstructed", "md"):
            assert abs(row[which]["value"] - known) < 4 * row[which]["se"]
        assert abs(row["ratio"] - 1) < 4 * row["ratio_se"]
    assert kept["sizes"]["end_to_end_sq"]["ratio"] == pytest.approx(1.0, abs=0.03)


def test_generated_chains_too_large_are_seen(tmp_path):
    """Negative control: bonds of the generated modes 10% longer."""
    folder = make_run(tmp_path / "run", bond=1.1)
    assert run(folder, "--trajectories", 40) == 0
    row = json.loads((folder / "reconstruct.json").read_text())["sizes"]["end_to_end_sq"]
    assert row["ratio"] - 1 > 4 * row["ratio_se"]


@pytest.mark.parametrize("form", ["lammps-dump", "h5md"])
@pytest.mark.parametrize("box", [CUBIC, TILTED])
def test_files_are_read_back_as_the_generated_modes(tmp_path, form, box):
    folder = make_run(tmp_path / "run", box=box, frames=30)
    assert run(folder, "--format", form, "--every", 3, "--start", 1) == 0
    assert run(folder, "--format", "data") == 0
    path = next(path for path in folder.glob("reconstructed.*") if path.suffix != ".data")
    options = TrajectoryOptions(topology=folder / "reconstructed.data", timestep=0.6)
    source = RecordedSource([open_trajectory(path, options, K)])
    frames = joined(list(source))
    with FramesReader(folder / "generated.h5") as reader, FramesReader(folder / "modes.h5") as md:
        wanted = reader.read(1, 30)
        centres = md.read(29, 30).com[0]
    assert (source.system.dt, source.system.n_beads) == (pytest.approx(360.0), N)
    assert source.system.box == pytest.approx(box)
    assert np.abs(frames.modes - wanted.modes[::3, :12]).max() < 1e-5
    assert np.abs(frames.com - wanted.com[::3, :12] - centres).max() < 1e-5


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("lammps-dump", {"format": "LAMMPSDUMP", "unwrap_images": True, "topology_format": "DATA"}),
        ("h5md", {"convert_units": False, "topology_format": "DATA"}),
        ("xyz", {"topology_format": "DATA"}),
    ],
)
@pytest.mark.filterwarnings("ignore:Reader has no dt")
def test_mdanalysis_opens_them_and_finds_the_same_sizes(rouse_run, form, options):
    for each in (form, "data"):
        assert run(rouse_run, "--format", each, "--every", 10, "--overwrite") == 0
    kept = json.loads((rouse_run / "reconstruct.json").read_text())
    path = rouse_run / f"reconstructed.{SUFFIXES[form]}"
    universe = open_quietly(rouse_run / "reconstructed.data", path, **options)
    assert len(universe.trajectory) == 30
    assert len(universe.bonds) == 12 * (N - 1)
    sizes = []
    for _ in universe.trajectory:
        beads = universe.atoms.positions.reshape(12, N, 3).astype(np.float64)
        if form == "h5md":  # MDAnalysis knows no image flags
            bonds = np.diff(beads, axis=1)
            bonds -= 9.0 * np.rint(bonds / 9.0)
            beads = np.concatenate([beads[:, :1], beads[:, :1] + bonds.cumsum(axis=1)], axis=1)
        sizes.append(chain_sizes(beads))
    found = np.mean(sizes, axis=(0, 1))
    assert found == pytest.approx([kept["sizes"][name]["reconstructed"]["value"] for name in SIZES], rel=1e-5)


@pytest.mark.lammps
@pytest.mark.parametrize("box", [CUBIC, TILTED, None])
def test_lammps_runs_from_the_data_file(tmp_path, box):
    folder = make_run(tmp_path / "run", box=box, frames=10)
    assert run(folder, "--format", "data", "--mass", 2.5) == 0
    (tmp_path / "in").write_text(
        f"units lj\natom_style bond\nread_data {folder}/reconstructed.data\nbond_style harmonic\nbond_coeff 1 1.5 0\n"
        "pair_style zero 1.0\npair_coeff * *\ncomm_modify cutoff 4.4\nfix 1 all nve\nrun 5\n"
        "compute b all bond/local dist\nvariable n equal bonds\nvariable m equal mass(all)\n"
        'print "found ${n} ${m}"\n'
    )
    command = [Path(sys.executable).with_name("lmp"), "-in", "in", "-log", "none"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=tmp_path, timeout=180)
    assert f"found {12 * (N - 1)} {12 * N * 2.5:g}" in done.stdout, done.stdout[-500:]


def test_without_recorded_variances_they_are_extrapolated_and_that_is_said(tmp_path):
    folder = make_run(tmp_path / "run", variances=None, box=None, n_beads=None, frames=100)
    assert run(folder) == 2
    assert run(folder, "--beads", K) == 2
    assert run(folder, "--beads", N) == 0
    kept = json.loads((folder / "reconstruct.json").read_text())
    assert "extrapolated" in kept["fast_mode_source"]
    assert any("flexible chains only" in line for line in kept["warnings"])
    assert any("box is not recorded" in line for line in kept["warnings"])
    row = kept["sizes"]["bond_sq"]["md"]
    assert row["value"] == pytest.approx(1.0, abs=0.1)
    assert "xu yu zu" in (folder / "reconstructed.lammpstrj").read_text()[:200]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trajectories", 41), "has 40"),
        (("--start", 300), "leave none"),
        (("--every", 0), "--every is 0"),
        (("--out", "missing/here.xyz"), "there is no folder missing"),
        (("--beads", 30), "the chains of"),
        (("--mass", 2.0), "--mass is for data files alone, and --format is lammps-dump"),
    ],
)
def test_options_that_do_not_fit_are_named(rouse_run, capfd, arguments, message):
    assert run(rouse_run, *arguments, *(() if "--out" in arguments else ("--overwrite",))) == 2
    assert message in capfd.readouterr().err


def test_files_are_overwritten_only_when_asked(tmp_path, capfd):
    folder = make_run(tmp_path / "run", frames=10)
    path = folder / "reconstructed.xyz"
    path.write_text("somebody's")
    assert run(folder, "--format", "xyz") == 2
    assert "give --overwrite" in capfd.readouterr().err
    assert path.read_text() == "somebody's"
    assert run(folder, "--format", "xyz", "--overwrite") == 0
    assert path.read_text().startswith(f"{12 * N}\n")
    (folder / "generated.h5").unlink()
    assert run(folder) == 2
    assert "mlgle generate writes it" in capfd.readouterr().err


def test_one_chain_has_no_error():
    table = compare_sizes(np.array([[4.0, 1.0, 1.0]]), np.array([[4.0, 1.0, 1.0], [5.0, 1.0, 1.0]]))
    assert table["end_to_end_sq"]["reconstructed"]["se"] is None
    assert table["end_to_end_sq"]["ratio_se"] is None


def start_of(folder):
    """Return the first frame's centres of mass and the generated displacements there, (chain, 3) each."""
    assert run(folder, "--format", "xyz", "--stop", 1, "--trajectories", 12, "--overwrite") == 0
    lines = (folder / "reconstructed.xyz").read_text().splitlines()[2 : 2 + 12 * N]
    positions = np.array([line.split()[1:4] for line in lines], dtype=float).reshape(12, N, 3)
    with FramesReader(folder / "generated.h5") as reader:
        return positions.mean(axis=1), reader.read(0, 1).com[0, :12]


def test_beads_start_at_the_hand_off_also_where_full_md_followed(tmp_path):
    folder = make_run(tmp_path / "run", box=None, frames=40)
    with FramesReader(folder / "modes.h5") as reader:
        centres = reader.read(0, 40).com

    def start(frame):
        found, moved = start_of(folder)
        return np.abs(found - centres[frame] - moved).max()

    assert start(39) < 1e-4  # nothing tells: the last frame with modes
    (folder / "result.json").write_text('{"handoff": {"step": 2500}}')
    assert start(25) < 1e-4
    assert start(39) > 0.1  # negative control
    for told in (
        '{"handoff": {"step": 2501}}',
        '{"handoff": {"step": "2500"}}',
        '{"handoff": null}',
        "[",
        '{"handoff": 3}',
    ):
        (folder / "result.json").write_text(told)
        assert start(39) < 1e-4
    (folder / "result.json").write_text('{"handoff": {"step": 2500}}')
    with h5py.File(folder / "generated.h5", "r+") as file:
        file["mlgle"].attrs["start_step"] = 1200
    assert start(12) < 1e-4


def test_trajectories_from_a_step_that_was_not_recorded_are_refused(tmp_path, capsys):
    folder = make_run(tmp_path / "run", frames=40)
    for step in (1234, 4000, -100):
        with h5py.File(folder / "generated.h5", "r+") as file:
            file["mlgle"].attrs["start_step"] = step
        assert run(folder, "--format", "xyz") == 2
        assert f"no frame with modes at step {step}" in capsys.readouterr().err
