"""The Rouse chain's formulas, prefactors and all, against a direct Brownian simulation of beads and springs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mlgle_lammps.chains.random_walks import ChainModel, grow_chains

N_CHAINS, N_BEADS = 3000, 8
KT, FRICTION, BOND = 1.3, 0.7, 1.2  # none of them 1, so that a misplaced one shows
MODES = np.array([1, 2, 3, 7])
TIME_STEP = 1e-3
N_STEPS = 1600


def mode_variance(p: np.ndarray) -> np.ndarray:
    """Per component; z_p = (1/N) sum_n x_n cos[pi p (n + 1/2) / N]."""
    return BOND**2 / (24 * N_BEADS * np.sin(p * np.pi / (2 * N_BEADS)) ** 2)


def relaxation_time(p: np.ndarray, friction: float = FRICTION) -> np.ndarray:
    return friction * BOND**2 / (12 * KT * np.sin(p * np.pi / (2 * N_BEADS)) ** 2)


def centre_of_mass_diffusion(friction: float = FRICTION) -> float:
    return KT / (N_BEADS * friction)


def modes(positions: np.ndarray) -> np.ndarray:
    """(chains, beads, 3) -> (chains, modes, 3)."""
    bead = np.arange(N_BEADS)
    cosine = np.cos(np.pi * MODES[:, None] * (bead + 0.5) / N_BEADS) / N_BEADS
    return np.einsum("pn,cnx->cpx", cosine, positions)


@dataclass(frozen=True)
class Estimate:
    """Mean over independent chains and its standard error."""

    mean: np.ndarray
    se: np.ndarray

    def distance(self, expected: np.ndarray | float) -> np.ndarray:
        return np.abs(self.mean - expected) / self.se


def over_chains(values: np.ndarray) -> Estimate:
    return Estimate(values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values)))


def brownian(positions: np.ndarray, spring: float, n_steps: int, rng: np.random.Generator) -> np.ndarray:
    """Euler steps of zeta dx/dt = spring * (sum over bonded neighbours of x_neighbour - x) + noise."""
    x = positions.copy()
    width = np.sqrt(2 * KT * TIME_STEP / FRICTION)
    for _ in range(n_steps):
        tension = spring * np.diff(x, axis=1)
        step = rng.standard_normal(x.shape)
        step *= width
        step[:, :-1] += tension * (TIME_STEP / FRICTION)
        step[:, 1:] -= tension * (TIME_STEP / FRICTION)
        x += step
    return x


@pytest.fixture(scope="module")
def start_and_end() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(20)
    start = grow_chains(ChainModel(bond=BOND, bond_distribution="gaussian"), N_CHAINS, N_BEADS, rng)
    return start, brownian(start, 3 * KT / BOND**2, N_STEPS, rng)


def discrete_variance(p: np.ndarray) -> np.ndarray:
    """The Euler scheme's own stationary variance, exact."""
    return mode_variance(p) / (1 - 0.5 * TIME_STEP / relaxation_time(p))


def test_variance_of_the_modes_is_stationary_at_the_formula(start_and_end):
    start, end = (over_chains(np.mean(modes(x) ** 2, axis=-1)) for x in start_and_end)
    assert np.all(start.distance(mode_variance(MODES)) < 4)
    assert np.all(end.distance(discrete_variance(MODES)) < 4)
    assert np.all(end.distance(1.1 * mode_variance(MODES)) > 4)


def test_a_wrong_spring_shows_in_the_variances(start_and_end):
    rng = np.random.default_rng(21)
    end = brownian(start_and_end[0][:1500], 1.2 * 3 * KT / BOND**2, N_STEPS, rng)
    assert np.all(over_chains(np.mean(modes(end) ** 2, axis=-1)).distance(discrete_variance(MODES)) > 4)


def _memory(start_and_end: tuple[np.ndarray, np.ndarray]) -> Estimate:
    """<z(0) z(t)> / variance after the whole run."""
    start, end = (modes(x) for x in start_and_end)
    return over_chains(np.mean(start * end, axis=-1) / mode_variance(MODES))


def test_relaxation_times_of_the_modes(start_and_end):
    time = N_STEPS * TIME_STEP
    memory = _memory(start_and_end)
    rate = -np.log(1 - TIME_STEP / relaxation_time(MODES)) / TIME_STEP
    assert np.all(memory.distance(np.exp(-time * rate)) < 4)
    assert 0.5 < time / relaxation_time(MODES)[0] < 1.5
    wrong = np.exp(-time / relaxation_time(MODES, friction=1.2 * FRICTION))
    assert memory.distance(wrong)[0] > 4


def test_diffusion_of_the_centre_of_mass(start_and_end):
    start, end = (x.mean(axis=1) for x in start_and_end)
    diffusion = over_chains(np.mean((end - start) ** 2, axis=-1) / (2 * N_STEPS * TIME_STEP))
    assert diffusion.distance(centre_of_mass_diffusion()) < 4
    assert diffusion.distance(centre_of_mass_diffusion(1.1 * FRICTION)) > 4
    assert diffusion.distance(centre_of_mass_diffusion(0.9 * FRICTION)) > 4


def test_modes_give_back_the_centre_of_mass_and_the_beads(start_and_end):
    beads = start_and_end[0][:5]
    every = np.arange(N_BEADS)
    cosine = np.cos(np.pi * every[:, None] * (every + 0.5) / N_BEADS)
    z = np.einsum("pn,cnx->cpx", cosine / N_BEADS, beads)
    np.testing.assert_allclose(z[:, 0], beads.mean(axis=1), atol=1e-12)
    back = z[:, :1] + 2 * np.einsum("pn,cpx->cnx", cosine[1:], z[:, 1:])
    np.testing.assert_allclose(back, beads, atol=1e-12)
