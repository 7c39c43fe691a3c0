"""What a periodic box does to D: the term of Yeh and Hummer, screened where a bath acts on each bead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mlgle_lammps.evaluate.properties import Properties
from mlgle_lammps.evaluate.scales import Scales
from mlgle_lammps.evaluate.trajectories import Trajectory
from mlgle_lammps.records import Estimate
from mlgle_lammps.statistics.displacements import mean_squared_displacements
from mlgle_lammps.statistics.errors import NORMAL
from mlgle_lammps.statistics.moments import Moments

YEH_HUMMER = 2.837297
WEAK_BATH = 2.0
"""D of the system's centre over that of independent molecules, beyond which flow acts across the box."""
LEAST_SCREENING = 0.3
"""κL below which the sum over images is taken by its first terms."""
LARGEST = 0.3
"""Rg over the edge of the box, up to which the term of Yeh and Hummer was seen to hold in melts."""
KNOWN = 0.2
"""Relative standard error with which it was."""


def infinite_system(
    found: Properties, scales: Scales | None, trajectory: Trajectory, D: Estimate | None, moments: Moments
) -> Estimate | str:  # fmt: skip
    """Return D of the infinite system, or why there is none.

    Args:
        found: η and Rg².
        scales: of the melt.
        trajectory: its stream.
        D: in the box.
        moments: of the chains' displacements.
    """
    if moments.center_held:
        return "a fix holds the system's centre, so that it is not known whether flow acts across the box"
    of_centre = centre_diffusion(trajectory) if moments.center_diffuses else 0.0
    if D is not None and moments.center_diffuses and of_centre * trajectory.system.n_chains < WEAK_BATH * D.value:
        how = "each bead has friction by itself, so that no flow acts across the box and D is as it is"
        return replace(D, method=f"{D.method}; {how}")
    what = "the bath's friction is weak" if of_centre else "momentum is conserved"
    why = f"{what}, so that D depends on the box"
    system, viscosity = trajectory.system, found.numbers.get("viscosity")
    if D is None:
        return f"{why}, and there is no D"
    if viscosity is None or scales is None or system.box is None:
        return f"{why}, by as much as η says, and there is no η"
    edges, size = np.array(system.box[:3]), float(np.sqrt(found.numbers["rg2"].value)) / scales.volume ** (1 / 3)
    term = box_term(scales, viscosity.value, of_centre)
    would = f"the term of Yeh and Hummer, {_law(of_centre)}, would be {term:.3g}, {term / D.value:.0%} of D"
    if np.ptp(edges) > 1e-3 * edges.min() or any(abs(tilt) > 1e-9 for tilt in system.box[3:]):
        return f"{why}; {would} in a cube, which this box is not"
    if system.others or system.left_out:
        return f"{why}; {would} by η of these chains alone, and the melt holds more"
    if size > LARGEST:
        return f"{why}; {would}, but it was seen to hold up to Rg/L = {LARGEST:g} alone, and here that is {size:.2g}"
    if of_centre:
        D = about_centre(D, system.n_chains)
    return infinite_diffusion(D, term, viscosity, _law(of_centre))


def _law(of_centre: float) -> str:
    return "ξkT/6πηL screened by the bath" if of_centre else "ξkT/6πηL"


def about_centre(D: Estimate, n_chains: int) -> Estimate:
    """Return D about the system's centre: without the share of it that D holds as if chains were independent."""
    lost = D.value / n_chains
    return replace(D, value=D.value - lost, ci95=(D.ci95[0] - lost, D.ci95[1] - lost))


def centre_diffusion(trajectory: Trajectory) -> float:
    """Return D per component of the system's centre of mass, by the growth of its displacement between two lags.

    One path tells it to a few per cent at best. It is kT over the friction of all beads together.
    """
    centres = np.concatenate([block.com.mean(axis=1) for block in trajectory.frames(trajectory.system.n_modes)])
    segments = trajectory.segments[: len(centres)]
    last = max(2, min(16, trajectory.longest_segment // 8))
    msd = mean_squared_displacements(centres[:, None], segments, last + 1)[:, 0]
    first = last // 2
    return max(float(msd[last] - msd[first]) / (6 * (last - first) * trajectory.system.dt), 0.0)


def infinite_diffusion(D: Estimate, term: float, viscosity: Estimate, law: str = "ξkT/6πηL") -> Estimate:
    """Return D and the term that the box takes from it; errors of D, of η, and of how well the term is known to hold.

    Args:
        D: in the box.
        term: that the box takes.
        viscosity: η.
        law: of the term.
    """
    error = term * float(np.hypot(viscosity.se / viscosity.value, KNOWN))
    se = float(np.hypot(D.se, error))
    half = float(np.hypot((D.ci95[1] - D.ci95[0]) / 2, NORMAL * error))
    value = D.value + term
    method = (
        f"{D.method}; and {term:.3g} by Yeh and Hummer, {law}, η = {viscosity.value:.3g} ± {viscosity.se:.1g}; that "
        f"term is known to {KNOWN:.0%}, as measured in Kremer-Grest melts"
    )
    return Estimate(value, se, (value - half, value + half), method)


def box_term(scales: Scales, viscosity: float, of_centre: float = 0.0) -> float:
    """Return by how much D about the system's centre is too small in a periodic box of a simple liquid.

    ξkT/(6πηL) where momentum is conserved (Yeh and Hummer 2004). A bath's friction Γ on all beads screens flow beyond
    1/κ, κ² = ρΓ/η = kT/(ηV D_c) with D_c of the system's centre: (2kT/3η)[1/(Vκ²) - Σ_n exp(-κL|n|)/(4πL|n|)], the sum
    over all images but the box itself.

    Limit: the first for D_c without bound, 2D_c/3 for κL without bound.

    Args:
        scales: of the melt.
        viscosity: η.
        of_centre: D_c; 0 where momentum is conserved.
    """
    kT_over_viscosity, edge = (
        scales.energy_density * scales.volume / (viscosity / scales.time),
        scales.volume ** (1 / 3),
    )
    if not of_centre:
        return float(YEH_HUMMER * kT_over_viscosity / (6 * np.pi * edge))
    screening = edge * np.sqrt(kT_over_viscosity / (scales.volume * of_centre))
    if screening < LEAST_SCREENING:
        return box_term(scales, viscosity) * (1 - screening / YEH_HUMMER)
    most = int(np.ceil(30 / screening))
    whole = np.arange(-most, most + 1)
    squares = whole[:, None, None] ** 2 + whole[None, :, None] ** 2 + whole[None, None, :] ** 2
    distance = np.sqrt(squares[squares > 0])
    images = float(np.sum(np.exp(-screening * distance) / (4 * np.pi * distance)))
    return float(2 * kT_over_viscosity / (3 * edge) * (1 / screening**2 - images))
