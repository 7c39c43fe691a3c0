"""Molecules of any architecture: modes by exact theory, species and their order, whatever atom ids are."""

import itertools

import numpy as np
import pytest

from mlgle_lammps.chains.bond_graph import isomorphic_order
from mlgle_lammps.chains.laplacian import (
    bead_columns,
    bond_weights,
    groups_of,
    laplacian,
    laplacian_modes,
    linear_eigenvalues,
    mode_rows,
    whole_groups,
)
from mlgle_lammps.chains.modes import mode_matrix
from mlgle_lammps.chains.molecule_sums import MoleculeSums
from mlgle_lammps.chains.percolation import percolates
from mlgle_lammps.chains.spectrum import spectrum_of
from mlgle_lammps.chains.topology import find_chains, followed
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import Frames, Int64, Species
from mlgle_lammps.statistics.species_moments import SpeciesMoments


def path(n):
    return tuple(itertools.pairwise(range(n)))


def ring(n):
    return (*path(n), (0, n - 1))


def star(n_arms, n):
    arms = [[0, *range(1 + a * n, 1 + (a + 1) * n)] for a in range(n_arms)]
    return tuple(pair for arm in arms for pair in itertools.pairwise(arm))


def comb(n, teeth):
    return (*path(n), *((3 * i, n + i) for i in range(teeth)))


