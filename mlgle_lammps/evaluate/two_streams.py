"""Any stream of frames against MD of the same melt, whoever made it, without a run's result: do they say the same?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.diffusion.baselines import GeneralizedRouseKernel, fit_generalized_rouse_kernel
from mlgle_lammps.diffusion.slope import mean_over_time, normal_diffusion
from mlgle_lammps.directions import ALL_FREE, Directions, no_direction
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.full_md import (
    LEAST_FRAMES,
    is_generated,
    read_long_trajectory,
    require_md,
    require_same_melt,
    shared_frames,
)
from mlgle_lammps.evaluate.judgement import Judgement, judge
from mlgle_lammps.evaluate.labels import MD, generated_label
from mlgle_lammps.evaluate.mode_differences import ModeDifferences, mode_differences
from mlgle_lammps.evaluate.observables import Observables
from mlgle_lammps.evaluate.side_by_side import (
    SideBySide,
    displacement_times,
    observe_at,
    relaxations_of,
    slowest_time,
    z_scores_of,
)
from mlgle_lammps.evaluate.trajectories import Trajectory, open_of_species, require_directions
from mlgle_lammps.evaluate.units import unit_factors, units_note
from mlgle_lammps.observe.confinement import bounded_by_motion
from mlgle_lammps.records import Estimate, System, joined
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.store.recording import open_recording

OTHER_MD = "other MD"
LONGEST_SHOWN = 128  # frames over which displacements are shown
BYTES_LOOKED_AT = 2**28  # of centres of mass, for directions in which the motion is bounded
KERNEL_TERMS = 100  # where the beads are not counted


@dataclass(frozen=True)
class TwoStreams(SideBySide):
    """Everything that a comparison of a stream (the subject) with MD (the base) holds.

    Attributes:
        sources: label to the file or folder, and what it holds, one line.
        differences: of the modes; None where one has none.
        judgement: of these; None likewise.
        size_z_scores: "end_to_end" and "gyration" to the distance of the mean squared sizes in standard errors.
    """

    sources: dict[str, str]
    differences: ModeDifferences | None
    judgement: Judgement | None
    size_z_scores: dict[str, float]


def compare_streams(path: Path, reference: Path, directions: Directions | None = None) -> TwoStreams:
    """Hold a stream against one of MD, in steps of the longer of their times between frames.

    Args:
        path: a run's folder, modes.h5, generated.h5 or .npz.
        reference: the same, of MD.
        directions: that are free; None takes those that the files say, less those in which the motion is bounded.

    Raises:
        UserError: a stream that is missing, damaged or too short, generated where MD is needed, of another melt, or
            with times between frames that are no multiples of one another.
    """
    require_md(reference)
    subject = generated_label(path) if is_generated(path) else OTHER_MD
    directions = _common_directions(path, reference, directions)
    first, md = _read_at_common_times(path, reference, directions)
    times = displacement_times(md.system, min(LONGEST_SHOWN, first.longest_segment - 1, md.longest_segment - 1))
    streams = {MD: observe_at(md, times), subject: observe_at(first, times)}
    relaxations = relaxations_of(streams)
    slowest = slowest_time(relaxations, (MD, subject))
    estimates = {way: D for label, stream in streams.items() for way, D in _ways_to_D(label, stream, slowest).items()}
    slope = f"{MD}, slope"
    known = slope if slope in estimates else None
    differences = _differences(streams[subject], streams[MD])
    return TwoStreams(
        streams=streams,
        system=md.system,
        base=MD,
        subject=subject,
        kernel=_kernel(streams[MD].moments, md.system),
        relaxations=relaxations,
        estimates=estimates,
        reference=known,
        z_scores=z_scores_of(estimates, known, MD),
        notes=_notes(first, path, md, reference, known),
        sources={MD: _described(md, reference), subject: _described(first, path)},
        differences=differences,
        judgement=None if differences is None else judge(differences),
        size_z_scores=_size_z_scores(streams[subject], streams[MD]),
    )


def _common_directions(path: Path, reference: Path, given: Directions | None) -> Directions:
    """Return the directions that are compared; raise UserError where one of them was not generated."""
    first, md = (open_recording(p).system.directions for p in (path, reference))
    if given is not None:
        if is_generated(path):
            require_directions(first, path, given)
        return given
    told = md.closing(first.closed)
    if not told.n:
        raise UserError(f"{reference}: {no_direction(told)}")
    whole, centres = read_long_trajectory(reference, directions=ALL_FREE), []
    most = max(LEAST_FRAMES, BYTES_LOOKED_AT // (24 * whole.system.n_chains))
    for block in whole.frames():
        centres.append(block[:most])
        most -= len(block)
        if most <= 0:
            break
    return told.closing(bounded_by_motion(joined(centres), told))


def _read_at_common_times(path: Path, reference: Path, directions: Directions) -> tuple[Trajectory, Trajectory]:
    """Return both streams with frames equally far apart: of the finer one each so many-th frame."""
    system = open_recording(path).system
    other = open_of_species(reference, system).system
    require_same_melt(system, path, other, reference)
    time, _ = unit_factors(system, path, other, reference)
    ratio = time * system.dt / other.dt
    stride = round(max(ratio, 1 / ratio))
    if not math.isclose(max(ratio, 1 / ratio), stride, rel_tol=1e-6):
        raise UserError(
            f"frames of {path} are {time * system.dt:g} apart, those of {reference} {other.dt:g}: neither is a "
            "multiple of the other, so that they cannot be compared frame by frame"
        )
    finer = 0 if ratio < 1 else 1
    like = other, reference
    first, md = (
        read_long_trajectory(p, stride if i == finer else 1, like, directions) for i, p in enumerate((path, reference))
    )
    return first, md


def _ways_to_D(label: str, stream: Observables, slowest: float) -> dict[str, Estimate]:
    found = {
        f"{label}, slope": normal_diffusion(stream.moments, stream.dt, slowest / stream.dt),
        f"{label}, eq. 35": mean_over_time(stream.moments, stream.dt, slowest / stream.dt),
    }
    return {way: estimate for way, estimate in found.items() if estimate is not None}


def _differences(subject: Observables, md: Observables) -> ModeDifferences | None:
    if subject.summary is None or md.summary is None:
        return None
    return mode_differences(subject.summary, md.summary, scarce=True)


def _kernel(moments: Moments, system: System) -> GeneralizedRouseKernel:
    return fit_generalized_rouse_kernel(
        moments.lags.astype(np.float64) * system.dt, moments.msd_com, system.n_beads or KERNEL_TERMS
    )


def _size_z_scores(subject: Observables, md: Observables) -> dict[str, float]:
    """Return by how many standard errors mean squared sizes differ; nothing where modes differ in number or lack."""
    own, other = subject.size, md.size
    if own is None or other is None or _n_modes(subject) != _n_modes(md):
        return {}
    found = {}
    for name in ("end_to_end", "gyration"):
        error = math.hypot(getattr(own, f"{name}_se"), getattr(other, f"{name}_se"))
        if error > 0:
            found[name] = (getattr(own, name) - getattr(other, name)) / error
    return found


def _n_modes(stream: Observables) -> int:
    return 0 if stream.summary is None else len(stream.summary.variance)


def _described(trajectory: Trajectory, path: Path) -> str:
    kind, chains = ("generated", "trajectories") if is_generated(path) else ("MD", "chains")
    return f"{path}: {kind}, {trajectory.n_frames} frames of {trajectory.system.n_chains} {chains}"


def _notes(first: Trajectory, path: Path, md: Trajectory, reference: Path, known: str | None) -> tuple[str, ...]:
    notes = [
        f"of {where} one frame in {trajectory.stride} is used, as far apart as those of the other stream"
        for trajectory, where in ((first, path), (md, reference))
        if trajectory.stride > 1
    ]
    notes += units_note(open_recording(path).system, path, md.system, reference)
    if first.system.n_modes != md.system.n_modes:
        k = min(first.system.n_modes, md.system.n_modes)
        notes.append(f"modes 1 to {k}, which both have, are held against one another; sizes of chains are not")
    if len(shared := shared_frames(first, md)) > 1:  # one is a start that independent runs may have in common
        notes.append(f"{len(shared)} frames are in both: the streams are not independent, and agree better for it")
    if md.directions.n < 3:
        notes.append(md.directions.sentence())
    if known is None:
        notes.append(f"{md.n_frames} frames of MD show no normal diffusion long enough for a reference D")
    return tuple(notes)
