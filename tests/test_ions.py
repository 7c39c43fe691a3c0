"""Distances and conduction of ions, on points whose answers are known."""

import numpy as np
import pytest

from mlgle_lammps.errors import UserError
from mlgle_lammps.observe.ions import closest_distance, collisions, conduction, edges_of, species_distribution

pytestmark = pytest.mark.light
BOX = np.array([6.0, 7.0, 8.0])


def test_points_without_correlation_have_g_of_one():
    random = np.random.default_rng(1)
    one, other = random.uniform(-50, 50, (60, 40, 3)), random.uniform(-50, 50, (60, 30, 3))
    for second in (None, other):
        found = species_distribution(one, second, BOX, 2.9, n_bins=12)
        off = (found.g - 1)[2:] / found.se[2:]
        assert np.abs(off).max() < 5
        assert abs(off.mean()) < 4 / np.sqrt(len(off))
    with pytest.raises(ValueError, match="half of it"):
        species_distribution(one, None, BOX, 3.1)


def test_pairs_are_counted_through_the_walls():
    one = np.array([[[0.1, 3.0, 3.0], [3.0, 3.0, 3.0]]])
    other = np.array([[[5.9, 3.0, 3.0], [3.0, 3.0, 11.4]]])  # 0.2 away from the first, 0.4 from the second
    np.testing.assert_allclose(collisions(one, other, BOX, 0.3), [0.5])
    np.testing.assert_allclose(collisions(one, other, BOX, 0.5), [1.0])
    np.testing.assert_allclose(collisions(np.concatenate([one, other], axis=1), None, BOX, 0.3), [0.25])
    assert closest_distance(one, other, BOX) == pytest.approx(0.2)
    assert closest_distance(one, None, BOX) == pytest.approx(2.9)
    with pytest.raises(UserError, match="rectangular box"):
        edges_of((6.0, 6.0, 6.0, 0.1, 0.0, 0.0))


def walkers(n_frames, n_ions, D, seed):
    steps = np.random.default_rng(seed).standard_normal((n_frames, n_ions, 3)) * np.sqrt(2 * D)
    return np.cumsum(steps, axis=0)


def test_independent_ions_conduct_as_nernst_and_einstein_say():
    kT, volume, n = 1.5, float(np.prod(BOX)), 60
    ions = {"A": walkers(6000, n, 0.3, 2), "B": walkers(6000, n, 0.1, 3)}
    charges = {"A": 1.0, "B": -2.0}
    found = conduction(ions, charges, BOX, kT, 1.0, longest=20.0)
    exact = n * (0.3 + 4 * 0.1) / (volume * kT)
    for own in (found.conductivity, found.nernst_einstein):
        assert abs(own.value - exact) < 4 * own.se
    assert found.nernst_einstein.se < 0.05 * exact
    assert abs(found.onsager["A", "B"].value) < 4 * found.onsager["A", "B"].se
    assert abs(found.onsager["A", "A"].value - n * 0.3 / (volume * kT)) < 4 * found.onsager["A", "A"].se
    drifting = {name: own + np.arange(6000)[:, None, None] * 0.5 for name, own in ions.items()}
    same = conduction(drifting, charges, BOX, kT, 1.0, np.arange(6000)[:, None] * 0.5 * np.ones(3), 20.0)
    assert same.conductivity.value == pytest.approx(found.conductivity.value)


def test_ion_pairs_carry_no_charge():
    pairs = walkers(4000, 40, 0.2, 4)
    apart = pairs + np.random.default_rng(5).standard_normal(pairs.shape) * 0.1
    found = conduction({"A": pairs, "B": apart}, {"A": 1.0, "B": -1.0}, BOX, 1.0, 1.0, longest=20.0)
    assert abs(found.conductivity.value) < 0.05 * found.nernst_einstein.value
    with pytest.raises(ValueError, match="too few"):
        conduction({"A": pairs[:30]}, {"A": 1.0}, BOX, 1.0, 1.0, longest=20.0)