def theta(n):
    """Return two rings that share a bond."""
    return (*ring(n), (0, n // 2))


MOLECULES = {"star": star(4, 10), "ring": ring(40), "comb": comb(20, 6), "theta": theta(11)}


def n_of(edges):
    return max(max(pair) for pair in edges) + 1


# ------------------------------------------------------------------ modes


@pytest.mark.parametrize("n", [2, 3, 8, 25])
def test_a_linear_chains_laplacian_gives_the_dct(n):
    values, _ = laplacian_modes(n, path(n))
    np.testing.assert_allclose(values[1:], linear_eigenvalues(n), atol=1e-12)
    np.testing.assert_allclose(np.abs(mode_rows(n, path(n), n - 1)), np.abs(mode_matrix(n, n - 1)), atol=1e-12)
    assert mode_rows(n, (), n - 1).tobytes() == mode_matrix(n, n - 1).tobytes()


@pytest.mark.parametrize("edges", MOLECULES.values(), ids=MOLECULES)
def test_variances_of_ideal_molecules_are_exact(edges):
    n, b = n_of(edges), 1.3
    covariance = b**2 / 3 * np.linalg.pinv(laplacian(n, edges))  # of beads about the centroid, per component
    rows, values = mode_rows(n, edges, n - 1), laplacian_modes(n, edges)[0][1:]
    of_modes = rows[1:] @ covariance @ rows[1:].T
    np.testing.assert_allclose(np.diag(of_modes), b**2 / (6 * n * values), rtol=1e-9)
    assert np.abs(of_modes - np.diag(np.diag(of_modes))).max() < 1e-9 * of_modes.max()
    gyration = 3 * np.trace(covariance) / n
    assert gyration == pytest.approx(b**2 / n * np.sum(1 / values), rel=1e-9)
    assert gyration == pytest.approx(2 * 3 * np.trace(of_modes), rel=1e-9)
    bond = np.mean([3 * (covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]) for i, j in edges])
    assert bond == pytest.approx(3 * bond_weights(n, edges, values) @ np.diag(of_modes), rel=1e-9)
    if len(edges) == n - 1:
        assert bond == pytest.approx(b**2, rel=1e-9)


@pytest.mark.parametrize("edges", MOLECULES.values(), ids=MOLECULES)
def test_all_modes_give_the_beads_back(edges):
    n = n_of(edges)
    beads = np.random.default_rng(1).normal(size=(n, 3))
    np.testing.assert_allclose(bead_columns(n, edges, n - 1) @ (mode_rows(n, edges, n - 1) @ beads), beads, atol=1e-10)


def test_stars_and_rings_have_the_groups_of_theory():
    n_arms, n = 4, 10
    values = laplacian_modes(41, star(n_arms, n))[0][1:]
    sizes = [len(group) for group in groups_of(values)]
    apart = 4 * np.sin((2 * np.arange(1, n + 1) - 1) * np.pi / (2 * (2 * n + 1))) ** 2
    found = [values[group.start] for group in groups_of(values) if len(group) == n_arms - 1]
    np.testing.assert_allclose(found, apart, rtol=1e-9)
    assert sorted(set(sizes)) == [1, 3]
    values = laplacian_modes(40, ring(40))[0][1:]
    np.testing.assert_allclose(values[:-1:2], 4 * np.sin(np.arange(1, 20) * np.pi / 40) ** 2, rtol=1e-9)
    assert [len(group) for group in groups_of(values)] == [2] * 19 + [1]


def test_no_group_is_cut():
    values = laplacian_modes(41, star(4, 10))[0][1:]
    assert [whole_groups(k, values) for k in (1, 2, 3, 4, 5, 40, 99)] == [3, 3, 3, 4, 7, 40, 40]
    assert whole_groups(5, linear_eigenvalues(20)) == 5


def test_the_basis_follows_the_rule():
    _, rows = laplacian_modes(40, ring(40))
    np.testing.assert_allclose(rows[1], np.sqrt(2 / 40) * np.cos(2 * np.pi * np.arange(40) / 40), atol=1e-10)
    np.testing.assert_allclose(
        np.abs(rows[2]), np.sqrt(2 / 40) * np.abs(np.sin(2 * np.pi * np.arange(40) / 40)), atol=1e-10
    )
    assert laplacian_modes.__wrapped__(40, ring(40))[1].tobytes() == rows.tobytes()


# ------------------------------------------------------------------ species


def melt(*kinds, seed=None):
    """Return bonds, a function of types, and the ids of each molecule; (count, edges, types) in turn, ids shuffled."""
    random = np.random.default_rng(seed)
    pairs, types, molecules, atom = [], dict[int, str](), [], 0
    total = sum(count * len(own_types) for count, _, own_types in kinds)
    ids = np.arange(1, total + 1) if seed is None else random.permutation(3 * total)[:total] + 1
    for count, edges, own_types in kinds:
        for _ in range(count):
            own = ids[atom : atom + len(own_types)]
            pairs += [(own[i], own[j]) for i, j in edges]
            types |= dict(zip(own.tolist(), own_types, strict=True))
            molecules.append(own)
            atom += len(own_types)
    bonds: Int64 = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if seed is not None:
        bonds = random.permutation(bonds)
    return bonds, lambda wanted: [types[i] for i in wanted.tolist()], molecules


def species_of(*kinds, seed=None, n_modes=12, **options):
    bonds, types_of, molecules = melt(*kinds, seed=seed)
    lone = np.array([own[0] for own in molecules if len(own) == 1], dtype=np.int64)
    chains = find_chains(bonds, types_of=types_of, lone=lone, **options)
    return followed(chains, n_modes, bonds, lambda ids: np.ones(len(ids)), ("com", "modes")), molecules


def test_each_kind_is_a_species_with_a_name():
    found, _ = species_of(
        (12, star(4, 8), "A" * 33), (15, ring(25), "A" * 25), (7, path(20), "A" * 20), (30, (), "1"), (9, (), ["Na"]),
        seed=4,
    )  # fmt: skip
    assert found.main.species.name == "star of 4 arms × 8"
    assert [(own.species.name, own.species.n_molecules, own.species.n_modes) for own in found.others] == [
        ("ring 25", 15, 12), ("linear 20", 7, 12), ("type 1", 30, 0), ("Na", 9, 0),
    ]  # fmt: skip
    assert "in the list species: 15 molecules of 25 beads (ring 25)" in found.left_out[0]


@pytest.mark.parametrize("edges", MOLECULES.values(), ids=MOLECULES)
def test_ids_and_order_do_not_matter(edges):
    n = n_of(edges)
    positions = np.random.default_rng(2).normal(size=(12, n, 3))
    seen = []
    for seed in (None, 5, 6):
        found, molecules = species_of((12, edges, "A" * n), seed=seed)
        (block,) = found.blocks
        sums = MoleculeSums([block])
        z = sums.split(sums(sums.slots(np.concatenate(molecules)), positions.reshape(-1, 3)))[0]
        of_molecule = {int(own.min()): i for i, own in enumerate(molecules)}
        order = np.argsort([of_molecule[int(row.min())] for row in block.ids])
        values = np.array(found.main.species.eigenvalues)[: z.shape[1] - 1]
        squares = np.sum(z[order, 1:] ** 2, axis=2)
        seen.append([z[order, 0], *(squares[:, group].sum(axis=1) for group in groups_of(values))])
    for other in seen[1:]:
        for one, again in zip(seen[0], other, strict=True):
            np.testing.assert_allclose(again, one, rtol=1e-9, atol=1e-12)


def test_molecules_without_symmetry_have_the_same_modes_to_rounding():
    types = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    positions = np.random.default_rng(2).normal(size=(12, 26, 3))
    seen = []
    for seed in (None, 8):
        found, molecules = species_of((12, comb(20, 6), types), seed=seed)
        sums = MoleculeSums(found.blocks)
        z = sums.split(sums(sums.slots(np.concatenate(molecules)), positions.reshape(-1, 3)))[0]
        first = [int(np.flatnonzero([row.min() in own for own in molecules])[0]) for row in found.blocks[0].ids]
        seen.append(z[np.argsort(first)])
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-12)


