"""What a molecule's graph says of its modes: Laplacian eigenvalues, and which modes its symmetry ties to the centre.

An automorphism of a molecule (turning a chain of equal ends end for end, exchanging the arms of a star) leaves its
centre as it is. So the centre can be tied on average only to modes that every automorphism leaves as they are too:
<ΔX·Δz_p> is zero for all others. In a chain with equal ends those are the even modes; where the ends differ, all; in a
star those in which all arms do the same; in a homopolymer ring none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mlgle_lammps.chains.bond_graph import orbits
from mlgle_lammps.chains.laplacian import Edges, invariant_modes, linear_eigenvalues
from mlgle_lammps.records import Float64, Species, System


@dataclass(frozen=True)
class Spectrum:
    """Modes 1, 2, .. of one molecule.

    Attributes:
        eigenvalues: (mode,) λ_p of the graph's Laplacian, ascending; Rouse's variances and times go as 1/λ_p.
        invariant: (mode,) whether every automorphism leaves the mode as it is.
        linear: whether the molecule is a linear chain, of which long runs have told which modes the centre is tied to.
    """

    eigenvalues: Float64
    invariant: tuple[bool, ...]
    linear: bool = True


def linear_spectrum(n_beads: int, ends_alike: bool = True) -> Spectrum:
    """Return the spectrum of a linear chain, λ_p = 4 sin²(pπ/2N); even modes are invariant where its ends are alike.

    Args:
        n_beads: N.
        ends_alike: whether turning the chain end for end gives the same chain.
    """
    return Spectrum(linear_eigenvalues(n_beads), tuple(p % 2 == 0 or not ends_alike for p in range(1, n_beads)))


def spectrum_of(own: System | Species) -> Spectrum | None:
    """Return the spectrum of the molecules that a stream, or a species, is of; None where their beads are not counted.

    Args:
        own: of a stream the main species is meant.
    """
    if own.n_beads is None:
        return None
    return _spectrum(own.n_beads, own.edges, own.eigenvalues, own.types, own.ends_alike)


@lru_cache(maxsize=64)
def _spectrum(
    n_beads: int, edges: Edges, eigenvalues: tuple[float, ...], types: tuple[str, ...], alike: bool
) -> Spectrum:
    if not edges:
        return linear_spectrum(n_beads, alike)
    known = {name: number for number, name in enumerate(sorted(set(types)))}
    numbers = np.array([known[name] for name in types] or [0] * n_beads, dtype=np.int64)
    invariant = set(invariant_modes(n_beads, edges, orbits(n_beads, edges, numbers), n_beads - 1))
    return Spectrum(np.array(eigenvalues), tuple(p in invariant for p in range(1, n_beads)), linear=False)


def ends_alike(sequences: Sequence[Sequence[str]]) -> bool:
    """Return whether chains turned end for end are the same chains, by the types along each.

    Where sequences are random, no two chains alike, their ends are so on average. Without chains they are alike.
    """
    forth = {min(tuple(own), tuple(own)[::-1]) for own in sequences}
    return len(forth) != 1 or all(own == own[::-1] for own in forth)
