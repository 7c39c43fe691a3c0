"""An analytic Rouse melt as a frame source: every number it should give is known.

Modes z_p = (1/N) Σ_n x_n cos[πp(n+1/2)/N] of ideal chains are independent Ornstein-Uhlenbeck processes, and the centre
of mass is a Brownian motion. Both are drawn exactly at any dt, from a stationary start.

| symbol | variable | meaning |
|---|---|---|
| N | n_beads | beads per chain |
| b² | bond**2 | mean squared bond vector (3D) |
| ζ | friction | per bead |
| kT | kT | thermal energy |
| α² | 2 D | noise of the centre of mass, D = kT/(Nζ) |
| β | coupling | weight of the modes in the centre of mass, 0 for Rouse chains |
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from mlgle_lammps.records import Ending, Float64, Frames, System

_BLOCK = 256


def rouse_mode_variance(mode: ArrayLike, n_beads: int, bond: float = 1.0) -> Float64:
    """Return the stationary variance of one component of mode p, b²/[24 N sin²(pπ/2N)].

    Args:
        mode: p, 1..N-1, any shape.
        n_beads: N.
        bond: b, root mean squared bond vector.

    For p much smaller than N it tends to N b²/(6 π² p²).
    """
    return bond**2 / (24 * n_beads * np.sin(np.asarray(mode) * np.pi / (2 * n_beads)) ** 2)


def rouse_relaxation_time(
    mode: ArrayLike, n_beads: int, bond: float = 1.0, friction: float = 1.0, kT: float = 1.0
) -> Float64:
    """Return the relaxation time of mode p, τ_p = ζb²/[12 kT sin²(pπ/2N)].

    Args:
        mode: p, 1..N-1, any shape.
        n_beads: N.
        bond: b, root mean squared bond vector.
        friction: ζ of one bead.
        kT: thermal energy.

    For p much smaller than N it tends to ζ N² b²/(3 π² kT p²).
    """
    return friction * bond**2 / (12 * kT * np.sin(np.asarray(mode) * np.pi / (2 * n_beads)) ** 2)


def rouse_diffusion(n_beads: int, friction: float = 1.0, kT: float = 1.0) -> float:
    """Return D = kT/(Nζ) of a chain's centre of mass, per dimension; that of one bead for N = 1."""
    return kT / (n_beads * friction)


class RouseSource:
    """Yield frames of independent Rouse chains (a FrameSource).

    X(t) = X(0) + α B(t) + β Σ_p [z_p(t) - z_p(0)] (JCP eq. 13), with β = 0 unless ``coupling`` says otherwise;
    D = α²/2 in both cases. Iterating again gives the same frames.
    """

    def __init__(
        self,
        n_chains: int,
        n_beads: int,
        n_modes: int,
        n_frames: int,
        dt: float,
        seed: int,
        *,
        bond: float = 1.0,
        friction: float = 1.0,
        kT: float = 1.0,
        coupling: float = 0.0,
        every: int = 1,
    ) -> None:
        """Describe the melt.

        Args:
            n_chains: independent chains.
            n_beads: N, above n_modes.
            n_modes: k.
            n_frames: frames in all.
            dt: time between two frames.
            seed: of the two generators, modes and centre of mass.
            bond: b, root mean squared bond vector.
            friction: ζ of one bead.
            kT: thermal energy.
            coupling: β.
            every: MD steps that a frame stands for.

        Raises:
            ValueError: modes that N beads do not have.
        """
        if not 1 <= n_modes < n_beads:
            raise ValueError(f"{n_beads} beads have modes 1..{n_beads - 1}, not {n_modes}")
        modes = np.arange(1, n_modes + 1)
        self._variance = rouse_mode_variance(modes, n_beads, bond)
        self._decay = np.exp(-dt / rouse_relaxation_time(modes, n_beads, bond, friction, kT))
        self._alpha = np.sqrt(2 * rouse_diffusion(n_beads, friction, kT))
        self._beta, self._seed, self._n_frames = coupling, seed, n_frames
        self._system = System(
            n_chains=n_chains, n_beads=n_beads, n_modes=n_modes, dt=dt, every=every, units="lj", time_unit="tau",
            length_unit="sigma", source=f"Rouse melt of {n_chains} × {n_beads} beads, seed {seed}",
        )  # fmt: skip

    @property
    def system(self) -> System:
        """What the frames are about."""
        return self._system

    def hand_off(self) -> None:
        """Frames go on as before."""

    def broken(self) -> bool:
        """Return False: nothing can break."""
        return False

    def ending(self) -> Ending:
        """Tell that the stream is complete."""
        return Ending(step=(self._n_frames - 1) * self._system.every)

    def __iter__(self) -> Iterator[Frames]:
        """Yield the frames; the modes are rounded to float32 before they enter the centre of mass."""
        n_chains, n_modes = self._system.n_chains, self._system.n_modes
        mode_noise, com_noise = (np.random.default_rng(s) for s in np.random.SeedSequence(self._seed).spawn(2))
        decay = self._decay[:, np.newaxis]
        kick = np.sqrt(self._variance * (1 - self._decay**2))[:, np.newaxis]
        state = np.sqrt(self._variance)[:, np.newaxis] * mode_noise.standard_normal((n_chains, n_modes, 3))
        start = state.astype(np.float32).sum(axis=1, dtype=np.float64)
        brownian = np.zeros((n_chains, 3))
        for frame in range(self._n_frames):
            place = frame % _BLOCK
            if place == 0:
                kicks = kick * mode_noise.standard_normal((_BLOCK, n_chains, n_modes, 3))
                steps = np.sqrt(self._system.dt) * com_noise.standard_normal((_BLOCK, n_chains, 3))
            modes = state.astype(np.float32)
            com = self._alpha * brownian + self._beta * (modes.sum(axis=1, dtype=np.float64) - start)
            yield Frames.single(frame * self._system.every, 0, com, modes)
            state = decay * state + kicks[place]
            brownian = brownian + steps[place]
