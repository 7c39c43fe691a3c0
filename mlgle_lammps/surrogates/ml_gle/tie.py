"""Which modes drive the centre of mass, and which of them it moves with.

The GLE's X(t) = αB(t) + β Σ_p [z_p(t) - z_p(0)] has the right mean squared displacement, but as a process of one chain
it ties the centre to every mode, <ΔX·Δz_p> = β <Δz_p²>, which no melt does: that is zero for all modes that symmetry
forbids, and slightly negative for the others. So X is driven by independent modes of the same law, and moves with its
own as far as MD's does: X = αB + Σ_p [c_p Δz_p + √(β² - c_p²) Δz'_p] with z' a copy; MSD_X stays as fitted. A tie
that changes its sign with the lag no c_p can hold, and there is none: centres of long chains recoil from a mode's fast
motion and follow its slow one (docs/method.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from mlgle_lammps.chains.spectrum import Spectrum
from mlgle_lammps.plain import JsonMapping
from mlgle_lammps.records import GleFit
from mlgle_lammps.statistics.centre_tie import CentreTie
from mlgle_lammps.statistics.errors import student_limit
from mlgle_lammps.surrogates.ml_gle import plain_values

SIGNIFICANT = 3.0  # standard errors that a tie must be off zero to be kept, more where chains are few


@dataclass(frozen=True)
class Tie:
    """Modes in the fit's sum.

    Attributes:
        modes: counted from 1.
        own: c_p = <ΔX·Δz_p>/<Δz_p²> of each, 0 where none was found.
    """

    modes: tuple[int, ...]
    own: tuple[float, ...]

    @staticmethod
    def from_plain(plain: JsonMapping, n_modes: int) -> Tie:
        """Return what a model file holds; raise ValueError where it cannot be of ``n_modes`` modes."""
        modes = plain_values.whole_numbers(plain, "modes", 1)
        own = plain["own"]
        if len(set(modes)) != len(modes) or max(modes, default=1) > n_modes or len(own) != len(modes):
            raise ValueError(f"a tie of modes {repr(modes)[:40]}")
        return Tie(modes, tuple(plain_values.number({"own": c}, "own") for c in own))


def find_tie(fit: GleFit, found: CentreTie | None, spectrum: Spectrum | None) -> Tie:
    """Return the tie of the modes in a fit's sum.

    Args:
        fit: whose sum it is.
        found: what the frames say of c_p, None where they say nothing.
        spectrum: of the molecule, which says what modes symmetry allows a tie; None where unknown: even ones.
    """
    own = []
    for p in fit.modes:
        allowed = p % 2 == 0 if spectrum is None else spectrum.invariant[p - 1]
        own.append(_steady(found, p - 1) if found is not None and allowed else 0.0)
    return Tie(fit.modes, tuple(own))


def _steady(found: CentreTie, mode: int) -> float:
    """Return c of a mode, 0 where it is not known to be one, or is of another sign at short times."""
    sure = abs(found.value[mode]) > student_limit(SIGNIFICANT, found.dof) * found.se[mode]
    return float(found.value[mode]) if sure and found.value[mode] * found.early[mode] > 0 else 0.0
