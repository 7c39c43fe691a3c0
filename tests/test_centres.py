"""Centres of mass of whole molecules: side groups and unequal masses, live and from trajectories."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.snapshot import Snapshots
from mlgle_lammps.acquire.system import read_system
from mlgle_lammps.chains.modes import chain_modes
from mlgle_lammps.chains.molecule_sums import Block, LocalModeSum
from mlgle_lammps.chains.molecules import TIED, centres_of_mass, side_atoms
from mlgle_lammps.chains.topology import find_chains, keep_group
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.trajectory import open_trajectory
from mlgle_lammps.options.trajectory import TrajectoryOptions
from mlgle_lammps.records import joined

N_CHAINS, BACKBONE, BOX = 6, 5, 6.0
MASSES = np.array([1.0, 2.5, 7.0])
"""By type: backbone, first side atom, second one."""


class Combs:
    """Combs with side groups of two atoms at every second backbone bead, their ids shuffled; one comb has a group less.

    Attributes:
        backbone: (chain, bead) ids.
        molecule, type: by id.
        bonds: (bond, 2) ids.
    """

    def __init__(self, seed=5):
        generator = np.random.default_rng(seed)
        names: list[tuple[int, int, int]] = []
        links: list[tuple[tuple[int, int, int], tuple[int, int, int]]] = []
        for chain in range(N_CHAINS):
            beads = [(chain, bead, 0) for bead in range(BACKBONE)]
            names += beads
            links += itertools.pairwise(beads)
            for bead in range(0, BACKBONE if chain else BACKBONE - 1, 2):
                names += [(chain, bead, 1), (chain, bead, 2)]
                links += [((chain, bead, 0), (chain, bead, 1)), ((chain, bead, 1), (chain, bead, 2))]
        self.ids = dict(zip(names, generator.permutation(np.arange(1, len(names) + 1)).tolist(), strict=True))
        self.bonds = np.array([(self.ids[a], self.ids[b]) for a, b in links])[generator.permutation(len(links))]
        self.n = len(names)
        self.molecule, self.type = np.zeros(self.n + 1, dtype=int), np.zeros(self.n + 1, dtype=int)
        for (chain, _, kind), atom in self.ids.items():
            self.molecule[atom], self.type[atom] = chain, kind
        rows = [[self.ids[chain, bead, 0] for bead in range(BACKBONE)] for chain in range(N_CHAINS)]
        self.backbone = np.array(sorted((row if row[0] < row[-1] else row[::-1]) for row in rows))
        self.order = self.molecule[self.backbone[:, 0]]
        self.positions = np.zeros((self.n + 1, 3))
        self.positions[[self.ids[chain, 0, 0] for chain in range(N_CHAINS)]] = generator.uniform(0, BOX, (N_CHAINS, 3))
        for a, b in links:
            self.positions[self.ids[b]] = self.positions[self.ids[a]] + generator.normal(0, 0.5, 3)
        self.members = np.flatnonzero(self.type == 0)[1:]

    def centres(self, positions, masses=MASSES):
        """Return (chain, 3) in the order of the chains, by the definition."""
        m = masses[self.type]
        return np.array(
            [
                (m[own, None] * positions[own]).sum(axis=0) / m[own].sum()
                for own in (1 + np.flatnonzero(self.molecule[1:] == chain) for chain in self.order)
            ]
        )

    def write_data(self, path, masses=MASSES, positions=None):
        positions = self.positions if positions is None else positions
        images = np.floor(positions / BOX).astype(int)
        lines = ["combs", "", f"{self.n} atoms", f"{len(self.bonds)} bonds", "3 atom types", "1 bond types", ""]
        lines += [f"0 {BOX} {axis}lo {axis}hi" for axis in "xyz"]
        if masses is not None:
            lines += ["", "Masses", "", *(f"{i} {mass}" for i, mass in enumerate(masses, start=1))]
        lines += ["", "Atoms # bond", ""]
        for i in range(1, self.n + 1):
            r = positions[i] - images[i] * BOX
            lines.append(f"{i} {self.molecule[i] + 1} {self.type[i] + 1} " + " ".join(map(repr, [*map(float, r)])))
            lines[-1] += " " + " ".join(map(str, images[i]))
        lines += ["", "Bonds", "", *(f"{i} 1 {a} {b}" for i, (a, b) in enumerate(self.bonds, start=1))]
        Path(path).write_text("\n".join(lines) + "\n")
        return path


@pytest.fixture(scope="module")
def combs():
    return Combs()


def of_combs(combs, masses=MASSES):
    return centres_of_mass(combs.backbone, combs.bonds, lambda ids: masses[combs.type[ids]])


def test_side_atoms_follow_what_they_are_bonded_to(combs):
    assert find_chains(keep_group(combs.bonds, combs.members, "g")).ids.tolist() == combs.backbone.tolist()
    side = side_atoms(combs.backbone, combs.bonds)
    assert not side.tied
    assert sorted(side.ids) == sorted(np.flatnonzero(combs.type > 0))
    assert (combs.order[side.chain] == combs.molecule[side.ids]).all()
    slots = np.concatenate([combs.backbone.T.ravel(), side.ids])
    assert (side.parent < combs.backbone.size + np.arange(len(side.ids))).all()
    pairs = {frozenset(pair) for pair in combs.bonds.tolist()}
    assert all(frozenset(pair) in pairs for pair in zip(slots[side.parent].tolist(), side.ids.tolist(), strict=True))
    assert (side.level == combs.type[side.ids]).all()


def test_chains_that_are_bonded_to_one_another_keep_their_own_beads(combs):
    ends = [combs.ids[0, 0, 2], combs.ids[1, 0, 2]]
    tied = centres_of_mass(combs.backbone, np.array([*combs.bonds.tolist(), ends]), lambda ids: MASSES[combs.type[ids]])
    assert tied is not None
    assert tied.notes == (TIED,)
    mixed = np.where(np.arange(combs.n + 1) % 2, 1.0, 3.0)
    tied = centres_of_mass(combs.backbone, np.array([*combs.bonds.tolist(), ends]), lambda ids: mixed[ids])
    assert tied is not None
    assert tied.notes[0] == TIED
    assert len(tied.side.ids) == 0
    x = LocalModeSum(combs.backbone, 2, tied)(np.arange(combs.backbone.size), combs.positions[combs.backbone.T.ravel()])
    m = mixed[combs.backbone][..., None]
    expected = (m * combs.positions[combs.backbone]).sum(axis=1) / m.sum(axis=1)
    np.testing.assert_allclose(x[:, 0], expected, atol=1e-12)


def test_whole_chains_of_equal_masses_are_left_to_mode_0():
    chains = np.arange(1, 13).reshape(3, 4)
    bonds = np.array([pair for row in chains.tolist() for pair in itertools.pairwise(row)])
    assert centres_of_mass(chains, bonds, lambda ids: np.full(len(ids), 14.0)) is None
    assert centres_of_mass(chains, bonds, lambda ids: None) is None
    uneven = centres_of_mass(chains, bonds, lambda ids: 1.0 + (ids == 3))
    assert uneven is not None
    assert uneven.notes == ("masses in the molecules differ (1 to 2): centres are weighted by mass",)


def test_centres_are_sums_over_ranks_and_leave_modes_as_they_are(combs):
    together = LocalModeSum(combs.backbone, 3, of_combs(combs))
    ids = np.arange(1, combs.n + 1)
    total = np.zeros((N_CHAINS, 4, 3))
    for rank in range(3):
        own = ids[rank::3]
        total += together(together.slots(own), combs.positions[own])
    np.testing.assert_allclose(total[:, 0], combs.centres(combs.positions), atol=1e-13)
    np.testing.assert_allclose(total[:, 1:], chain_modes(combs.positions[combs.backbone], 3)[:, 1:], atol=1e-13)
    assert np.abs(total[:, 0] - chain_modes(combs.positions[combs.backbone], 3)[:, 0]).max() > 0.1


SETUP = """
units lj
atom_style bond
read_data {data}
bond_style harmonic
bond_coeff 1 50.0 0.5
special_bonds lj 0 1 1
pair_style zero 1.0
pair_coeff * *
group backbone type 1
{more}
compute where all chunk/atom molecule
compute centre all com/chunk where
fix 1 all nve
fix 2 all langevin 3.0 3.0 1.0 5
timestep 0.01
"""


@pytest.mark.lammps
@pytest.mark.parametrize("more", ["", "mass 1 4.0", "set atom 1*9 type 2\nmass 1 0.3"])
def test_live_centres_are_those_of_lammps(combs, tmp_path, more):
    lmp, comm = mpi.open_lammps(["-screen", "none", "-log", "none"], mpi.start().md_comm), mpi.start().md_comm
    lmp.commands_string(SETUP.format(data=combs.write_data(tmp_path / "data"), more=more))
    system, chains = read_system(lmp, comm, deck="d", every=10, n_modes=4, chain_group="backbone")
    assert system.whole_molecules
    assert [note for note in system.notes if note.startswith("centres are those of whole molecules")]
    snapshots = Snapshots(lmp, comm, [Block(chains.ids, 4, centres=chains.centres)])
    lmp.command("run 0 post no")
    for _ in range(3):
        ids, positions = (lmp.numpy.extract_atom(name)[: combs.n] for name in ("id", "x"))
        total = snapshots.total(snapshots.local(ids, positions)[0])
        assert total is not None
        modes = total[0]
        centres = lmp.numpy.extract_compute("centre", 0, 2)  # type: ignore[attr-defined]
        expected = np.array(centres)[combs.molecule[chains.ids[:, 0]]]
        np.testing.assert_allclose(modes[:, 0], expected, atol=1e-10)
        lmp.command("run 400 post no")
    lmp.close()


def write_dump(path, combs, frames, columns):
    """Write a text dump: wrapped, with image flags or without, or unwrapped; atoms in another order each frame."""
    lines = []
    for step, positions in enumerate(frames):
        lines += ["ITEM: TIMESTEP", f"{100 * step}", "ITEM: NUMBER OF ATOMS", f"{combs.n}"]
        lines += ["ITEM: BOX BOUNDS pp pp pp", *[f"0.0 {BOX}"] * 3, f"ITEM: ATOMS id {columns}"]
        images = np.floor(positions / BOX).astype(int)
        for i in np.random.default_rng(step).permutation(np.arange(1, combs.n + 1)):
            r = positions[i] if "xu" in columns else positions[i] - images[i] * BOX
            lines.append(f"{i} " + " ".join(f"{value:.12f}" for value in r))
            lines[-1] += " " + " ".join(map(str, images[i])) if "ix" in columns else ""
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def frames(combs):
    """Return some frames that drift through the box, (time, id, 3)."""
    steps = np.random.default_rng(2).normal(0.1, 0.05, (30, combs.n + 1, 3))
    steps[0] = 0.0
    return combs.positions + np.cumsum(steps, axis=0)


@pytest.mark.parametrize("columns", ["x y z", "x y z ix iy iz", "xu yu zu"])
def test_replayed_centres_are_those_of_whole_molecules(combs, frames, tmp_path, columns):
    options = TrajectoryOptions(topology=combs.write_data(tmp_path / "data"), dt=1.0, select="type 1", units="lj")
    recording = open_trajectory(write_dump(tmp_path / "t.lammpstrj", combs, frames, columns), options, 4)
    assert recording.system.whole_molecules
    read = joined(list(recording.read()))
    expected = np.array([combs.centres(positions) for positions in frames])
    offset = read.com - expected  # without flags the first frame's images are free
    np.testing.assert_allclose(offset, np.broadcast_to(offset[0], offset.shape), atol=1e-9)
    np.testing.assert_allclose(np.rint(offset[0] / BOX) * BOX, offset[0], atol=1e-9)
    assert np.abs(read.com[0] - frames[0][combs.backbone].mean(axis=1) - offset[0]).max() > 0.1


def test_without_masses_all_atoms_count_alike_and_that_is_said(combs, frames, tmp_path):
    options = TrajectoryOptions(
        topology=combs.write_data(tmp_path / "data", masses=None), dt=1.0, select="type 1", units="lj"
    )
    recording = open_trajectory(write_dump(tmp_path / "t.lammpstrj", combs, frames, "xu yu zu"), options, 4)
    assert any("the topology has no masses" in note for note in recording.system.notes)
    expected = np.array([combs.centres(positions, np.ones(3)) for positions in frames])
    np.testing.assert_allclose(joined(list(recording.read())).com, expected, atol=1e-9)


@pytest.mark.parametrize("present", [0, 3])
def test_a_dump_without_side_atoms_gives_the_backbones_centres_and_says_so(combs, frames, tmp_path, present):
    options = TrajectoryOptions(topology=combs.write_data(tmp_path / "data"), dt=1.0, select="type 1", units="lj")
    path = write_dump(tmp_path / "t.lammpstrj", combs, frames, "xu yu zu")
    gone = {str(atom) for atom in np.flatnonzero(combs.type > 0)[present:]}
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not (len(line.split()) == 4 and line.split()[0] in gone)]
    text = "\n".join(kept) + "\n"
    path.write_text(text.replace(f"ATOMS\n{combs.n}\n", f"ATOMS\n{combs.backbone.size + present}\n"))
    if present:
        with pytest.raises(UserError, match=f"{combs.backbone.size + present} of the molecules' {combs.n} atoms"):
            open_trajectory(path, options, 4)
        return
    recording = open_trajectory(path, options, 4)
    read = joined(list(recording.read()))
    assert "are not in the trajectory: D is that of the backbones' centres" in recording.warnings()[0]
    np.testing.assert_allclose(read.com, frames[:, combs.backbone].mean(axis=2), atol=1e-9)
