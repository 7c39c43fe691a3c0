"""What a melt's structure is judged by: bonds that cross, distances along chains, g(r) between chains."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mlgle_lammps.observe.bond_crossing import CrossingCounter, bond_crossings, chain_bonds
from mlgle_lammps.observe.chain_segments import inner_segments, segment_slope, squared_segments
from mlgle_lammps.observe.pair_distribution import PairDistribution, intermolecular_distribution

BOX = np.array([20.0, 20.0, 24.0])
TWO_BONDS = np.array([[0, 1], [2, 3]])


def _cross(way, *, turn=0.0, image=(0, 0, 0), origin=(0, 0, 0), height=0.5):
    """Crossings while a bond along y at ``height`` above one along x goes ``way``, turned by ``turn`` about x."""
    before = np.array([[0.0, 0, 0], [4, 0, 0], [2, -2, height], [2, 2, height]]) + origin
    before[2:] += np.array(image) * BOX
    after = before.copy()
    after[2:] += way
    after[3, 2] += turn
    return len(bond_crossings(before, after, TWO_BONDS, BOX))


def test_bonds_that_pass_through_each_other_cross_once():
    assert _cross([0, 0, -1]) == 1
    assert _cross([1.5, 0.5, -1]) == 1
    assert _cross([0, 0, 1], height=-0.5) == 1


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ([0, 0, -0.4], "stops above"),
        ([0, 0, 1], "goes away"),
        ([6, 0, -1], "is beyond the end of the other bond by then"),
        ([0, -4.5, -1], "its own end has passed by then"),
        ([0, 0, 0], "stands still"),
        ([1, 1, 0], "slides above"),
    ],
)
def test_bonds_that_pass_by_do_not_cross(way, why):
    assert _cross(way) == 0, why


def test_there_and_back_are_two_crossings():
    # One end goes down more than the other up, so that the bonds lie in a plane twice.
    before = np.array([[0.0, 0, 0], [4, 0, 0], [1.0, -2, 0.2], [1.0, 2, 0.2]])
    middle, after = before.copy(), before.copy()
    middle[2:, 2] -= 0.4
    counter = CrossingCounter(2, 2, BOX)
    for positions in (before, middle, after):
        counter.add(positions)
    assert counter.between == [1, 1]
    assert counter.lasting == 0
    once = CrossingCounter(2, 2, BOX)
    once.add(before)
    once.add(middle)
    assert once.lasting == 1


@pytest.mark.parametrize("image", [(1, 0, 0), (0, -2, 1), (3, 3, -3)])
@pytest.mark.parametrize("origin", [(0, 0, 0), (18.5, 19.0, 23.9), (-100.0, 55.0, 7.0)])
def test_periodic_images_cross_as_well(image, origin):
    assert _cross([0, 0, -1], image=image, origin=origin) == 1
    assert _cross([0, 0, -0.4], image=image, origin=origin) == 0


def test_crossings_of_random_motion_agree_with_fine_steps():
    """The cubic finds what very many small steps find by the change of sign of the volume."""
    rng = np.random.default_rng(3)
    bonds = chain_bonds(150, 2)
    start = rng.uniform(0, 20, size=(150, 1, 3)) + rng.normal(scale=1.5, size=(150, 2, 3))
    way = rng.normal(scale=0.4, size=(150, 2, 3))
    before, after = start.reshape(-1, 3), (start + way).reshape(-1, 3)
    found = len(bond_crossings(before, after, bonds, BOX))
    path = [before + t * (after - before) for t in np.linspace(0, 1, 301)]
    steps = sum(len(bond_crossings(a, b, bonds, BOX)) for a, b in pairwise(path))
    assert found == steps > 5


def test_bonds_that_share_a_bead_never_cross():
    rng = np.random.default_rng(1)
    chain = rng.normal(scale=2.0, size=(3, 3))
    assert len(bond_crossings(chain, chain + rng.normal(scale=3.0, size=(3, 3)), chain_bonds(1, 3), BOX)) == 0


def test_crossings_are_told_apart_and_counted_per_bond_and_time():
    counter = CrossingCounter(2, 2, BOX)
    up = np.array([[0.0, 0, 0], [4, 0, 0], [2, -2, 0.5], [2, 2, 0.5]])
    down = up - [[0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 1]]
    for i in range(21):
        counter.add(down if i % 2 else up)
    assert sum(counter.between) == 20
    assert counter.rate(interval=0.5)[0] == pytest.approx(20 * 2 / (2 * 20 * 0.5))
    folded = CrossingCounter(1, 4, BOX)
    chain = np.array([[0.0, 0, 0], [4, 0, 0], [2, 2, 0.5], [2, -2, 0.5]])
    folded.add(chain)
    folded.add(chain - [[0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 1]])
    assert (folded.neighbours, folded.between, folded.distant) == ([1], [0], [0])
    quiet = CrossingCounter(2, 2, BOX)
    for _ in range(21):
        quiet.add(up)
    assert quiet.rate(0.5)[0] == 0
    assert quiet.rate(0.5)[1] == pytest.approx(2 / (0.5 * 20 * 2))


def test_distances_along_an_ideal_chain():
    rng = np.random.default_rng(2)
    walks = np.cumsum(rng.normal(size=(200, 20, 30, 3)), axis=2)
    segments = squared_segments(walks)
    assert segments.shape == (20, 29)
    error = segments.std(axis=0, ddof=1) / np.sqrt(20)
    s = np.arange(1, 30)
    assert np.all(np.abs(segments.mean(axis=0) - 3 * s) < 4 * error)
    slope, se = segment_slope(inner_segments(walks, 3), 5, 15)
    assert abs(slope - 3) < 4 * se
    assert abs(slope - 3.3) > 4 * se
    stretched = walks * np.sqrt(1.1)
    assert np.any(np.abs(squared_segments(stretched).mean(axis=0) - 3 * s) > 4 * error)
    np.testing.assert_allclose(inner_segments(walks, 3)[:, 0], squared_segments(walks[:, :, 3:27])[:, 0])


def test_g_of_random_chains_is_one_and_that_of_a_shell_is_not():
    rng = np.random.default_rng(4)
    points = rng.uniform(0, 20, size=(40, 30, 5, 3))
    flat = intermolecular_distribution(points, BOX, 8.0, n_bins=16)
    # z fills 20 of 24 only
    uniform = points * [1, 1, 1.2]
    even = intermolecular_distribution(uniform, BOX, 8.0, n_bins=16)
    assert np.all(np.abs(even.g[2:] - 1) < 4 * even.se[2:])
    assert np.any(np.abs(flat.g[2:] - 1) > 4 * flat.se[2:])
    pairs = uniform.copy()
    pairs[:, 1::2] = pairs[:, ::2] + [0, 0, 5.0]
    assert intermolecular_distribution(pairs, BOX, 8.0, n_bins=20).first_peak()[0] == pytest.approx(5.0, abs=0.1)


def test_the_first_peak_may_be_lower_than_the_second():
    r = np.linspace(0.05, 11.95, 120)
    noise = 0.01 * np.random.default_rng(6).normal(size=120)
    g = 0.9 * np.exp(-((r - 5.2) ** 2)) + np.exp(-(((r - 9.5) / 2) ** 2)) + np.where(r > 3, noise, 0.0)
    assert np.argmax(g) > 80
    place, height = PairDistribution(r, g, np.full(120, 0.01)).first_peak()
    assert place == pytest.approx(5.2, abs=0.15)
    assert height == pytest.approx(0.9, abs=0.05)


def test_chains_wrapped_or_not_give_the_same_g():
    rng = np.random.default_rng(5)
    chains = rng.uniform(0, 20, size=(3, 10, 1, 3)) + np.cumsum(rng.normal(size=(3, 10, 6, 3)), axis=2)
    moved = chains + rng.integers(-3, 4, size=(3, 10, 1, 1)) * BOX
    wrapped = chains - np.floor(chains / BOX) * BOX
    whole = intermolecular_distribution(chains, BOX, 9.0).g
    np.testing.assert_allclose(intermolecular_distribution(moved, BOX, 9.0).g, whole)
    np.testing.assert_allclose(intermolecular_distribution(wrapped, BOX, 9.0).g, whole)
