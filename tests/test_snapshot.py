"""Snapshots of a live LAMMPS instance in this process: unwrapping, image flags, groups, units."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "decks"))
from make_data import write as write_data

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.frame_taker import check_stride
from mlgle_lammps.acquire.snapshot import Snapshots
from mlgle_lammps.acquire.system import _defines_labels, read_system
from mlgle_lammps.chains.modes import chain_modes
from mlgle_lammps.chains.molecule_sums import Block
from mlgle_lammps.errors import UserError

pytestmark = pytest.mark.lammps

SETUP = """
units {units}
atom_style bond
read_data {data} {extra}
bond_style harmonic
bond_coeff 1 100.0 0.9
special_bonds lj 0 1 1
pair_style soft 1.0
pair_coeff * * 10.0
neighbor 0.4 bin
{more}
compute unwrapped all property/atom xu yu zu
"""


@pytest.fixture
def comm():
    return mpi.start().md_comm


@pytest.fixture
def open_system(tmp_path, comm):
    def opener(more="", kind="linear", units="lj", extra=""):
        write_data(tmp_path / "data", kind=kind)
        lmp = mpi.open_lammps(["-screen", "none", "-log", "none"], comm)
        lmp.commands_string(SETUP.format(units=units, data=tmp_path / "data", more=more, extra=extra))
        return lmp

    return opener


def take(snapshots, lmp):
    n_local = lmp.extract_setting("nlocal")
    ids, positions = (lmp.numpy.extract_atom(name)[:n_local] for name in ("id", "x"))
    part, far = snapshots.local(ids, positions)
    snapshots.follow_images |= far
    total = snapshots.total(part)
    return None if total is None else total[0]


@pytest.mark.parametrize(
    "more", ["", "change_box all triclinic\nchange_box all xy final 1.3 xz final -0.7 yz final 0.9 remap units box"]
)
def test_unwrapping_is_that_of_lammps(open_system, comm, more):
    lmp = open_system(more + "\nfix 1 all nve\nvelocity all create 20.0 5\ntimestep 0.005\nrun 0")
    _, chains = read_system(lmp, comm, deck="d", every=10, n_modes=9)
    snapshots = Snapshots(lmp, comm, [Block(chains.ids, 9)])
    for _ in range(3):
        lmp.command("run 300")
        modes = take(snapshots, lmp)
        ids = lmp.numpy.extract_atom("id")[:100]
        unwrapped = np.empty((101, 3))
        unwrapped[ids] = lmp.numpy.extract_compute("unwrapped", 1, 2)[:100]
        np.testing.assert_allclose(modes, chain_modes(unwrapped[chains.ids], 9), atol=1e-12)
    assert np.abs(lmp.numpy.extract_atom("image")[:100] - 537395712).max() > 0  # something crossed the boundary


def test_image_flags_that_wrap_are_unwrapped(open_system, comm):
    """10-bit flags run from -512 to 511; a box crossed every 5 steps gets there from 505 in 30 steps."""
    lmp = open_system("velocity all set 100 -50 0\nfix 1 all nve\ntimestep 0.01")
    _, chains = read_system(lmp, comm, deck="d", every=10, n_modes=2)
    lmp.commands_string("set atom * image 505 -509 0\nrun 0")
    snapshots = Snapshots(lmp, comm, [Block(chains.ids, 2)])
    centres = []
    for _ in range(40):
        centres.append(take(snapshots, lmp)[:, 0].mean(axis=0))
        lmp.command("run 4 post no")
    flags = lmp.numpy.extract_atom("image")[:100] & 1023
    assert flags.max() < 512  # LAMMPS's own flags have wrapped
    np.testing.assert_allclose(np.diff(centres, axis=0), np.tile([4.0, -2.0, 0.0], (39, 1)), atol=1e-9)


@pytest.mark.parametrize("unwrapped", [False, True])
def test_data_files_without_image_flags_are_refused_unless_unwrapped(tmp_path, comm, unwrapped):
    path = tmp_path / "data"
    write_data(path)
    lines = path.read_text().splitlines()
    for i in range(lines.index("Atoms # bond") + 2, lines.index("Bonds") - 1):
        *names, x, y, z, ix, iy, iz = lines[i].split()
        shift = np.array([ix, iy, iz], dtype=float) * 5.0 if unwrapped else 0.0
        lines[i] = " ".join([*names, *map(str, np.array([x, y, z], dtype=float) + shift)])
    path.write_text("\n".join(lines) + "\n")
    lmp = mpi.open_lammps(["-screen", "none", "-log", "none"], comm)
    lmp.commands_string(SETUP.format(units="lj", data=path, more="", extra=""))
    if unwrapped:
        assert read_system(lmp, comm, deck="d", every=10, n_modes=2)[0].n_chains == 10
        return
    message = r"d: \d+ bonds span more than half the box; the longest, of atoms \d+ and \d+ in chain \d+, is"
    with pytest.raises(UserError, match=message):
        read_system(lmp, comm, deck="d", every=10, n_modes=2)


def test_flags_that_have_wrapped_within_a_chain_are_refused(open_system, comm):
    lmp = open_system()
    _, chains = read_system(lmp, comm, deck="d", every=10, n_modes=2)
    end, neighbour = chains.ids[3, -1], chains.ids[3, -2]
    lmp.command(f"set atom {end} image -512 NULL NULL")  # what LAMMPS shows where 512 would be right
    with pytest.raises(UserError, match=rf"of atoms {neighbour} and {end} in chain 4, is 2\.5.e\+03 long"):
        read_system(lmp, comm, deck="d", every=10, n_modes=2)


def test_changing_box_and_timestep_are_refused(open_system, comm):
    lmp = open_system("fix 1 all nve\nrun 0")
    _, chains = read_system(lmp, comm, deck="d", every=10, n_modes=2)
    snapshots = Snapshots(lmp, comm, [Block(chains.ids, 2)])
    take(snapshots, lmp)
    lmp.command("timestep 0.001")
    with pytest.raises(UserError, match="time step changed"):
        take(snapshots, lmp)
    lmp.commands_string("timestep 0.005\nchange_box all x final 0 5.01")
    with pytest.raises(UserError, match="box changed"):
        take(snapshots, lmp)


def test_chain_group_takes_the_backbone_only(open_system, comm):
    lmp = open_system(kind="branched")
    system, _ = read_system(lmp, comm, deck="d", every=10, n_modes=9)
    assert "left out: 1 molecule of 10 beads (branched 10)" in system.left_out[0]
    lmp.command("group backbone molecule <> 5 10")
    system, _ = read_system(lmp, comm, deck="d", every=10, n_modes=12, chain_group="backbone")
    assert (system.n_chains, system.n_beads, system.n_modes) == (6, 10, 9)
    with pytest.raises(UserError, match="no such group, but all, backbone"):
        read_system(lmp, comm, deck="d", every=10, n_modes=9, chain_group="nobody")


def test_system_has_units_and_notes(open_system, comm):
    lmp = open_system("mass 1 14.0\ntimestep 2.0\ndelete_atoms group all bond yes compress no mol no", units="real")
    with pytest.raises(UserError, match="there are no atoms"):
        read_system(lmp, comm, deck="d", every=10, n_modes=9)
    lmp = open_system("timestep 2.0", kind="unequal", units="real")
    system, _ = read_system(lmp, comm, deck="d", every=50, n_modes=9)
    assert (system.dt, system.time_unit, system.length_unit) == (100.0, "fs", "Angstrom")
    assert system.n_chains == 9
    assert system.notes[0] == "left out, as there is one of each: type 1"
    assert system.left_out[0].startswith("D is of 9 molecules of 10 beads, the main species")
    assert system.left_out[0].endswith("left out: 1 molecule of 9 beads")


def test_a_blend_of_one_length_is_two_species(open_system, comm):
    lmp = open_system()
    whole, _ = read_system(lmp, comm, deck="d", every=10, n_modes=9)
    assert whole.left_out == ()
    lmp = open_system("mass 2 1.0\ngroup few molecule <> 1 4\nset group few type 2", extra="extra/atom/types 1")
    system, _ = read_system(lmp, comm, deck="d", every=10, n_modes=9)
    assert system.n_chains == whole.n_chains - 4
    listed = f"D of each other is in the list species: 4 molecules of {whole.n_beads} beads (type 2)"
    assert listed in system.left_out[0]
    assert [(own.name, own.n_molecules, own.n_modes) for own in system.others] == [("linear 10 (type 2)", 4, 9)]


@pytest.mark.parametrize(
    ("every", "stride"), [(1, 1), (7, 7), (100, 100), (200, 100), (2000, 100), (140, 140), (1009, 1009)]
)
def test_signals_are_checked_about_every_hundred_steps(every, stride):
    assert check_stride(every) == stride


def test_type_labels_are_asked_for_only_where_the_log_says_that_there_are_some(tmp_path):
    """To ask makes LAMMPS keep labels and cite their authors, which plain LAMMPS would not do."""
    (tmp_path / "plain.data").write_text("title\n\n2 atom types\n\nMasses\n\n1 1.0\n")
    (tmp_path / "labelled.data").write_text("title\n\n1 atom types\n\nAtom Type Labels\n\n1 Na\n")
    log = tmp_path / "log.lammps"
    for text, found in (
        (f"read_data {tmp_path}/plain.data\nrun 0\n", False),
        (f"read_data ${{data}}\nread_data {tmp_path}/labelled.data\n", True),
        ("create_box 1 b\nlabelmap atom 1 A\n", True),
        ("print labelmap\n", False),
    ):
        log.write_text(text)
        assert _defines_labels(log) is found
    assert _defines_labels(tmp_path / "none") is False
