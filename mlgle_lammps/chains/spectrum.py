"""What a molecule's graph says of its modes: Laplacian eigenvalues, and which modes its symmetry ties to the centre.

An automorphism of a molecule (turning a chain of equal ends end for end, exchanging the arms of a star) leaves its
centre as it is. So the centre can be tied on average only to modes that every automorphism leaves as they are too:
<ΔX·Δz_p> is zero for all others. In a chain with equal ends those are the even modes; where the ends differ, all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlgle_lammps.records import Float64, System


@dataclass(frozen=True)
class Spectrum:
    """Modes 1, 2, .. of one molecule.

    Attributes:
        eigenvalues: (mode,) λ_p of the graph's Laplacian, ascending; Rouse's variances and times go as 1/λ_p.
        invariant: (mode,) whether every automorphism leaves the mode as it is.
    """

    eigenvalues: Float64
    invariant: tuple[bool, ...]


def linear_spectrum(n_beads: int, ends_alike: bool = True) -> Spectrum:
    """Return the spectrum of a linear chain, λ_p = 4 sin²(pπ/2N); even modes are invariant where its ends are alike.

    Args:
        n_beads: N.
        ends_alike: whether turning the chain end for end gives the same chain.
    """
    modes = np.arange(1, n_beads)
    eigenvalues: Float64 = 4.0 * np.sin(modes * np.pi / (2 * n_beads)) ** 2
    return Spectrum(eigenvalues, tuple(bool(p % 2 == 0) or not ends_alike for p in modes))


def spectrum_of(system: System) -> Spectrum | None:
    """Return the spectrum of the chains that a stream is of; None where their beads are not counted."""
    return None if system.n_beads is None else linear_spectrum(system.n_beads, system.ends_alike)


def ends_alike(sequences: Sequence[Sequence[str]]) -> bool:
    """Return whether chains turned end for end are the same chains, by the types along each.

    Where sequences are random, no two chains alike, their ends are so on average. Without chains they are alike.
    """
    forth = {min(tuple(own), tuple(own)[::-1]) for own in sequences}
    return len(forth) != 1 or all(own == own[::-1] for own in forth)
