"""Species live from LAMMPS: exact answers for ideal stars, rings and combs; centres of mass as LAMMPS computes them."""

import itertools
import json

import numpy as np
import pytest
from test_driver import Kept

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.acquire.driver import Driver
from mlgle_lammps.acquire.wanted import FramesWanted
from mlgle_lammps.chains.laplacian import groups_of
from mlgle_lammps.commands import replay
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.deck import DeckOptions
from mlgle_lammps.records import CHAINS, joined
from mlgle_lammps.statistics.species_moments import SpeciesMoments
from mlgle_lammps.store.writer import FramesWriter

pytestmark = [pytest.mark.mpi, pytest.mark.lammps]


@pytest.fixture(scope="module")
def world():
    return mpi.start()


def record(world, folder, text, n_frames, every, **options):
    """Run a deck; return its system and frames."""
    path, sink = folder / "in.deck", Kept()
    path.write_text(text)
    deck = DeckOptions(path, (("deckdir", (str(folder),)),), every, **options)
    with Driver(world, read_deck(path), deck, FramesWanted(12, n_frames), sink, folder / "log") as driver:
        driver.prepare()
        ending = driver.produce()
    assert ending.status == "complete", ending.message
    return sink.system, joined(sink.frames)


def path(n):
    return list(itertools.pairwise(range(n)))


def star(n_arms, n):
    arms = [[0, *range(1 + a * n, 1 + (a + 1) * n)] for a in range(n_arms)]
    return [pair for arm in arms for pair in itertools.pairwise(arm)]


RING = [*path(40), (0, 39)]
COMB = [*path(20), *((3 * i, 20 + i) for i in range(6))]


def ideal(edges, n, count, random):
    """Return ideal molecules in equilibrium, (molecule, bead, 3): the springs' own distribution, b = 1."""
    matrix = np.zeros((n, n))
    for i, j in edges:
        matrix[[i, j], [i, j]] += 1.0
        matrix[[i, j], [j, i]] -= 1.0
    values, vectors = np.linalg.eigh(matrix)
    scale = np.where(values > 1e-9, 1 / np.sqrt(3 * np.maximum(values, 1e-9)), 0.0)
    return np.einsum("np,cpx->cnx", vectors * scale, random.normal(size=(count, n, 3))) + random.uniform(
        0, 40, (count, 1, 3)
    )


def data_file(target, kinds, box, masses=(1.0,), style="bond", seed=1, shuffle=True):
    """Write molecules of (edges, positions (molecule, bead, 3), types), ids shuffled and molecules wrong."""
    random = np.random.default_rng(seed)
    total = sum(positions.shape[0] * positions.shape[1] for _, positions, _ in kinds)
    ids = iter((random.permutation(total) + 1).tolist() if shuffle else range(1, total + 1))
    atoms, bonds, molecule = [], [], 0
    for edges, positions, types in kinds:
        for beads in positions:
            molecule += 1
            own = [next(ids) for _ in beads]
            bonds += [(own[i], own[j]) for i, j in edges]
            for atom, kind, x in zip(own, types, beads, strict=True):
                image = np.floor(x / box).astype(int)
                place = " ".join(f"{v:.12g}" for v in x - image * box)
                number = 1 if style == "bond" and shuffle else molecule
                first, last = (f"{number} {kind}", "") if style == "bond" else (f"{kind}", f"{number} 1.0 {1 + kind} ")
                atoms.append(f"{atom} {first} {place} {last}{image[0]} {image[1]} {image[2]}")
    lines = ["molecules", "", f"{total} atoms", f"{len(bonds)} bonds", f"{len(masses)} atom types", "1 bond types", ""]
    lines += [f"0 {box} {axis}lo {axis}hi" for axis in "xyz"]
    if style == "bond":
        lines += ["", "Masses", "", *(f"{i} {mass}" for i, mass in enumerate(masses, 1))]
    lines += ["", "Atoms", "", *random.permutation(atoms).tolist(), "", "Bonds", ""]
    lines += [f"{i} 1 {a} {b}" for i, (a, b) in enumerate(bonds, 1)]
    target.write_text("\n".join(lines) + "\n")


ROUSE = """
units lj
atom_style bond
atom_modify sort 0 0.0
read_data ${deckdir}/m.data
timestep 0.00075
pair_style none
neighbor 2.0 bin
comm_modify cutoff 12.0
bond_style harmonic
bond_coeff 1 1.5 0.0
fix move all brownian 1.0 7 gamma_t 1.0 rng gaussian
#mlgle production
run 100000000
"""