def test_one_bead_type_makes_another_species():
    other = "A" * 32 + "B"
    found, _ = species_of((6, star(4, 8), "A" * 33), (8, star(4, 8), other), seed=3)
    assert sorted(own.species.n_molecules for own in (found.main, *found.others)) == [6, 8]
    inner = "A" * 5 + "B" + "A" * 27  # the same types at another bead
    found, _ = species_of((6, star(4, 8), inner), (8, star(4, 8), other), seed=3)
    assert sorted(own.species.n_molecules for own in (found.main, *found.others)) == [6, 8]


def test_random_types_on_stars_are_one_species():
    random = np.random.default_rng(1)
    found, _ = species_of(*((1, star(3, 5), "".join(random.choice(["A", "B"], 16))) for _ in range(30)))
    assert (found.main.species.n_molecules, found.others, found.left_out) == (30, (), ())


def test_rings_that_colours_cannot_tell_apart_are_two_species():
    decalin = (*ring(10), (0, 5))
    two = (*ring(5), *((i + 5, j + 5) for i, j in ring(5)), (0, 5))  # the same numbers of neighbours everywhere
    found, _ = species_of((12, decalin, "A" * 10), (11, two, "A" * 10), seed=2)
    assert sorted(own.species.n_molecules for own in (found.main, *found.others)) == [11, 12]
    alike = np.zeros(10, dtype=np.int64)
    assert isomorphic_order(np.array(decalin), alike, np.array(two), alike) is None


def test_species_are_picked_by_name():
    kinds = (12, path(20), "A" * 20), (15, path(10), "A" * 10)
    found, _ = species_of(*kinds, pick="linear 10")
    assert (found.main.species.n_beads, found.others[0].species.name) == (10, "linear 20")
    assert "the main species (--species linear 10)" in found.left_out[0]
    with pytest.raises(UserError, match="no such species, but 'linear 20', 'linear 10'"):
        species_of(*kinds, pick="linear 11")


def test_lengths_share_a_species_where_a_bin_is_given():
    kinds = [(3, path(n), "A" * n) for n in (18, 19, 20, 10)]
    found, _ = species_of(*kinds, length_bin=0.15)
    assert (found.main.species.name, found.main.species.n_molecules) == ("linear 18-20", 9)
    assert found.main.species.masses == (20.0,) * 3 + (19.0,) * 3 + (18.0,) * 3
    assert [own.species.name for own in found.others] == ["linear 10"]
    assert len(species_of(*kinds)[0].others) == 3


def test_modes_that_are_alike_are_taken_together():
    found, _ = species_of((12, star(4, 8), "A" * 33), n_modes=5)
    assert found.main.species.n_modes == 7
    assert "modes raised from 5 to 7" in found.notes[0]


def test_symmetry_says_which_modes_the_centre_knows():
    def invariant(edges, types):
        own = species_of((12, edges, types), n_modes=40)[0].main.species
        spectrum = spectrum_of(own)
        assert spectrum is not None
        return [p + 1 for p, kept in enumerate(spectrum.invariant) if kept]

    assert invariant(path(8), "A" * 8) == [2, 4, 6]
    assert invariant(path(8), "AAAABBBB") == [1, 2, 3, 4, 5, 6, 7]
    assert invariant(ring(12), "A" * 12) == []
    assert invariant(star(4, 3), "A" * 13) == [4, 8, 12]  # all arms alike
    assert invariant(star(3, 2), "AAABBCC") == [1, 2, 3, 4, 5, 6]


def test_a_network_that_percolates_is_told_from_a_ring():
    cell = np.eye(3) * 10.0
    around = np.array([[i * 2.0, 0, 0] for i in range(5)])
    closed = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0.5, -0.5, 0]])
    everywhere = np.ones(3, dtype=bool)
    assert percolates(around, ring(5), cell, everywhere)
    assert not percolates(around, ring(5), cell, np.array([False, True, True]))
    assert not percolates(closed, ring(5), cell, everywhere)
    assert not percolates(closed + np.random.default_rng(1).integers(-2, 3, (5, 3)) * 10.0, ring(5), cell, everywhere)


# ------------------------------------------------------------------ the system's centre


