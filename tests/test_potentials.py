"""The pair table that ships: made from its knots, smooth, with a core that falls all the way."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import cumulative_simpson

ROOT = Path(__file__).parent.parent
POTENTIALS = ROOT / "potentials"
KNOTS, TABLE = POTENTIALS / "cis-pb.knots", POTENTIALS / "cis-pb.table"


def _load_make_table():
    specification = importlib.util.spec_from_file_location("make_table", POTENTIALS / "make_table.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


make_table = _load_make_table()


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance, energy and force columns of the committed file."""
    return tuple(np.loadtxt(TABLE, skiprows=6, usecols=(1, 2, 3)).T)


def test_the_committed_table_is_what_the_script_makes(tmp_path, table):
    made = tmp_path / "made.table"
    assert make_table.main([str(KNOTS), str(made)]) == 0
    ours, theirs = made.read_text().splitlines(), TABLE.read_text().splitlines()
    assert ours[:6] == theirs[:6]
    np.testing.assert_allclose(np.loadtxt(made, skiprows=6), np.loadtxt(TABLE, skiprows=6), atol=2e-8)
    assert "N 2391 R 0.02 11" in theirs
    assert len(table[0]) == 2391


def test_force_is_minus_the_slope_of_the_energy(table):
    r, energy, force = table
    work = cumulative_simpson(force, x=r, initial=0)
    np.testing.assert_allclose(energy, energy[0] - work, atol=1e-5)
    assert not np.allclose(energy, energy[0] - 1.01 * work, atol=1e-5)


def test_core_falls_monotonically_and_the_cutoff_is_smooth(table):
    r, energy, force = table
    assert np.all(force[: np.argmin(energy)] > 0)
    assert energy[0] > 20 * 0.0019872 * 300
    assert energy[-1] == force[-1] == 0
    assert np.max(np.abs(force[-20:])) < 0.01
    assert np.max(np.abs(np.diff(force))) < 0.05, "the force jumps"
    assert np.all(np.diff(r) > 0)


def test_energy_passes_through_the_knots(table):
    r, energy, _ = table
    knot_r, knot_energy = make_table.read_knots(KNOTS)
    np.testing.assert_allclose(np.interp(knot_r[1:], r, energy), knot_energy[1:], atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("0 1\n1 2\n2 -1\n3 0", "not monotonic"),
        ("0 9\n2 3\n1 1\n3 0", "increase"),
        ("1 9\n2 3\n3 1\n4 0", "start at 0"),
        ("0 9\n2 3\n3 1\n4 0.5", "must be 0"),
        ("0\n2\n3\n4", "two columns"),
        ("0 a", "could not convert"),
    ],
)
def test_bad_knots_end_with_one_line(tmp_path, capsys, rows, complaint):
    knots = tmp_path / "knots"
    knots.write_text(rows)
    assert make_table.main([str(knots), str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert complaint in message
    assert message.startswith("make_table: error: ")
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.lammps
def test_lammps_reads_energy_and_force_as_the_spline_gives_them(tmp_path):
    script = tmp_path / "in.pair"
    r = np.array([0.6, 3.1, 5.0, 6.3, 9.7])
    lines = [
        "units real", "atom_style angle", "region box block 0 100 0 100 0 100",
        "create_box 1 box bond/types 1 angle/types 1", "mass 1 54.09",
        "create_atoms 1 single 20 20 20", "create_atoms 1 single 21 20 20",
        "variable T index 300", f"variable potentials index {POTENTIALS}", "include ${potentials}/cis-pb.lmp",
        # The thermostat depends on velocities and random numbers: off for this comparison.
        "pair_coeff 1 1 dpd/tstat 0.0 10.0",
        "thermo_style custom step pe", "variable force equal fx[2]",
    ]  # fmt: skip
    for distance in r:
        lines += [f"set atom 2 x {20 + distance}", "run 0 post no", 'print "PAIR $(pe:%.10g) $(v_force:%.10g)"']
    script.write_text("\n".join(lines) + "\n")
    lmp = Path(sys.executable).with_name("lmp")
    done = subprocess.run(
        [lmp, "-in", script, "-log", "none"], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "distance values in table" not in done.stdout
    found = np.array([line.split()[1:] for line in done.stdout.splitlines() if line.startswith("PAIR")], dtype=float)
    spline = make_table.potential(*make_table.read_knots(KNOTS))
    np.testing.assert_allclose(found[:, 0], spline(r), atol=2e-3)
    np.testing.assert_allclose(found[:, 1], -spline(r, 1), atol=5e-3)
