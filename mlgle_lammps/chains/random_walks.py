"""Random walks with the local statistics of a polymer chain, and their exact internal distances.

Bond lengths r, bond angles θ and torsions φ are independent of one another:

| quantity | distribution |
|---|---|
| r | fixed, or ∝ r² exp[-K_b (r - r0)²/kT], or Gaussian bond vectors with <r²> = r0² |
| θ | ∝ sin θ exp[-K_a (θ - θ0)²/kT], no closer than a given 1-3 distance |
| φ | ∝ exp(κ cos φ); φ = 0 is trans, κ < 0 curls the chain as attractions between beads 1 and 4 do |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CLOSURES = 200
"""Rounds in which bonds of a ring are given their lengths and made to close."""


@dataclass(frozen=True)
class ChainModel:
    """Local statistics of a chain; lengths in the deck's unit, stiffnesses divided by kT.

    Attributes:
        bond: r0; the root mean square length where the distribution is Gaussian.
        bond_distribution: "harmonic", "fixed" or "gaussian".
        bond_stiffness: K_b/kT of E = K_b (r - r0)², in 1/length².
        angle_stiffness: K_a/kT of E = K_a (θ - θ0)², in 1/rad²; 0 for none.
        angle: θ0 in radians.
        torsion: κ.
        closest: least distance between a bead and its next-nearest bonded neighbour.
    """

    bond: float
    bond_distribution: str = "fixed"
    bond_stiffness: float = 0.0
    angle_stiffness: float = 0.0
    angle: float = np.pi
    torsion: float = 0.0
    closest: float = 0.0

    def bond_lengths(self) -> tuple[Array, Array]:
        """Return a grid of bond lengths and their probabilities (harmonic and fixed bonds)."""
        if self.bond_distribution != "harmonic":
            return np.array([self.bond]), np.ones(1)
        width = 8.0 / np.sqrt(2.0 * self.bond_stiffness)
        length = np.linspace(max(1e-3 * self.bond, self.bond - width), self.bond + width, 4001)
        weight = length**2 * np.exp(-self.bond_stiffness * (length - self.bond) ** 2)
        return length, weight / weight.sum()

    def angles(self) -> tuple[Array, Array]:
        """Return a grid of bond angles in radians and their probabilities."""
        least = 2.0 * np.arcsin(min(1.0, 0.5 * self.closest / self.bond))
        theta = np.linspace(least, np.pi, 4001)
        weight = np.sin(theta) * np.exp(-self.angle_stiffness * (theta - self.angle) ** 2)
        return theta, weight / weight.sum()


def _draw(grid: Array, probability: Array, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw from a tabulated distribution, linear between the grid's points."""
    if len(grid) == 1:
        return np.full(shape, grid[0])
    cumulated = np.concatenate(([0.0], np.cumsum(0.5 * (probability[1:] + probability[:-1]))))
    return np.interp(rng.random(shape) * cumulated[-1], cumulated, grid)


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def grow_chains(model: ChainModel, n_chains: int, n_beads: int, rng: np.random.Generator) -> Array:
    """Return ``n_chains`` random walks, each with its first bead at the origin.

    Args:
        model: local statistics.
        n_chains: number of chains.
        n_beads: beads of a chain, 2 or more.
        rng: random numbers.

    Returns:
        Positions, shape (chains, beads, 3), in the length unit of ``model``.
    """
    n_bonds = n_beads - 1
    isotropic = rng.normal(size=(n_chains, n_bonds, 3))
    if model.bond_distribution == "gaussian":
        bonds = isotropic * (model.bond / np.sqrt(3.0))
    else:
        lengths = _draw(*model.bond_lengths(), (n_chains, n_bonds), rng)
        turns = np.pi - _draw(*model.angles(), (n_chains, n_bonds), rng)
        torsions = rng.vonmises(0.0 if model.torsion >= 0 else np.pi, abs(model.torsion), (n_chains, n_bonds))
        along, side = _unit(isotropic[:, 0]), _unit(np.cross(isotropic[:, 0], rng.normal(size=(n_chains, 3))))
        bonds = np.empty((n_chains, n_bonds, 3))
        bonds[:, 0] = along * lengths[:, :1]
        for i in range(1, n_bonds):
            cos_turn, sin_turn = np.cos(turns[:, i, None]), np.sin(turns[:, i, None])
            cos_torsion, sin_torsion = np.cos(torsions[:, i, None]), np.sin(torsions[:, i, None])
            outward = cos_torsion * side + sin_torsion * np.cross(along, side)
            along, side = _unit(cos_turn * along + sin_turn * outward), sin_turn * along - cos_turn * outward
            side = _unit(side - along * np.sum(along * side, axis=-1, keepdims=True))
            bonds[:, i] = along * lengths[:, i, None]
    return np.concatenate((np.zeros((n_chains, 1, 3)), np.cumsum(bonds, axis=1)), axis=1)