@pytest.mark.slow
def test_ideal_molecules_have_their_exact_answers(world, tmp_path):
    """Variances, relaxation times and D of star, ring and comb in one box, with single beads beside them."""
    random = np.random.default_rng(3)
    shapes = {"star of 4 arms × 10": (star(4, 10), 41), "ring 40": (RING, 40), "branched 26": (COMB, 26)}
    kinds = [(edges, ideal(edges, n, 24, random), [1] * n) for edges, n in shapes.values()]
    kinds.append(([], random.uniform(0, 40, (30, 1, 3)), [1]))
    data_file(tmp_path / "m.data", kinds, 40.0)
    every, n_frames = 140, 1200
    system, frames = record(world, tmp_path, ROUSE, n_frames, every)
    assert {system.main_name, *(own.name for own in system.others)} == {*shapes, "type 1"}
    moments = SpeciesMoments(system.species, {own.name: own.n_modes for own in system.species}, 16)
    moments.add(frames)
    for own in system.species:
        n, count = own.n_beads, own.n_molecules
        D = moments.moments(own.name).msd_com[0] / (2 * system.dt)
        error = np.sqrt(2 / (3 * count * n_frames))  # steps of centres are independent
        assert abs(D * n - 1) < 4 * error
        assert abs(D * n - 1.1) > 4 * error  # wrong friction
        if own.n_modes:
            _compare_modes(frames.channels[own.name]["modes"].astype(float), own, system.dt)


def _compare_modes(modes, own, dt):
    values = np.array(own.eigenvalues)
    times, exact = 1 / (3 * values), 1 / (6 * own.n_beads * values)
    assert groups_of(values)[-1].stop == own.n_beads - 1
    assert all(group.stop <= own.n_modes or group.start >= own.n_modes for group in groups_of(values))
    per_molecule = np.mean(modes**2, axis=(0, 3))
    se = per_molecule.std(axis=0, ddof=1) / np.sqrt(len(per_molecule))
    variance = per_molecule.mean(axis=0)
    for p in range(own.n_modes):
        bias = 1 / (1 - 0.00075 / (2 * times[p]))  # of the Euler scheme
        assert abs(variance[p] - exact[p] * bias) < 4 * se[p]
    wrong = 0
    for p in range(own.n_modes):
        lag = max(1, round(times[p] / dt / 2))
        if lag >= len(modes) // 4:
            continue
        products = np.mean(modes[lag:, :, p] * modes[:-lag, :, p], axis=(0, 2)) / exact[p]
        error = products.std(ddof=1) / np.sqrt(len(products))
        assert abs(products.mean() - np.exp(-lag * dt / times[p])) < 4 * error + 0.004
        wrong += abs(products.mean() - np.exp(-lag * dt / (1.1 * times[p]))) > 4 * error + 0.004
    assert wrong  # friction that is wrong by a tenth shows
    for group in groups_of(values[: own.n_modes]):
        spread = np.ptp(variance[group])
        assert spread <= 6 * np.sqrt(np.mean(se[group] ** 2))  # copies are alike


MASSES = """
units lj
atom_style {style}
read_data ${{deckdir}}/m.data
timestep 0.005
pair_style lj/cut 1.122462
pair_modify shift yes
pair_coeff * * 1.0 1.0
special_bonds lj 0 1 1
bond_style harmonic
bond_coeff 1 100.0 1.0
comm_modify cutoff 6.0
velocity all create 1.0 5
fix move all nve/limit 0.02
fix bath all langevin 1.0 1.0 1.0 9
compute molecules all chunk/atom molecule
compute centres all com/chunk molecules
#mlgle production
fix out all ave/time 10 1 10 c_centres[*] file ${{deckdir}}/centres mode vector format " %.16g"
run 100000
"""


