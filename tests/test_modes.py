"""The mode transform."""

import numpy as np
import pytest

from mlgle_lammps.chains.modes import chain_modes, mode_matrix
from mlgle_lammps.chains.molecule_sums import LocalModeSum


def random_chains(n_chains=6, n_beads=10, seed=3):
    return np.random.default_rng(seed).normal(size=(n_chains, n_beads, 3)).cumsum(axis=1) + 40.0


def test_zeroth_mode_is_the_centroid_and_others_do_not_see_it():
    positions = random_chains()
    modes = chain_modes(positions, 9)
    np.testing.assert_allclose(modes[:, 0], positions.mean(axis=1), rtol=1e-14)
    shifted = chain_modes(positions + np.array([1e3, -2e3, 3e3]), 9)
    np.testing.assert_allclose(shifted[:, 1:], modes[:, 1:], atol=1e-10)


def test_all_modes_give_the_positions_back():
    positions = random_chains(n_beads=10)
    modes = chain_modes(positions, 9)
    bead = np.arange(10)[:, None]
    inverse = 2 * np.cos(np.pi * np.arange(10)[None, :] * (bead + 0.5) / 10)
    inverse[:, 0] = 1.0
    np.testing.assert_allclose(inverse @ modes, positions, atol=1e-12)


def test_the_misprinted_cosine_would_see_the_centre():
    """Negative control: cos[π(j+1/2)n/N] as printed is not orthogonal to the centre of mass."""
    n_beads = 10
    printed = np.cos(np.pi * (np.arange(1, 5)[:, None] + 0.5) * np.arange(n_beads)[None, :] / n_beads) / n_beads
    assert np.abs(printed.sum(axis=1)).min() > 1e-3
    assert np.abs(mode_matrix(n_beads, 4)[1:].sum(axis=1)).max() < 1e-15


@pytest.mark.parametrize("n_ranks", [1, 3])
def test_sum_over_ranks_is_the_transform(n_ranks):
    generator = np.random.default_rng(5)
    positions = random_chains()
    chains = generator.permutation(np.arange(1, 101))[:60].reshape(6, 10)
    local_sum = LocalModeSum(chains, 4)
    owner = generator.integers(n_ranks, size=100)
    total = np.zeros((6, 5, 3))
    for rank in range(n_ranks):
        ids = generator.permutation(np.flatnonzero(owner == rank) + 1)
        slots = local_sum.slots(ids)
        inside = slots >= 0
        assert set(ids[inside]) == set(chains.ravel()) & set(ids)
        where = {int(atom): tuple(place) for place, atom in np.ndenumerate(chains)}
        mine = np.array([positions[where[int(atom)]] for atom in ids[inside]]).reshape(-1, 3)
        total += local_sum(slots[inside], mine)
    np.testing.assert_allclose(total, chain_modes(positions, 4), rtol=0, atol=1e-13)
