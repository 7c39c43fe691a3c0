"""Moments of all species of one stream: displacements against the centre of the whole system, by mass.

Where momentum is conserved that centre rests (or drifts), and removing it changes nothing else. Where it diffuses
itself (Langevin, Brownian) the removal takes a share of every molecule's motion: for independent molecules

    MSD'_i = MSD_i (1 - 2 w_i) + Σ_m w_m² MSD_m,

m over all molecules, w their shares of the mass, which is solved for the species at every lag. P equal molecules give
the factor P/(P-1). The centre is that of the molecules that are streamed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mlgle_lammps.records import Float64, Frames, Int64, Species
from mlgle_lammps.statistics.moments import IncrementVariance, MomentAccumulator, Moments, logarithmic_lags

DIFFUSES = 0.5
"""Variance of the centre's steps, over that of independent molecules, above which it diffuses itself."""

SLOPE_LAGS = 4
"""Lags in each octave of species whose D is a slope; two of them are those of the others."""
LARGEST = 1000.0
"""Of the factors by which displacements against the centre are multiplied, and of their inverse."""


class SpeciesMoments:
    """Adds frames one by one; `moments` gives the record of one species.

    Args:
        species: all that are streamed, the main one first.
        n_modes: of each of them, those that count.
        longest_lag: in frames.
        center_held: fixes hold the system's centre of mass in place.
        n_dimensions: columns of the frames.
        lags_per_octave: of all species; None for 2 of those with modes, ``SLOPE_LAGS`` of the others.
    """

    def __init__(
        self,
        species: Sequence[Species],
        n_modes: Mapping[str, int],
        longest_lag: int,
        center_held: bool = False,
        n_dimensions: int = 3,
        lags_per_octave: int | None = None,
    ) -> None:
        self._alone = len(species) == 1
        self._held = center_held
        self._of = {
            own.name: MomentAccumulator(
                own.n_molecules, n_modes[own.name], longest_lag,
                lags_per_octave or (2 if self._alone or n_modes[own.name] else SLOPE_LAGS),
                center_held=center_held and self._alone,
                n_dimensions=n_dimensions, apart=own.whole_molecules, own_center=self._alone,
            )
            for own in species
        }  # fmt: skip
        self._main = species[0].name
        self._weights = mass_shares(species)
        self._center = np.zeros(n_dimensions)
        self._center_steps = IncrementVariance(n_dimensions)
        self._segment: int | None = None

    @property
    def n_frames(self) -> int:
        """Frames added so far."""
        return self._of[self._main].n_frames

    def add(self, frames: Frames) -> None:
        """Add frames; a new segment number starts afresh, no pair of frames crosses it."""
        if self._alone:
            self._of[self._main].add(frames)
            return
        centers = self.centers(frames)
        self._follow(centers, frames.segments.tolist())
        for name, accumulator in self._of.items():
            own = frames.channels[name]
            accumulator.add(
                Frames.of_chains(frames.steps, frames.segments, own["com"] - centers[:, None], own.get("modes"))
            )

    def centers(self, frames: Frames) -> Float64:
        """Return the system's centre in each frame, (time, d)."""
        return centers_of(frames, self._weights)

    def centred(self, frames: Frames) -> Frames:
        """Return frames of the main species against the system's centre; as they are where it is alone."""
        if self._alone:
            return frames
        centers = self.centers(frames)[:, None]
        return Frames.of_chains(frames.steps, frames.segments, frames.com - centers, frames.modes)

    def moments(self, name: str | None = None) -> Moments:
        """Return the averages of one species so far; of the main one where none is named."""
        name = name or self._main
        own = self._of[name].moments()
        if self._alone:
            return own
        diffuses = self._diffuses()
        if not diffuses:
            return replace(own, center_held=self._held, lag_factors=np.ones(len(own.lags)))
        factors = self._factors(name, own.lags)
        louder = float(np.maximum(factors**-2.0, 1.0).mean())  # what was seen scatters by its own size
        return replace(
            own, design_effect=own.design_effect * louder, msd_com=own.msd_com * factors,
            msd_com_chain=own.msd_com_chain * factors[:, None],
            center_diffuses=True, center_held=self._held, lag_factors=factors,
        )  # fmt: skip

    def _follow(self, centers: Float64, segments: Sequence[int]) -> None:
        for center, segment in zip(centers, segments, strict=True):
            if segment == self._segment:
                self._center_steps.add(center - self._center)
            self._segment, self._center = segment, center

    def _diffuses(self) -> bool:
        """Return whether the system's centre diffuses as independent molecules make it, or would were it not held."""
        if self._held:
            return True
        expected = sum(
            float(np.sum(self._weights[name] ** 2)) * accumulator.step_variance()
            for name, accumulator in self._of.items()
        )
        return self._center_steps.variance() > DIFFUSES * max(expected, 1e-300)

    def _factors(self, name: str, lags: Int64) -> Float64:
        """Return (lag,) what a species' own MSD is over that against the centre; between common lags interpolated."""
        common = np.array(logarithmic_lags(int(self._of[self._main].lags[-1])))
        common = common[common <= lags[-1]]
        seen = []
        for accumulator in self._of.values():
            squares = accumulator.mean_squares()
            seen.append(squares[np.isin(accumulator.lags[: len(squares)], common)])
        whole: Float64 = np.stack(seen)
        own = list(self._of).index(name)
        ratio = np.clip(self._solved(whole)[own] / np.maximum(whole[own], 1e-300), 1.0 / LARGEST, LARGEST)
        result: Float64 = np.interp(np.log(lags), np.log(common), ratio)
        return result

    def _solved(self, seen: Float64) -> Float64:
        """Return the species' own MSDs, (species, lag), from those against the centre."""
        share = np.array([weights.mean() for weights in self._weights.values()])
        squares = np.array([float(np.sum(weights**2)) for weights in self._weights.values()])
        matrix = np.diag(1.0 - 2.0 * share) + squares[None, :]
        result: Float64 = np.linalg.lstsq(matrix, seen, rcond=None)[0]
        return result


def centers_of(frames: Frames, shares: Mapping[str, Float64]) -> Float64:
    """Return the centre of all species in each frame, (time, d), by each molecule's share of the mass."""
    parts = [np.einsum("tmx,m->tx", frames.channels[name]["com"], weights) for name, weights in shares.items()]
    total: Float64 = np.sum(parts, axis=0)
    return total


def mass_shares(species: Sequence[Species]) -> dict[str, Float64]:
    """Return each molecule's share of the mass of all, by species; alike where masses are not known."""
    masses = {
        own.name: np.broadcast_to(np.array(own.masses or (float(own.n_beads or 1),)), (own.n_molecules,)).astype(float)
        for own in species
    }
    whole = sum(float(of.sum()) for of in masses.values())
    return {name: of / whole for name, of in masses.items()}