def grow_stars(model: ChainModel, n_stars: int, n_arms: int, arm_beads: int, rng: np.random.Generator) -> Array:
    """Return stars whose arms are such walks, (star, 1 + arms · beads, 3): the core at the origin, then arm by arm.

    Arms know nothing of one another, so that next-nearest neighbours across the core may come closer than
    ``model.closest``. With Gaussian bonds they are ideal stars in equilibrium.
    """
    arms = grow_chains(model, n_stars * n_arms, arm_beads + 1, rng)[:, 1:]
    stars = np.zeros((n_stars, 1 + n_arms * arm_beads, 3))
    stars[:, 1:] = arms.reshape(n_stars, n_arms * arm_beads, 3)
    return stars


def grow_rings(model: ChainModel, n_rings: int, n_beads: int, rng: np.random.Generator) -> Array:
    """Return rings, (ring, bead, 3), their first beads at the origin.

    A walk's bonds lose their mean, so that it closes. With Gaussian bonds that is an ideal ring in equilibrium, its
    mean squared bond (1 - 1/N) r0². Other bonds get their lengths back, and lose their mean again, until both hold;
    angles are then those of the walk but for small turns.
    """
    steps = np.diff(grow_chains(model, n_rings, n_beads + 1, rng), axis=1)
    lengths = np.linalg.norm(steps, axis=-1, keepdims=True)
    steps -= steps.mean(axis=1, keepdims=True)
    if model.bond_distribution != "gaussian":
        for _ in range(CLOSURES):
            steps = _unit(steps) * lengths
            steps -= steps.mean(axis=1, keepdims=True)
    return np.concatenate((np.zeros((n_rings, 1, 3)), np.cumsum(steps[:, :-1], axis=1)), axis=1)


def internal_distances(model: ChainModel, n_bonds: int) -> Array:
    """Return the exact <R²(s)> of the walk for s = 1 .. ``n_bonds``, shape (n_bonds,), in length².

    The mean rotation M from one bond's frame to the next gives <b_0·b_s> = <r>² (M^s)_11, since angles and torsions are
    independent (Flory's matrix method). In the limit of no angle potential, <R²(s)> = s <r²>.
    """
    separations = np.arange(1, n_bonds + 1)
    if model.bond_distribution == "gaussian":
        return separations.astype(np.float64) * model.bond**2
    length, p_length = model.bond_lengths()
    theta, p_theta = model.angles()
    cos_turn, sin_turn = -(np.cos(theta) @ p_theta), np.sin(theta) @ p_theta
    phi = np.linspace(-np.pi, np.pi, 4000, endpoint=False)
    weight = np.exp(model.torsion * np.cos(phi))
    cos_torsion = np.cos(phi) @ weight / weight.sum()
    rotation = np.array([
        [cos_turn, sin_turn, 0.0],
        [sin_turn * cos_torsion, -cos_turn * cos_torsion, 0.0],
        [0.0, 0.0, -cos_torsion],
    ])  # fmt: skip
    correlation = np.array([np.linalg.matrix_power(rotation, int(s))[0, 0] for s in separations])
    pairs = np.array([np.sum((s - np.arange(1, s)) * correlation[: s - 1]) for s in separations])
    squared: Array = separations * (length**2 @ p_length) + 2.0 * (length @ p_length) ** 2 * pairs
    return squared
