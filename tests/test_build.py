"""Start structures: the statistics they promise, a file that LAMMPS reads, errors in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlgle_lammps.chains.random_walks import ChainModel, grow_chains, internal_distances
from mlgle_lammps.chains.start_structure import box_length, place_molecules
from mlgle_lammps.commands import build
from mlgle_lammps.commands.build import main, parse
from mlgle_lammps.resources.room import Room

POLYBUTADIENE = parse(["x.data"])[1]
KREMER_GREST = parse(["x.data", "--units", "lj"])[1]
IDEAL = ChainModel(bond=1.3, bond_distribution="gaussian")
STIFF = replace(POLYBUTADIENE, angle_stiffness=2.5, angle=np.deg2rad(125.0), torsion=-0.8)


def _deviation(model: ChainModel, theory: ChainModel, n_beads: int = 20) -> np.ndarray:
    """Distance of <R²(s)>, measured on independent chains, from theory, in standard errors."""
    chains = grow_chains(model, 4000, n_beads, np.random.default_rng(5))
    squared = np.stack([np.sum((chains[:, s] - chains[:, 0]) ** 2, axis=-1) for s in range(1, n_beads)], axis=1)
    error = squared.std(axis=0, ddof=1) / np.sqrt(len(squared)) + 1e-9
    return np.abs(squared.mean(axis=0) - internal_distances(theory, n_beads - 1)) / error


@pytest.mark.parametrize("model", [POLYBUTADIENE, KREMER_GREST, IDEAL, STIFF])
def test_internal_distances_follow_theory(model):
    assert np.all(_deviation(model, model) < 4)
    assert np.any(_deviation(model, replace(model, bond=1.1 * model.bond)) > 4)


@pytest.mark.parametrize("change", [{"torsion": 0.0}, {"angle_stiffness": 3.5}, {"angle": np.deg2rad(120)}])
def test_other_angles_or_torsions_show(change):
    assert np.any(_deviation(STIFF, replace(STIFF, **change)) > 4)


def test_theory_in_known_limits():
    separations = np.arange(1, 31)
    free = ChainModel(bond=2.0)
    np.testing.assert_allclose(internal_distances(free, 30), 4.0 * separations, rtol=1e-5)
    # Freely rotating chain: a very stiff angle, c the cosine between successive bonds.
    angle = np.deg2rad(110.0)
    c = -np.cos(angle)
    rotating = internal_distances(ChainModel(bond=1.0, angle_stiffness=1e5, angle=angle), 30)
    exact = separations * (1 + c) / (1 - c) - 2 * c * (1 - c**separations) / (1 - c) ** 2
    np.testing.assert_allclose(rotating, exact, rtol=1e-3)
    # All trans: a planar zigzag.
    zigzag = internal_distances(ChainModel(bond=1.0, angle_stiffness=1e5, angle=angle, torsion=600.0), 2)
    assert zigzag[1] == pytest.approx((2 * np.sin(angle / 2)) ** 2, rel=1e-3)


def test_bonds_and_next_neighbours_keep_their_distances():
    chains = grow_chains(KREMER_GREST, 500, 25, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(np.diff(chains, axis=1), axis=-1), 0.97, rtol=1e-9)
    assert np.min(np.linalg.norm(chains[:, 2:] - chains[:, :-2], axis=-1)) > 1.02 - 1e-3


def test_box_holds_the_density():
    # The papers' 100 x 100 beads of 54.09 g/mol at 0.90 g/cm3 fill 99.9 angstrom.
    assert box_length(10_000, 0.90, 54.09, "real") == pytest.approx(99.9, abs=0.05)
    assert box_length(1000, 0.85, 1.0, "lj") == pytest.approx((1000 / 0.85) ** (1 / 3))


def test_placing_keeps_shapes_and_evens_out_the_density():
    chains = grow_chains(IDEAL, 100, 20, np.random.default_rng(2))
    box = box_length(2000, 0.85, 1.0, "lj")
    placed = np.stack(place_molecules(list(chains), box, np.random.default_rng(3)))
    np.testing.assert_allclose(np.diff(placed, axis=1), np.diff(chains, axis=1), atol=1e-9)

    def spread(positions: np.ndarray) -> float:
        counts, _ = np.histogramdd((positions % box).reshape(-1, 3), bins=6, range=[(0, box)] * 3)
        return float(counts.var() / counts.mean())

    at_random = chains + np.random.default_rng(4).uniform(0, box, size=(100, 1, 3))
    assert spread(placed) < 0.7 * spread(at_random)


def _section(text: str, name: str) -> np.ndarray:
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split("#")[0].strip() == name) + 2
    stop = next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))
    return np.array([line.split() for line in lines[start:stop]], dtype=float)


def test_the_file_holds_whole_chains(tmp_path, capsys):
    path = tmp_path / "melt.data"
    assert main([str(path), "--chains", "7", "--beads", "9", "--seed", "4"]) == 0
    assert "7 chains x 9 beads" in capsys.readouterr().out
    text = path.read_text()
    box = box_length(63, 0.90, 54.09, "real")
    atoms = _section(text, "Atoms")
    assert atoms.shape == (63, 9)
    np.testing.assert_array_equal(atoms[:, 1], np.repeat(np.arange(1, 8), 9))
    assert np.all((atoms[:, 3:6] >= 0) & (atoms[:, 3:6] <= box))
    unwrapped = (atoms[:, 3:6] + atoms[:, 6:9] * box).reshape(7, 9, 3)
    lengths = np.linalg.norm(np.diff(unwrapped, axis=1), axis=-1)
    assert 2.0 < lengths.min() < lengths.max() < 8.0
    assert np.any(atoms[:, 6:9] != 0)
    bonds, angles = _section(text, "Bonds").astype(int), _section(text, "Angles").astype(int)
    assert bonds.shape == (56, 4)
    assert angles.shape == (49, 5)
    assert np.all(bonds[:, 3] - bonds[:, 2] == 1)
    assert np.all((bonds[:, 2] - 1) // 9 == (bonds[:, 3] - 1) // 9)
    np.testing.assert_array_equal(angles[:, 2:], angles[:, [2]] + np.arange(3))


def test_the_seed_alone_decides(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, seed in zip(paths, "112", strict=True):
        assert main([str(path), "--chains", "3", "--beads", "5", "--seed", seed]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--chains", "0"], "--chains is 0"),
        (["--beads", "1"], "--beads is 1"),
        (["--density", "-1"], "--density"),
        (["--density", "nan"], "--density"),
        (["--mass", "0"], "--mass"),
        (["--angle", "5"], "--angle 5"),
        (["--angle", "5,x"], "--angle 5,x"),
        (["--angle", "5,500"], "--angle 5,500"),
        (["--bond-stiffness", "0"], "--bond-stiffness"),
        (["--closest", "90"], "--closest"),
        (["--bond-distribution", "gaussian"], "--angle none"),
        (["--chains", "many"], "invalid int"),
        (["--colour", "red"], "unrecognized"),
        (["--angle", "nan,120"], "--angle nan,120"),
        (["--angle", "inf,120"], "--angle inf,120"),
        (["--angle", "1e6,120", "--temperature", "1e-6"], "no angle is likely"),
        (["--torsion", "nan"], "--torsion is nan"),
        (["--torsion", "1000"], "--torsion is 1000"),
        (["--bond-stiffness", "inf"], "--bond-stiffness is inf"),
        (["--temperature", "1e-300"], "--temperature is 1e-300"),
        (["--chains", "1000000000000000", "--beads", "10"], "--chains is 1000000000000000; the most"),
        (["--chains", "99999999", "--beads", "99999999"], "beads in all"),
    ],
)
def test_bad_options_end_with_one_line(tmp_path, capsys, options, complaint):
    path = tmp_path / "melt.data"
    assert main([str(path), *options]) == 2
    message = capsys.readouterr().err
    assert message.startswith("mlgle build: error: ")
    assert complaint in message
    assert message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_unless_asked(tmp_path, capsys):
    path = tmp_path / "melt.data"
    path.write_text("mine")
    small = ["--chains", "2", "--beads", "3"]
    assert main([str(path), *small]) == 2
    assert "exists" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert main([str(path), *small, "--overwrite"]) == 0
    assert path.read_text() != "mine"


def test_what_is_no_ordinary_file_is_not_replaced(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        assert main([str(path), "--chains", "2", "--beads", "3", "--overwrite"]) == 2
        assert f"{path} is no ordinary file" in capsys.readouterr().err
    assert (tmp_path / "pipe").is_fifo()


def test_beads_that_no_memory_holds_are_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(build, "available_memory", lambda: Room(1e6, 0.0, "free"))
    assert main([str(tmp_path / "x.data"), "--chains", "100", "--beads", "100"]) == 2
    assert "10000 beads need 12 MB of memory" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert main([str(tmp_path / "none" / "melt.data"), "--chains", "2", "--beads", "3"]) == 2
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.lammps
@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], ("real", "angle", "bond_coeff 1 1.2 4.8\nangle_style zero\nangle_coeff *")),
        (["--units", "lj", "--density", "0.05"], ("lj", "bond", "bond_coeff 1 1.2 1")),
    ],
)
def test_lammps_reads_the_file(tmp_path, options, settings):
    units, atom_style, coefficients = settings
    assert main([str(tmp_path / "melt.data"), "--chains", "4", "--beads", "10", *options]) == 0
    (tmp_path / "in.read").write_text(
        f"units {units}\natom_style {atom_style}\nread_data melt.data\npair_style none\ncomm_modify cutoff 4.0\n"
        f"bond_style harmonic\n{coefficients}\nthermo_style custom atoms bonds angles\nrun 0\n"
    )
    lmp = Path(sys.executable).with_name("lmp")
    done = subprocess.run(
        [lmp, "-in", "in.read", "-log", "none"], capture_output=True, text=True, cwd=tmp_path, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "40 atoms" in done.stdout
    assert "36 bonds" in done.stdout
    assert ("32 angles" in done.stdout) == (atom_style == "angle")
    assert "Inconsistent image flags" not in done.stdout


@pytest.mark.parametrize(
    ("options", "n_atoms", "n_bonds"),
    [
        (["--star", "4x8", "--chains", "5"], 5 * 33, 5 * 32),
        (["--ring", "25", "--chains", "4"], 100, 100),
        (["--blend", "3x10+2x25"], 80, 3 * 9 + 2 * 24),
    ],
)
def test_stars_rings_and_blends_have_bonds_of_the_right_length(tmp_path, options, n_atoms, n_bonds):
    path = tmp_path / "melt.data"
    assert main([str(path), "--units", "lj", *options]) == 0
    text = path.read_text()
    atoms, bonds = _section(text, "Atoms"), _section(text, "Bonds").astype(int)
    assert (len(atoms), len(bonds)) == (n_atoms, n_bonds)
    unwrapped = atoms[:, 3:6] + atoms[:, 6:9] * box_length(n_atoms, 0.85, 1.0, "lj")
    lengths = np.linalg.norm(unwrapped[bonds[:, 3] - 1] - unwrapped[bonds[:, 2] - 1], axis=1)
    np.testing.assert_allclose(lengths, 0.97, atol=0.02)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--star", "4"], "--star 4: give arms x beads"),
        (["--star", "2x8"], "a star has 3 arms or more"),
        (["--ring", "2"], "--ring is 2; the least that makes sense is 3"),
        (["--blend", "3x1"], "a chain has 2 beads or more"),
        (["--blend", "3x10", "--beads", "5"], "--beads does not go with --blend"),
    ],
)
def test_what_is_no_molecule_is_refused_in_one_line(tmp_path, capsys, options, complaint):
    assert main([str(tmp_path / "x.data"), *options]) == 2
    assert complaint in capsys.readouterr().err
