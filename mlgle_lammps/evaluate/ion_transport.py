"""Diffusion of ions and conductivity from the frames of any stream that has species of single atoms with charges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
NEAR_FRAMES, NEAR_BINS = 2000, 60
"""Frames that g(r) is taken from, and its bins: ions are few."""


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
    """Return how ions move and stand; several boxes side by side are taken one by one, and their numbers averaged.

    Args:
        system: of the frames.
        frames: with the centres of all species.
        charges: of one ion of each species.
        kT: energy, in the deck's unit.
    """
    one, boxes = _one_box(system), _each_box(system, frames)
    moved = [_motion(one, own, charges, kT) for own in boxes]
    D = {name: _mean([own[0][name] for own in moved]) for name in charges}
    box = edges_of(system.box)
    peaks, closest = {}, {}
    every = max(1, len(frames) * len(boxes) // NEAR_FRAMES)
    positions = {name: [own.channels[name]["com"] for own in boxes] for name in charges}
    for pair in _pairs(sorted(charges)):
        first, second = (np.concatenate([own[::every] for own in positions[name]]) for name in pair)
        alike = pair[0] == pair[1]
        found = species_distribution(first, None if alike else second, box, REACH * float(box.min()), NEAR_BINS)
        peaks[pair] = found.first_peak()
        ends = zip(positions[pair[0]], positions[pair[1]], strict=True)
        closest[pair] = min(closest_distance(near, None if alike else other, box) for near, other in ends)
    return IonTransport(system, len(frames) * system.dt, D, _mean_conduction([own[1] for own in moved]), peaks, closest)


def collisions_in_time(system: System, frames: Frames, pair: tuple[str, str], closest: float) -> np.ndarray:
    """Return pairs of ions closer than MD ever has them, per ion and frame, (time,); all zero in MD itself."""
    box, alike = edges_of(system.box), pair[0] == pair[1]
    found = []
    for own in _each_box(system, frames):
        one, other = (own.channels[name]["com"] for name in pair)
        found.append(collisions(one, None if alike else other, box, closest))
    result: np.ndarray = np.mean(found, axis=0)
    return result


def _one_box(system: System) -> System:
    """Return the system of one of the boxes that stand side by side."""
    others = tuple(replace(own, n_molecules=own.n_molecules // system.boxes) for own in system.others)
    return replace(system, n_chains=system.n_chains // system.boxes, others=others, boxes=1)


def _each_box(system: System, frames: Frames) -> list[Frames]:
    """Return the frames of each box, as views."""
    found = []
    for k in range(system.boxes):
        channels = {
            name: {channel: values[:, _share(values.shape[1], k, system.boxes)] for channel, values in own.items()}
            for name, own in frames.channels.items()
        }
        found.append(Frames(frames.steps, frames.segments, channels))
    return found


def _share(n_molecules: int, box: int, boxes: int) -> slice:
    size = n_molecules // boxes
    return slice(box * size, (box + 1) * size)


def _motion(
    system: System, frames: Frames, charges: Mapping[str, float], kT: float
) -> tuple[dict[str, Estimate | None], Conduction | None]:
    """Return D of each ion and how they conduct, in one box."""
    species = system.species
    moments = SpeciesMoments(species, {own.name: 0 for own in species}, max(8, int(LONGEST_SHARE * len(frames))))
    moments.add(frames)
    D = {name: _diffusion(moments, name, system.dt) for name in charges}
    positions = {name: frames.channels[name]["com"] for name in charges}
    try:
        drift, box = moments.centers(frames), edges_of(system.box)
        return D, conduction(positions, charges, box, kT, system.dt, drift, segments=frames.segments)
    except ValueError:
        return D, None


def _mean(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """Return the mean of independent estimates of equal weight; None where one of them is none."""
    there = [own for own in estimates if own is not None]
    if len(there) < len(estimates):
        return None
    if len(there) == 1:
        return there[0]
    value = float(np.mean([own.value for own in there]))
    shrunk = 1.0 / len(there)
    se, low, high = (
        shrunk * float(np.linalg.norm(own))
        for own in (
            [own.se for own in there], [own.value - own.ci95[0] for own in there],
            [own.ci95[1] - own.value for own in there],
        )
    )  # fmt: skip
    return Estimate(value, se, (value - low, value + high), f"mean of {len(there)} boxes, {there[0].method}")


def _mean_conduction(found: Sequence[Conduction | None]) -> Conduction | None:
    there = [own for own in found if own is not None]
    if len(there) < len(found):
        return None

    def mean(estimates: Sequence[Estimate]) -> Estimate:
        result = _mean(estimates)
        assert result is not None
        return result

    onsager = {pair: mean([own.onsager[pair] for own in there]) for pair in there[0].onsager}
    return Conduction(onsager, mean([own.conductivity for own in there]), mean([own.nernst_einstein for own in there]))


def _diffusion(moments: SpeciesMoments, name: str, dt: float) -> Estimate | None:
    try:
        return normal_diffusion(moments.moments(name), dt)
    except (ValueError, np.linalg.LinAlgError):
        return None


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    return [(a, b) for i, a in enumerate(names) for b in names[i:]]
