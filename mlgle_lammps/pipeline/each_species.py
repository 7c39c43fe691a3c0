"""D of every species: by the GLE fit where molecules have modes, else by the slope of the MSD."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlgle_lammps.chains.spectrum import spectrum_of
from mlgle_lammps.diffusion.forms import FitForm
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.errors import one_line
from mlgle_lammps.records import CHAINS, GleFit, Species, System
from mlgle_lammps.report.stages import SpeciesD
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.statistics.species_moments import SpeciesMoments

NOT_NORMAL = (
    "its motion has not become normal diffusion within the lags that {frames} frames and --memory give: record more "
    "frames or raise --memory"
)
RESTS = "its molecules do not move"
STILL = 1e-12
"""Mean squared displacement, of the squared box-independent scale of the fastest species, that is no motion."""


def diffusion_of_species(
    moments: SpeciesMoments, system: System, n_modes: dict[str, int], form: FitForm, main: GleFit | None
) -> list[SpeciesD]:
    """Return D of each species, the main one first.

    Args:
        moments: of all species.
        system: that they are of.
        n_modes: of each, by its name in frames.
        form: of the fit.
        main: the main species' fit.
    """
    every = {own.name: moments.moments(own.name) for own in system.species}
    largest = max((float(of.msd_com.max(initial=0.0)) for of in every.values()), default=0.0)
    found = []
    for own in system.species:
        of, name = every[own.name], system.main_name if own.name == CHAINS else own.name
        k = n_modes[own.name]
        if own.name == CHAINS:
            found.append(SpeciesD(own, name, k, main.D if main else None, "" if main else "no fit yet", main))
        elif not len(of.lags) or of.msd_com.max() <= STILL * largest:
            found.append(SpeciesD(own, name, k, None, RESTS))
        else:
            found.append(_one(own, name, k, of, system, form))
    return found


def _one(own: Species, name: str, k: int, moments: Moments, system: System, form: FitForm) -> SpeciesD:
    try:
        if k:
            fit = fit_species(moments, system.dt, form, own)
            return SpeciesD(own, name, k, fit.D, "", fit)
        D = normal_diffusion(moments, system.dt)
    except (ValueError, np.linalg.LinAlgError) as error:
        return SpeciesD(own, name, k, None, one_line(error))
    if D is None:
        return SpeciesD(own, name, k, None, NOT_NORMAL.format(frames=moments.n_frames))
    return SpeciesD(own, name, k, D, "")


def fit_species(moments: Moments, dt: float, form: FitForm, own: Species) -> GleFit:
    """Return the GLE fit of one species; raise ValueError or LinAlgError where there is none."""
    return fit_gle(moments, dt, form, spectrum_of(own))


def species_warnings(found: Sequence[SpeciesD]) -> list[str]:
    """Return a warning for each species beside the main one that has no D though it moves."""
    return [f"{own.name}: no D: {own.reason}" for own in found[1:] if own.D is None and own.reason != RESTS]