def walks(n_frames, species, D, seed):
    random = np.random.default_rng(seed)
    channels = {}
    for own in species:
        steps = random.normal(size=(n_frames, own.n_molecules, 3)) * np.sqrt(2 * D[own.name])
        channels[own.name] = {"com": np.cumsum(steps, axis=0)}
    return Frames(np.arange(n_frames), np.zeros(n_frames, dtype=np.int64), channels)


@pytest.mark.parametrize("masses", [(50.0, 1.0), (1.0, 1.0), (3.0, 200.0)])
def test_the_drift_takes_its_share_by_mass_and_is_made_good(masses):
    species = [
        Species("chains", 3, 20, 0, ("com",), masses=(masses[0],)),
        Species("ions", 4, 1, 0, ("com",), masses=(masses[1],)),
    ]
    D = {"chains": 0.01, "ions": 0.25}
    moments = SpeciesMoments(species, {"chains": 0, "ions": 0}, 4)
    moments.add(walks(20_000, species, D, seed=7))
    for own in species:
        of = moments.moments(own.name)
        largest = max(D[own.name], moments._of[own.name].mean_squares()[0] / 2)
        error = largest * np.sqrt(2 / (3 * 20_000 * own.n_molecules) * 2)
        assert abs(of.msd_com[0] / 2 - D[own.name]) < 4 * error
        assert of.center_diffuses
    raw = moments._of["chains"].mean_squares()[0] / 2
    assert abs(raw - 0.01) > 0.001  # without it D is off by a tenth or more


def test_a_centre_at_rest_needs_no_factor():
    species = [
        Species("chains", 3, 20, 0, ("com",), masses=(2.0,)),
        Species("ions", 4, 1, 0, ("com",), masses=(1.0,)),
    ]
    frames = walks(2000, species, {"chains": 0.01, "ions": 0.25}, seed=7)
    moments = SpeciesMoments(species, {"chains": 0, "ions": 0}, 4)
    held = moments.centers(frames)[:, None]
    still = {name: {"com": own["com"] - held} for name, own in frames.channels.items()}
    moments.add(Frames(frames.steps, frames.segments, still))
    assert not moments.moments().center_diffuses
    factors = moments.moments("ions").lag_factors
    assert factors is not None
    assert factors.tolist() == [1.0] * len(moments.moments().lags)


def test_one_species_is_what_it_was():
    own = Species("chains", 5, 20, 0, ("com",))
    frames = walks(200, [own], {"chains": 0.1}, seed=1)
    from mlgle_lammps.statistics.moments import MomentAccumulator

    alone, of_all = MomentAccumulator(5, 0, 16), SpeciesMoments([own], {"chains": 0}, 16)
    alone.add(frames)
    of_all.add(frames)
    assert alone.moments().msd_com.tobytes() == of_all.moments().msd_com.tobytes()


# ------------------------------------------------------------------ copies of one mode


def test_copies_of_a_mode_are_learned_as_one():
    from mlgle_lammps.chains.laplacian import groups_of as groups
    from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
    from mlgle_lammps.surrogates.ml_gle.pooled import PooledTrainer, pooled

    values = laplacian_modes(33, star(4, 8))[0][1:5]
    random = np.random.default_rng(3)
    decay = np.exp(-0.2 * values / values[0])
    modes = np.zeros((160, 10, 4, 3), dtype=np.float32)
    for t in range(1, 160):
        noise = random.normal(size=(10, 4, 3)) * np.sqrt(1 - decay**2)[:, None]
        modes[t] = decay[:, None] * modes[t - 1] + noise
    frames = Frames.of_chains(np.arange(160), np.zeros(160, dtype=np.int64), np.zeros((160, 10, 3)), modes)
    of_three = pooled(frames, [range(3)])
    assert of_three.modes.shape == (160, 30, 1, 3)
    np.testing.assert_array_equal(of_three.modes[:, 10:20, 0], modes[:, :, 1])
    how = TrainOptions(8, 100, 60, networks=False)
    model = PooledTrainer(how, groups(values)).finish(frames)
    assert model.n_modes == 4
    assert model.core.coefficients[0].tobytes() == model.core.coefficients[2].tobytes()
    assert model.sigma[0] == model.sigma[1] == pytest.approx(np.sqrt(np.mean(modes[:100, :, :3] ** 2)), rel=1e-5)
    assert [report.mode for report in model.reports] == [1, 2, 3, 4]
    alone = ModeTrainer(how).finish(pooled(frames, [range(3, 4)]))
    order = model.core.orders[3]
    np.testing.assert_array_equal(model.core.coefficients[3, :order], alone.core.coefficients[0, :order])