@pytest.mark.parametrize("style", ["bond", "hybrid bond sphere"])  # masses of types, and of atoms
def test_centres_are_those_that_lammps_computes(world, tmp_path, style):
    random = np.random.default_rng(2)
    steps = random.normal(size=(12, 9, 3))
    walks = np.cumsum(steps / np.linalg.norm(steps, axis=2, keepdims=True), axis=1) + random.uniform(0, 30, (12, 1, 3))
    types = [1, 2, 3, 1, 2, 3, 1, 2, 3]
    edges = [*path(5), (2, 5), (5, 6), (2, 7), (7, 8)]
    lone = random.uniform(0, 30, (7, 1, 3))
    data_file(
        tmp_path / "m.data", [(edges, walks, types), ([], lone, [3])], 30.0, (1.0, 7.5, 0.3), style.split()[-1],
        shuffle=False,
    )  # fmt: skip
    text = MASSES.format(style=style)
    system, frames = record(world, tmp_path, text, 8, 10)
    assert system.whole_molecules
    rows = [line.split() for line in (tmp_path / "centres").read_text().splitlines() if not line.startswith("#")]
    theirs = np.array([row for row in rows if len(row) == 4], dtype=float)[:, 1:].reshape(-1, 19, 3)
    ours = np.concatenate([frames.com, frames.channels[system.others[0].name]["com"]], axis=1)
    n = min(len(theirs), len(ours))
    assert n >= 7
    np.testing.assert_allclose(ours[:n], theirs[:n], rtol=0, atol=1e-10)
    means = walks.mean(axis=1)  # masses play a part: the beads' own mean lies elsewhere
    assert np.abs(np.sort(theirs[0, :12], axis=0) - np.sort(means, axis=0)).max() > 0.05


def test_species_are_recorded_and_replayed_bit_for_bit(world, tmp_path):
    random = np.random.default_rng(3)
    kinds = [
        (star(3, 4), ideal(star(3, 4), 13, 12, random), [1] * 13),
        (path(8), ideal(path(8), 8, 5, random), [1] * 8),
    ]
    kinds.append(([], random.uniform(0, 40, (30, 1, 3)), [2]))
    data_file(tmp_path / "m.data", kinds, 40.0, (1.0, 2.0))
    system, frames = record(world, tmp_path, ROUSE, 90, 50)
    with FramesWriter(tmp_path / "modes.h5", system) as writer:
        writer.append(frames)
    short = ["--memory", "8", "--train-frames", "40", "--val-frames", "20", "--modes", "6"]
    short += ["--generate-steps", "64", "--ensemble", "4"]
    assert replay.main([str(tmp_path / "modes.h5"), "--out", str(tmp_path / "a"), *short]) == 0
    result = json.loads((tmp_path / "a" / "result.json").read_text())
    assert [(own["name"], own["molecules"], own["beads"]) for own in result["species"]] == [
        ("star of 3 arms × 4", 12, 13), ("linear 8", 5, 8), ("type 2", 30, 1),
    ]  # fmt: skip
    assert result["species"][0]["D"] == result["D"]
    for own, D in zip(result["species"], (1 / 13, 1 / 8, 1.0), strict=True):
        assert own["D"]["ci95"][0] - own["D"]["se"] * 4 < D < own["D"]["ci95"][1] + own["D"]["se"] * 4
    each = ["--species", "all", *short]
    assert replay.main([str(tmp_path / "a"), "--out", str(tmp_path / "a"), *each]) == 2  # a run lies there
    assert replay.main([str(tmp_path / "a"), "--out", str(tmp_path / "b"), *each]) == 0
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["linear-8", "star-of-3-arms-4"]
    for folder in (tmp_path / "b").iterdir():
        assert (folder / "generated.h5").exists()
    assert json.loads((tmp_path / "b" / "star-of-3-arms-4" / "result.json").read_text())["D"] == result["D"]
    swapped = json.loads((tmp_path / "b" / "linear-8" / "result.json").read_text())
    assert (swapped["n_chains"], swapped["n_beads"]) == (5, 8)
    assert swapped["D"]["value"] == pytest.approx(result["species"][1]["D"]["value"], rel=1e-6)
    assert {own["name"]: own["molecules"] for own in swapped["species"]} == {
        own["name"]: own["molecules"] for own in result["species"]
    }


def test_a_network_is_refused_by_name(world, tmp_path):
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), axis=-1).reshape(1, -1, 3) * 1.0
    number = np.arange(64).reshape(4, 4, 4)
    edges: list[tuple[int, int]] = []
    for axis in range(3):
        edges += zip(number.ravel().tolist(), np.roll(number, -1, axis).ravel().tolist(), strict=True)
    pair = np.concatenate([grid, grid + 0.5])  # two of them, one in the other
    data_file(tmp_path / "m.data", [(edges, pair, [1] * 64)], 4.0)
    text = ROUSE.replace("comm_modify cutoff 12.0", "comm_modify cutoff 3.0").replace("neighbor 2.0", "neighbor 0.5")
    with pytest.raises(UserError, match=r"molecule with atom \d+ and 64 beads is a network that percolates"):
        record(world, tmp_path, text, 4, 10)
    assert CHAINS == "chains"
