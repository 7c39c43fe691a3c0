"""Memory kernels and velocity correlations: M Ċ(t) = -∫₀ᵗ K(t-s) C(s) ds, solved either way.

With C(t) = <V(t) V(0)ᵀ>, U harmonic of stiffness S, and constrained forces, K(t) = S + β<δF(t) δF(0)ᵀ> exactly. For one
component of one molecule in a fluid K is the whole of what it feels, mean forces included.
"""

from __future__ import annotations

import numpy as np

from mlgle_lammps.records import Float64


def velocity_correlation(kernel: Float64, masses: Float64, start: Float64, dt: float) -> Float64:
    """Return C(t), (time, n, n), of a kernel; extrapolated from two time steps, so to fourth order.

    Args:
        kernel: (2 time - 1, n, n), K at every half of ``dt``.
        masses: (n,) of the components.
        start: C(0), (n, n), kT/M in equilibrium.
        dt: time step of C.

    Limit: a constant kernel S gives cos(√(S/M) t) C(0).
    """
    fine = _by_trapezoids(kernel, masses, start, dt / 2)[::2]
    coarse = _by_trapezoids(kernel[::2], masses, start, dt)
    return (4.0 * fine - coarse) / 3.0


def _by_trapezoids(kernel: Float64, masses: Float64, start: Float64, dt: float) -> Float64:
    inverse = 1.0 / masses[:, None]
    found, slopes = np.empty((2, len(kernel), *start.shape))
    found[0], slopes[0] = start, 0.0
    implicit = np.linalg.inv(np.eye(len(masses)) + dt**2 / 4 * inverse * kernel[0])
    for t in range(1, len(kernel)):
        past = 0.5 * kernel[t] @ start + np.einsum("tij,tjk->ik", kernel[t - 1 : 0 : -1], found[1:t])
        known = -dt * inverse * past
        found[t] = implicit @ (found[t - 1] + dt / 2 * (slopes[t - 1] + known))
        slopes[t] = known - dt / 2 * inverse * (kernel[0] @ found[t])
    return found


def running_friction(correlation: Float64, mass: float, dt: float) -> Float64:
    """Return ∫₀ᵗ K at the middles t = dt/2, 3dt/2, .. of a scalar correlation, (time - 1,).

    From M [C(t) - C(0)] = -∫₀ᵗ G(s) C(t-s) ds with G the integral, which needs no derivative of C. At long times G is
    kT/D, mean forces included.

    Args:
        correlation: (time,), C at every ``dt``.
        mass: of the molecule.
        dt: time step.
    """
    middles = 0.5 * (correlation[1:] + correlation[:-1])
    wanted = -mass * (correlation[1:] - correlation[0]) / dt
    found = np.empty(len(middles))
    for t in range(len(middles)):
        found[t] = (wanted[t] - found[:t] @ middles[t:0:-1]) / middles[0]
    return found
