"""NM-MB against exact answers: a harmonic toy, fluctuation and dissipation, momentum, symmetry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm, solve_continuous_lyapunov

from mlgle_lammps.statistics.volterra import running_friction, velocity_correlation
from mlgle_lammps.surrogates.nm_mb.couplings import EnvironmentCoupling, ModulatedCoupling, RadialCoupling
from mlgle_lammps.surrogates.nm_mb.features import ByPairs, OfMolecules, Relaxing
from mlgle_lammps.surrogates.nm_mb.finite_runs import seen
from mlgle_lammps.surrogates.nm_mb.integrator import CentreMotion, MotionSettings
from mlgle_lammps.surrogates.nm_mb.memory import Memory, MemoryGroup
from mlgle_lammps.surrogates.nm_mb.neighbours import pairs_within
from mlgle_lammps.surrogates.nm_mb.potential import ManyBodyPotential, PairPotential
from mlgle_lammps.surrogates.nm_mb.relaxations import Relaxations, beside, choose, dictionary, exponential, oscillator

BOX = torch.tensor([9.0, 9.0, 9.0], dtype=torch.float64)
KT, MASS = 1.7, 3.0


def springs(rng, n_centres=3, n_inner=9):
    """Return stiffness of centres and inner beads, all coupled, without a preferred place, and their masses."""
    n = n_centres + n_inner
    ties = np.triu(rng.uniform(0.3, 2.0, (n, n)), 1)
    ties += ties.T
    stiffness = np.diag(ties.sum(1)) - ties
    return stiffness, np.concatenate([np.full(n_centres, 4.0), rng.uniform(0.5, 1.5, n_inner)])


def toy(seed=0, n_centres=3):
    """Return times, the exact VACF of centres, and what eq. 1 takes: mean stiffness and constrained <δF δFᵀ>."""
    rng = np.random.default_rng(seed)
    stiffness, masses = springs(rng, n_centres)
    times = np.arange(0, 6.0, 0.0125)
    root = 1 / np.sqrt(masses)
    squares, vectors = np.linalg.eigh(root[:, None] * stiffness * root)
    cosines = np.cos(np.sqrt(np.maximum(squares, 0.0)) * times[::2, None])
    exact = KT * np.einsum("ik,tk,jk->tij", vectors, cosines, vectors) * root[:, None] * root
    inner = slice(n_centres, None)
    across, own = stiffness[:n_centres, inner], stiffness[inner, inner]
    mean = stiffness[:n_centres, :n_centres] - across @ np.linalg.solve(own, across.T)
    own_root = root[inner]
    squares, vectors = np.linalg.eigh(own_root[:, None] * own * own_root)
    felt = across * own_root @ vectors
    forces = KT * np.einsum("ik,tk,jk->tij", felt / squares, np.cos(np.sqrt(squares) * times[:, None]), felt)
    return times, exact[:, :n_centres, :n_centres], mean, forces, masses[:n_centres]


def vacf_error(sign, beta):
    times, exact, mean, forces, masses = toy()
    kernel = mean + sign * beta * forces
    found = velocity_correlation(kernel, masses, np.diag(KT / masses), times[2])
    return np.abs(found - exact).max() / exact[0].max()


def test_the_constrained_kernel_gives_the_toys_vacf():
    assert vacf_error(+1, 1 / KT) < 1e-5


@pytest.mark.parametrize(("sign", "beta"), [(+1, 1.0), (-1, 1 / KT)], ids=["without beta", "other sign"])
def test_misprints_do_not(sign, beta):
    assert 0.1 < vacf_error(sign, beta) < np.inf


def test_running_friction_inverts_it():
    dt, gamma, tau = 0.01, 5.0, 0.3
    times = np.arange(0, 8, dt / 2)
    kernel = (gamma / tau * np.exp(-times / tau)).reshape(-1, 1, 1)[:-1]
    vacf = velocity_correlation(kernel, np.array([MASS]), np.array([[1.0]]), dt)[:, 0, 0]
    middles = dt * (np.arange(len(vacf) - 1) + 0.5)
    found = running_friction(vacf, MASS, dt)
    assert np.abs(found - gamma * (1 - np.exp(-middles / tau))).max() < 2e-3 * gamma


FEATURES = beside([exponential(0.7), oscillator(3.0, 1.1), oscillator(1.0, 4.0)])


@pytest.mark.parametrize("dt", [1e-4, 0.02, 3.0])
def test_noise_is_exact_whatever_the_step(dt):
    """E Eᵀ + noise = 1: features of variance kT keep it."""
    step, root = FEATURES.propagator(dt)
    assert np.abs(step @ step.T + root @ root.T - np.eye(FEATURES.size)).max() < 1e-12
    wrong = step @ step.T + 1.1 * root @ root.T - np.eye(FEATURES.size)
    assert np.abs(wrong).max() > 0.05 * min(1.0, dt)
    stationary = solve_continuous_lyapunov(FEATURES.matrix, FEATURES.matrix + FEATURES.matrix.T)
    assert np.abs(stationary - np.eye(FEATURES.size)).max() < 1e-12


def test_memories_are_chosen_that_make_up_a_kernel():
    times = np.concatenate([np.arange(0, 0.3, 0.01), np.geomspace(0.3, 20, 40)])
    kernel = 100 * oscillator(9.0, 8.0).decay(times)[:, 0, 0] + 3 * exponential(0.2).decay(times)[:, 0, 0]
    candidates = [*dictionary(0.1), *(exponential(1 / time) for time in (1.0, 5.0, 20.0))]
    columns = np.stack([part.decay(times)[:, 0, 0] for part in candidates], axis=1)
    which, strengths = choose(columns, kernel, np.ones(len(times)), 6)
    assert len(which) <= 6
    assert strengths.min() > 0
    found = columns[:, which] @ strengths
    assert np.abs(found - kernel).max() < 2.0


def test_what_finite_runs_show_is_what_estimates_average_to():
    """Runs of an Ornstein-Uhlenbeck force, of whose kernel the tail is lost with their mean."""
    tau, duration, dt = 4.0, 40.0, 0.1
    rng, n = np.random.default_rng(5), round(duration / dt)
    forces = np.empty((n, 4000))
    forces[0] = rng.standard_normal(4000)
    keep = np.exp(-dt / tau)
    for t in range(1, n):
        forces[t] = keep * forces[t - 1] + np.sqrt(1 - keep**2) * rng.standard_normal(4000)
    forces -= forces.mean(0)
    lags = np.array([0, 10, 50, 150])
    halves = [forces[: n // 2], forces[n // 2 :]]
    estimates = np.array([np.mean([(h[k:] * h[: len(h) - k]).mean(0) for h in halves], axis=0) for k in lags])
    se = estimates.std(1, ddof=1) / 4000**0.5
    grid = np.arange(0, duration + dt, dt)
    exact = seen(lags * dt, np.exp(-grid / tau), grid, duration)[:, 0]
    assert np.abs((estimates.mean(1) - exact) / se).max() < 4
    assert np.abs((estimates.mean(1) - np.exp(-lags * dt / tau)) / se).min() > 10


def radial(n, seed=0):
    made = RadialCoupling(n, 4.4, 8)
    made.radial.data += torch.randn(made.radial.shape, generator=torch.Generator().manual_seed(seed)).double()
    return made


def environment(n, seed=0):
    return EnvironmentCoupling(n, 4.4, 3, 8, generator=torch.Generator().manual_seed(seed))


def modulated(n, seed=0):
    made = ModulatedCoupling(n, 4.4, 8, 3.0, 2.0)
    made.radial.data += torch.randn(made.radial.shape, generator=torch.Generator().manual_seed(seed)).double()
    made.crowded.data += 0.1
    return made


COUPLINGS = {"radial": radial, "environment": environment, "modulated": modulated}
MIXED = Relaxations(np.array([[1.0, 0.4, 0.0], [-0.4, 0.5, 0.2], [0.0, -0.2, 2.0]]), (0, 1, 2))


def memory_of(kind, owner="molecule"):
    return Memory((MemoryGroup(owner, COUPLINGS[kind](3), MIXED),))


def centres_of(n=14, n_boxes=1, seed=1):
    return torch.rand(n_boxes, n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * BOX


VARIANTS = [(kind, owner) for kind in COUPLINGS for owner in ("molecule", "pair")]


@pytest.mark.parametrize(("kind", "owner"), VARIANTS)
def test_kernels_conserve_momentum_and_are_positive(kind, owner):
    pairs = pairs_within(centres_of(), BOX, 4.5)
    with torch.no_grad():
        kernel = memory_of(kind, owner).kernel(pairs, np.array([0.0, 0.3, 2.0]))
    size = kernel.abs().max()
    assert kernel.reshape(3, 14, 3, 14, 3).sum(3).abs().max() < 1e-12 * size
    assert kernel.reshape(3, 14, 3, 14, 3).sum(1).abs().max() < 1e-12 * size
    assert torch.linalg.eigvalsh(kernel[0]).min() > -1e-12 * size
    assert kernel[2].abs().max() > 1e-3 * size


@pytest.mark.parametrize(("kind", "owner"), VARIANTS)
def test_kernels_turn_shift_and_renumber_with_the_molecules(kind, owner):
    memory, centres, times = memory_of(kind, owner), centres_of() * 0.4, np.array([0.0, 0.5])  # none across a face
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64))[0]
    order = torch.randperm(14, generator=torch.Generator().manual_seed(4))

    def kernel(at):
        with torch.no_grad():
            return memory.kernel(pairs_within(at, 10 * BOX, 4.4), times).reshape(2, 14, 3, 14, 3)

    plain, size = kernel(centres), kernel(centres).abs().max()
    assert (kernel(centres + 7.3) - plain).abs().max() < 1e-10 * size
    turned = torch.einsum("ab,tibjc,dc->tiajd", turn, plain, turn)
    assert (kernel(centres @ turn.T) - turned).abs().max() < 1e-10 * size
    assert (kernel(centres[:, order]) - plain[:, order][:, :, :, order]).abs().max() < 1e-10 * size
    assert (kernel(centres @ turn.T) - plain).abs().max() > 0.1 * size


def potential_of(many=False):
    if many:
        return ManyBodyPotential(4.4, 20, 3, 6, generator=torch.Generator().manual_seed(5))
    made = PairPotential(4.4, 20)
    made.values.data += 3.0 * torch.linspace(1, 0, 20, dtype=torch.float64) ** 2
    return made


@pytest.mark.parametrize("many", [False, True])
def test_forces_are_slopes_of_the_energy_and_add_up_to_zero(many):
    made, centres = potential_of(many), centres_of(n_boxes=2)
    at = centres.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(made.energy(pairs_within(at, BOX, 4.4)), at)
    forces = made.forces(centres, BOX).detach()
    assert (forces + slope).abs().max() < 1e-10 * forces.abs().max()
    assert forces.sum(1).abs().max() < 1e-11 * forces.abs().max()
    turned = made.forces(centres.flip(-1), BOX).detach().flip(-1)  # a mirror
    assert (turned - forces).abs().max() < 1e-9 * forces.abs().max()


def test_a_cell_list_finds_the_same_pairs(monkeypatch):
    pytest.importorskip("vesin")
    from mlgle_lammps.surrogates.nm_mb import neighbours

    centres = centres_of(40, 2)
    plain = pairs_within(centres, BOX, 3.0)
    monkeypatch.setattr(neighbours, "ALL_PAIRS_UP_TO", 10)
    cells = pairs_within(centres, BOX, 3.0)
    order = torch.argsort(cells.names)
    assert torch.equal(cells.names[order], plain.names)
    assert (cells.distance[order] - plain.distance).abs().max() < 1e-12
    assert (cells.unit[order] - plain.unit).abs().max() < 1e-12


def motion_of(memory, n=14, n_boxes=1, dt=0.02, seed=7, many=False):
    generator = torch.Generator().manual_seed(seed)
    momenta = (KT * MASS) ** 0.5 * torch.randn(n_boxes, n, 3, generator=generator, dtype=torch.float64)
    momenta -= momenta.mean(1, keepdim=True)
    masses = torch.full((n,), MASS, dtype=torch.float64)
    how = MotionSettings(dt, KT, 4)
    made = potential_of(many)
    return CentreMotion(memory, made.forces, centres_of(n, n_boxes), momenta, masses, BOX, how, generator)


@pytest.mark.parametrize("kind", COUPLINGS)
def test_momentum_stays(kind):
    groups = (MemoryGroup("molecule", COUPLINGS[kind](3), MIXED), MemoryGroup("pair", radial(3), MIXED))
    motion = motion_of(Memory(groups), n_boxes=2, many=kind == "radial")
    motion.advance(40)
    assert motion.momenta.sum(1).abs().max() < 1e-12 * motion.momenta.abs().sum()
    assert motion.momenta.abs().min() > 0


@pytest.mark.parametrize("n_boxes", [1, 2])
def test_whole_matrices_and_pairs_act_alike(n_boxes):
    """Forces and drives of the motion are the Ξ of the kernel, whichever way they are computed."""
    for owner in ("molecule", "pair"):
        group, centres = MemoryGroup(owner, radial(3), MIXED), centres_of(n_boxes=n_boxes)
        generator = torch.Generator().manual_seed(1)
        pairs = pairs_within(centres, BOX, 4.4)
        with torch.no_grad():
            roots = group.roots(pairs)  # (n, 3N, 3 owners)
        velocity = torch.randn(centres.shape, generator=generator, dtype=torch.float64)
        for kind in (OfMolecules, ByPairs) if owner == "molecule" else (ByPairs,):
            found = kind(group, centres.shape, Relaxing(group, 0.1, KT, centres, generator))
            found.renew(pairs)
            if kind is OfMolecules:
                zeta = found.values[:3].reshape(3, -1)
                drive = found.drive(velocity).reshape(3, -1)
            else:
                zeta = found.values[:3].transpose(1, 2).reshape(3, -1)
                drive = found.drive(velocity).transpose(1, 2).reshape(3, -1)
            dense = torch.einsum("aij,aj->i", roots, zeta).reshape(centres.shape)
            assert (dense - found.forces()).abs().max() < 1e-11 * dense.abs().max()
            wanted = torch.einsum("aij,i->aj", roots, velocity.reshape(-1))
            assert (drive - wanted).abs().max() < 1e-11 * wanted.abs().max()


def vacf_of_a_background(strength, boxes=400, steps=60, dt=0.05):
    """Return <V(t) V(0)> M/kT of free molecules in a background, its exact form, and standard errors."""
    features = oscillator(2.0, 1.5)
    memory = Memory((MemoryGroup("background", None, features, torch.tensor([strength**0.5], dtype=torch.float64)),))
    generator = torch.Generator().manual_seed(11)
    momenta = (KT * MASS) ** 0.5 * torch.randn(boxes, 5, 3, generator=generator, dtype=torch.float64)
    masses = torch.full((5,), MASS, dtype=torch.float64)
    free = lambda centres, _: torch.zeros_like(centres)  # noqa: E731
    motion = CentreMotion(
        memory, free, torch.zeros_like(momenta), momenta, masses, BOX, MotionSettings(dt, KT, 1), generator
    )
    found = []
    for _ in range(steps):
        found.append((motion.momenta * momenta).mean((1, 2)) / (KT * MASS))
        motion.advance(1)
    series = torch.stack(found).numpy()
    drift = np.zeros((3, 3))
    drift[0, 1], drift[1, 0] = 2.0**0.5 / MASS**0.5, -(2.0**0.5) / MASS**0.5
    drift[1:, 1:] -= features.matrix
    exact = np.array([expm(drift * dt * t)[0, 0] for t in range(steps)])
    return series.mean(1), exact, series.std(1, ddof=1) / boxes**0.5


def test_the_motions_vacf_is_that_of_the_equations():
    found, exact, se = vacf_of_a_background(2.0)
    distance = np.abs(found - exact)[1:] / se[1:]
    assert np.sqrt(np.mean(distance**2)) < 2.0
    assert distance.max() < 4.5
    found, exact, se = vacf_of_a_background(3.0)
    assert (np.abs(found - exact)[1:] / se[1:]).max() > 6.0


@pytest.mark.parametrize("owner", ["molecule", "pair"])
def test_temperature_is_kept(owner):
    motion = motion_of(Memory((MemoryGroup(owner, radial(3), MIXED),)), n=8, n_boxes=60, dt=0.01)
    found = []
    for _ in range(60):
        motion.advance(5)
        found.append(motion.kinetic_kT().numpy() / KT)
    means = np.mean(found[10:], axis=0)
    se = means.std(ddof=1) / len(means) ** 0.5
    assert se < 0.025
    assert abs(means.mean() - 1) < 4 * se
