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
    bonds = chain_bonds([4, 1, 9, 2])
    assert find_chains(np.array([*bonds, (1, 4)])).ids.tolist() == [[2, 9, 1, 4]]


def test_no_bonds_is_refused():
    with pytest.raises(UserError, match="no bonds"):
        find_chains(np.empty((0, 2), dtype=np.int64))


def test_ring_is_named():
    bonds = chain_bonds([1, 2, 3]) + chain_bonds([11, 12, 13, 14, 11])
    with pytest.raises(UserError, match=r"1 molecule is a ring \(molecule 77, with atom 11 and 4 beads\)"):
        find_chains(np.array(bonds), molecule_of=lambda atom: 77)


def test_branched_is_named_and_not_called_a_ring():
    bonds = [*chain_bonds([1, 2, 3, 4]), (3, 5)]
    with pytest.raises(UserError, match=r"1 molecule is branched \(with atom 1 and 5 beads\)") as caught:
        find_chains(np.array(bonds))
    assert "ring" not in str(caught.value)


def test_many_rings_are_counted():
    bonds = [pair for start in range(1, 50, 10) for pair in chain_bonds([start, start + 1, start + 2, start])]
    with pytest.raises(UserError, match=r"5 molecules are a ring .* and 2 more"):
        find_chains(np.array(bonds))


def test_group_cuts_side_beads_off():
    bonds = np.array([*chain_bonds([1, 2, 3, 4]), (2, 20), (3, 30)])
    assert find_chains(keep_group(bonds, np.array([1, 2, 3, 4]), "backbone")).ids.tolist() == [[1, 2, 3, 4]]
    with pytest.raises(UserError, match="group 'ends'"):
        keep_group(bonds, np.array([20, 30]), "ends")


def test_modes_are_limited_by_the_length():
    assert limit_modes(12, 20) == (12, ())
    k, notes = limit_modes(12, 10)
    assert k == 9
    assert "from 12 to 9" in notes[0]
