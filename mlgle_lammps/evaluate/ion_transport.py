"""Diffusion of ions and conductivity from the frames of any stream that has species of single atoms with charges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.errors import UserError
from mlgle_lammps.observe.ions import (
    Conduction,
    closest_distance,
    collisions,
    conduction,
    edges_of,
    species_distribution,
)
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Estimate, Frames, System, joined
from mlgle_lammps.statistics.species_moments import SpeciesMoments
from mlgle_lammps.store.recording import checked_blocks, open_recording

LONGEST_SHARE = 0.2
"""Longest lag over the number of frames."""
REACH = 0.45
"""Largest distance in g(r), over the shortest edge of the box."""
NEAR_FRAMES = 400
"""Frames that g(r) is taken from."""


@dataclass(frozen=True)
class IonTransport:
    """How ions move and stand in one stream.

    Attributes:
        system: what it is about.
        time: of the recording.
        D: by species; None where the motion has not become normal diffusion.
        conduction: None where the recording is too short.
        peaks: place and height of the first peak of g(r), by pairs of ions.
        closest: smallest distance found, by the same pairs.
    """

    system: System
    time: float
    D: Mapping[str, Estimate | None]
    conduction: Conduction | None
    peaks: Mapping[tuple[str, str], tuple[float, float]]
    closest: Mapping[tuple[str, str], float]

    def summary(self) -> JsonObject:
        """Return it as JSON values."""
        found: JsonObject = {"time": self.time}
        for name, D in self.D.items():
            found[f"D_{name}"] = None if D is None else {"value": D.value, "se": D.se, "ci95": list(D.ci95)}
        if self.conduction is not None:
            own = self.conduction
            for key, estimate in (("conductivity", own.conductivity), ("nernst_einstein", own.nernst_einstein)):
                found[key] = {"value": estimate.value, "se": estimate.se}
            found["onsager"] = {"-".join(pair): {"value": L.value, "se": L.se} for pair, L in own.onsager.items()}
        found["g_peaks"] = {"-".join(pair): list(peak) for pair, peak in self.peaks.items()}
        found["closest"] = {"-".join(pair): distance for pair, distance in self.closest.items()}
        return found


def read_ions(path: Path, charges: Mapping[str, float]) -> tuple[System, Frames]:
    """Return the centres of all species in a stream that has the ions asked for.

    Raises:
        UserError: no such ions in it.
    """
    recording = open_recording(path)
    if missing := sorted(set(charges) - {own.name for own in recording.system.others}):
        there = ", ".join(own.name for own in recording.system.others) or "none"
        raise UserError(f"{path} has no ions {', '.join(missing)}; species beside its main one: {there}")
    blocks = [
        Frames(block.steps, block.segments, {name: {"com": own["com"]} for name, own in block.channels.items()})
        for block in checked_blocks(recording)
    ]
    return recording.system, joined(blocks)


def ion_transport(system: System, frames: Frames, charges: Mapping[str, float], kT: float = 1.0) -> IonTransport:
    """Return how ions move and stand.

    Args:
        system: of the frames.
        frames: with the centres of all species.
        charges: of one ion of each species.
        kT: energy, in the deck's unit.
    """
    species = system.species
    moments = SpeciesMoments(species, {own.name: 0 for own in species}, max(8, int(LONGEST_SHARE * len(frames))))
    moments.add(frames)
    D = {name: _diffusion(moments, name, system.dt) for name in charges}
    box = edges_of(system.box)
    centre = moments.centers(frames)
    positions = {name: frames.channels[name]["com"] for name in charges}
    try:
        found = conduction(positions, charges, box, kT, system.dt, centre)
    except ValueError:
        found = None
    peaks, closest = {}, {}
    every = max(1, len(frames) // NEAR_FRAMES)
    for pair in _pairs(sorted(charges)):
        one, other = (positions[name] for name in pair)
        second = None if pair[0] == pair[1] else other
        thinned = one[::every], None if second is None else second[::every]
        peaks[pair] = species_distribution(*thinned, box, REACH * float(box.min())).first_peak()
        closest[pair] = closest_distance(one, second, box)
    return IonTransport(system, len(frames) * system.dt, D, found, peaks, closest)


def collisions_in_time(system: System, frames: Frames, pair: tuple[str, str], closest: float) -> np.ndarray:
    """Return pairs of ions closer than MD ever has them, per ion and frame, (time,); all zero in MD itself."""
    one, other = (frames.channels[name]["com"] for name in pair)
    return collisions(one, None if pair[0] == pair[1] else other, edges_of(system.box), closest)


def _diffusion(moments: SpeciesMoments, name: str, dt: float) -> Estimate | None:
    try:
        return normal_diffusion(moments.moments(name), dt)
    except (ValueError, np.linalg.LinAlgError):
        return None


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(a, b) for i, a in enumerate(names) for b in names[i:]]
