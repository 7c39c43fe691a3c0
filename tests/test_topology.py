"""Chains from bonds."""

import itertools

import numpy as np
import pytest

from mlgle_lammps.chains.topology import find_chains, keep_group, limit_modes
from mlgle_lammps.errors import UserError


def chain_bonds(ids):
    return [(a, b) for a, b in itertools.pairwise(ids)]


def shuffled_chains(n_chains, n_beads, seed):
    generator = np.random.default_rng(seed)
    ids = generator.permutation(np.arange(1, 3 * n_chains * n_beads))[: n_chains * n_beads].reshape(n_chains, n_beads)
    bonds = np.array([pair for row in ids for pair in chain_bonds(row)])
    flip = generator.random(len(bonds)) < 0.5
    bonds[flip] = bonds[flip][:, ::-1]
    return ids, generator.permutation(bonds)


@pytest.mark.parametrize("n_beads", [2, 3, 7, 50])
def test_unsorted_ids_give_chains_in_order(n_beads):
    ids, bonds = shuffled_chains(9, n_beads, seed=n_beads)
    expected = {tuple(row) if row[0] < row[-1] else tuple(row[::-1]) for row in ids.tolist()}
    found = find_chains(bonds)
    assert {tuple(row) for row in found.ids.tolist()} == expected
    assert (found.ids[:, 0] < found.ids[:, -1]).all()
    assert (np.diff(found.ids[:, 0]) > 0).all()
    assert found.notes == ()


def test_duplicate_bonds_count_once():
    bonds = [*chain_bonds([4, 1, 9, 2]), (1, 4), *chain_bonds([5, 6, 7, 8])]
    assert find_chains(np.array(bonds)).ids.tolist() == [[2, 9, 1, 4], [5, 6, 7, 8]]


def test_no_bonds_is_refused():
    with pytest.raises(UserError, match="no bonds"):
        find_chains(np.empty((0, 2), dtype=np.int64))


def test_one_molecule_is_named():
    with pytest.raises(UserError, match=r"1 chain \(molecule 77, with atom 1 and 4 beads\): its motion cannot be told"):
        find_chains(np.array(chain_bonds([1, 2, 3, 4])), molecule_of=lambda atom: 77)


def test_a_network_is_named():
    mesh = [pair for row in range(3) for pair in chain_bonds([4 * row + i for i in (1, 2, 3, 4, 1)])]
    mesh += [(i, i + 4) for i in range(1, 9)]
    with pytest.raises(UserError, match=r"one network \(with atom 1 and 12 beads\)"):
        find_chains(np.array(mesh))


def test_group_cuts_side_beads_off():
    bonds = np.array([*chain_bonds([1, 2, 3, 4]), (2, 20), (3, 30), *chain_bonds([5, 6, 7, 8])])
    found = find_chains(keep_group(bonds, np.arange(1, 9), "backbone"))
    assert found.ids.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    with pytest.raises(UserError, match="group 'ends'"):
        keep_group(bonds, np.array([20, 30]), "ends")


def test_a_group_that_cuts_all_backbones_is_refused():
    bonds = np.array(
        [*chain_bonds(range(1, 8)), *chain_bonds(range(8, 15)), (5, 30), (30, 31), (12, 32), (32, 33), (33, 34)]
    )
    for gone in ((4, 11), (3, 10)):
        group = np.setdiff1d(np.arange(1, 15), gone)
        with pytest.raises(UserError, match=r"leaves 2 pieces of the molecule with atom 1 \(2 molecules .*`select`"):
            keep_group(bonds, group, "g", "`select`")
    assert len(keep_group(bonds, np.array([*range(1, 15), 31, 33]), "g")) == 12  # single beads on the side
    assert len(keep_group(bonds, np.arange(3, 15), "g")) == 10
    strands = np.array([*chain_bonds(range(1, 8)), *chain_bonds(range(8, 15)), (4, 11)])  # one molecule, parted by both
    assert len(keep_group(strands, np.setdiff1d(np.arange(1, 15), (4, 11)), "g")) == 8


def test_modes_are_limited_by_the_length():
    assert limit_modes(12, 20) == (12, ())
    k, notes = limit_modes(12, 10)
    assert k == 9
    assert "from 12 to 9" in notes[0]
