"""The energy of CG-GNN's preset default: gradient, symmetries, what score matching finds, what is stationary."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from cg_gnn_toys import DT, N, coil, core_of, exact_rouse, long_runs, molecule_of, options_of, rotation, runs

from mlgle_lammps.errors import UserError
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.surrogates.catalogue import find_surrogate
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import CoarseRun
from mlgle_lammps.surrogates.cg_gnn.dynamics import EnergyDynamics
from mlgle_lammps.surrogates.cg_gnn.energy import EnergyNetwork, EnergySize, bumps
from mlgle_lammps.surrogates.cg_gnn.examples import Examples
from mlgle_lammps.surrogates.cg_gnn.molecules import MoleculeSet
from mlgle_lammps.surrogates.cg_gnn.options import CgGnnOptions
from mlgle_lammps.surrogates.cg_gnn.pair_shares import n_features
from mlgle_lammps.surrogates.cg_gnn.score_matching import equations, take
from mlgle_lammps.surrogates.cg_gnn.trainer import train, train_coarse
from mlgle_lammps.surrogates.cg_gnn.walks import Walk

pytestmark = pytest.mark.light
SEQUENCES = (
    "AAAABBBB ABABABAB BBAAABAB AABBBBAA ABBBABBA BBBBAABA AAABABBA ABBAAAAB BBABABBB BABAABAA AABAABBB BAAAAAAB"
)


@lru_cache
def stirred(dtype=torch.float64, by_types=True):
    """Return an energy whose every part matters, as if fitted."""
    torch.manual_seed(1)
    network = EnergyNetwork(2, EnergySize(by_types=by_types), core_of())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.to(dtype).requires_grad_(False)


def landscape_of(molecule, network, dtype=torch.float64, n=1):
    molecules = MoleculeSet.of([molecule], ("A", "B"), dtype=dtype)
    return network.still(molecules, torch.zeros(n, dtype=torch.long))


def places_after(molecule, positions, network=None, dtype=torch.float64):
    """Return where groups go without noise, (S, 3)."""
    network = network or stirred(dtype)
    landscape = landscape_of(molecule, network, dtype)
    modes = landscape.modes @ torch.as_tensor(positions, dtype=dtype)[None]
    nothing = torch.zeros(network.size.substeps, *modes.shape, dtype=dtype)
    after, _ = network.step(modes, landscape, nothing[0], nothing)
    return (landscape.modes.mT @ after)[0].numpy()


def test_forces_are_the_gradient_of_the_energy():
    network, landscape = stirred(), landscape_of(molecule_of(), stirred())
    scaled = ((landscape.modes @ torch.tensor(coil())[None]) / landscape.scales).requires_grad_(True)
    distances = (landscape.along.mT @ scaled).square().sum(-1).sqrt()
    energy = 0.5 * ((1 + landscape.springs) * scaled.square()).sum() + (landscape.heights * bumps(distances)[0]).sum()
    (expected,) = torch.autograd.grad(energy, scaled)
    assert torch.allclose(network.forces(scaled.detach(), landscape), expected, atol=1e-6)


def test_bumps_derivatives():
    r, step = torch.linspace(0.1, 4.0, 9, dtype=torch.float64), 1e-5
    below, here, above = (bumps(r + shift) for shift in (-step, 0.0, step))
    assert torch.allclose((above[0] - below[0]) / (2 * step), here[1], atol=1e-7)
    assert torch.allclose((above[1] - below[1]) / (2 * step), here[2], atol=1e-6)


def test_steps_turn_move_and_mirror_with_the_molecule():
    after = places_after(molecule_of(), coil())
    assert np.abs(after - coil()).max() > 0.01
    for turn in (rotation(), np.diag([1.0, 1.0, -1.0])):
        assert places_after(molecule_of(), coil() @ turn + 5.0) == pytest.approx(after @ turn, abs=1e-9)


def test_steps_do_not_hang_on_the_order_of_beads():
    after = places_after(molecule_of(), coil())
    order = np.random.default_rng(4).permutation(N)
    place = np.argsort(order)
    edges = tuple((int(place[n]), int(place[n + 1])) for n in range(N - 1))
    renamed = molecule_of([molecule_of().types[n] for n in order], tuple(range(N)), edges)
    assert places_after(renamed, coil()[order]) == pytest.approx(after[order], abs=1e-9)
    wrong = places_after(molecule_of("AABBBBAA"), coil())  # another arrangement of the same beads is another energy
    assert np.abs(wrong - after).max() > 1e-3


def test_single_and_double_precision_agree():
    single, double = (
        places_after(molecule_of(), coil(), stirred(dtype), dtype) for dtype in (torch.float32, torch.float64)
    )
    assert single == pytest.approx(double, abs=2e-5)


def made(network, molecules, core, n_walks=40, n_steps=240, settling=60, lag=4):
    """Return runs that the dynamics of a network makes, each of several molecules, frames ``lag`` steps apart."""
    found = []
    for number, molecule in enumerate(molecules):
        own = MoleculeSet.of([molecule], ("A", "B"))
        start = torch.tensor(np.stack([coil(s) for s in range(n_walks)]), dtype=torch.float32)[:, None]
        walk = Walk(EnergyDynamics(network, core), own, torch.zeros(n_walks, dtype=torch.long), start, number)
        walk.advance(settling, keep_places=False)
        steps = walk.advance(n_steps, lag)
        radii = steps.square_radii.double().numpy()
        times = len(radii)
        still = np.zeros((times, n_walks, 3)), radii, np.zeros(times, np.int64)
        found.append(CoarseRun(molecule, steps.places.numpy(), *still, float(lag)))
    return found


def test_score_matching_finds_planted_attraction_and_foretells_unseen_sequences():
    """A attracts A: most of what that does to the size of an unseen sequence is found from places of others."""
    core, molecules = core_of(), [molecule_of(own) for own in SEQUENCES.split()]
    planted = EnergyNetwork(2, EnergySize(), core).requires_grad_(False)
    planted.pairs[2 * n_features(2) // 3 + 1, :4] = -0.3  # the product of shares of A, of groups that are not near
    nothing, found = (EnergyNetwork(2, EnergySize(), core).requires_grad_(False) for _ in range(2))
    sets = [Examples.of(made(planted, molecules, core, n_walks=20), ("A", "B"), 4.0, 0, 1)]
    take(found, equations(sets, core, 2))
    sizes = {}
    for name, network in (("planted", planted), ("found", found), ("nothing", nothing)):
        radii = np.square(made(network, [molecule_of("AAABBAAA")], core)[0].positions).sum((-1, -2)) / N
        sizes[name] = float(radii.mean())
    effect = sizes["nothing"] - sizes["planted"]
    assert effect > 0.5
    assert abs(sizes["found"] - sizes["planted"]) < 0.3 * effect


def test_score_matching_of_a_harmonic_energy_is_its_variance():
    """Springs twice as stiff as the linear core says: found as k = 1."""
    core, molecule = core_of(), molecule_of("AAAAAAAA")
    network = EnergyNetwork(2, EnergySize(), core).requires_grad_(False)
    network.springs[0, 1] = 1.0
    sets = [Examples.of(made(network, [molecule, molecule], core), ("A", "B"), 4.0, 0, 1)]
    whole = equations(sets, core, 2)
    n = EnergyNetwork(2, EnergySize(), core).pairs.numel()
    springs = [own.product[n + 1] / own.square[n + 1, n + 1] for own in whole]  # of all modes alike, type A
    assert float(np.mean(springs)) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("substeps", [1, 4])
@pytest.mark.parametrize("kind", ["fitted", "equal noise"])
def test_stationary_size_and_relaxation_of_a_rouse_chain(kind, substeps):
    """Reached within three standard errors whatever the substeps; noise of one size for all groups must fail."""
    decay, _, radius, error, n = exact_rouse()
    size = EnergySize(substeps=substeps, by_mode=kind == "fitted")
    model = train_coarse(long_runs(), CgGnnOptions(beads_per_group=1, step=DT, energy=size))
    sets = Examples.of(long_runs(), ("1",), DT, 0, 1)
    n_walks = 400
    chosen = sets.draw(n_walks, torch.Generator().manual_seed(3))
    dynamics = model.members[0]
    walk = Walk(dynamics, sets.molecules, sets.runs[chosen] * 0, sets.history(chosen, 1), 3)
    walk.advance(60, keep_places=False)
    steps = walk.advance(90)
    radii = steps.square_radii
    own = float(radii.mean(0).std()) / n_walks**0.5
    distance = abs(float(radii.mean()) - radius) / np.hypot(own, error)
    slow = (sets.molecules.modes[0] @ steps.places)[:, :, 0].numpy()
    lag = 8
    kept = float((slow[lag:] * slow[:-lag]).sum() / (slow**2).sum() * len(slow) / (len(slow) - lag))
    spread = lag * decay[0] ** lag * np.sqrt((1 - decay[0] ** 2) * (1 / slow.size + 1 / (3 * n))) * 2
    if kind == "equal noise":
        assert distance > 6
        return
    assert distance < 3
    assert abs(kept - decay[0] ** lag) < 3 * spread + 0.01


def test_an_energy_that_is_blind_to_types_moves_all_sequences_alike():
    options = options_of("default", energy=EnergySize(by_types=False), members=1)
    network = train(runs(), options).networks[0]
    assert isinstance(network, EnergyNetwork)
    heights = [landscape_of(molecule_of(own), network.double()).heights for own in ("ABABABAB", "AAAABBBB")]
    assert torch.equal(*heights)
    assert not network.springs.any()


def test_members_leave_out_their_share_of_the_runs():
    several = train(runs(), options_of("default", members=2)).networks
    assert not torch.equal(several[0].state_dict()["pairs"], several[1].state_dict()["pairs"])


def test_updates_mean_nothing_to_a_closed_form():
    options = LearnOptions(out=Path("model"), surrogate="cg-gnn", preset="default", updates=5)
    learn = find_surrogate("cg-gnn").learn_runs
    assert learn is not None
    with pytest.raises(UserError, match="`updates`: preset default is fitted in closed form"):
        learn([], options, print)
