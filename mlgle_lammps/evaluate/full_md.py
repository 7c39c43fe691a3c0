"""A run's independent reference: longer MD of the same melt, without the frames that its D was fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.directions import Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.run_results import RunResult
from mlgle_lammps.evaluate.trajectories import Trajectory, open_of_species, read_trajectory
from mlgle_lammps.evaluate.units import unit_factors, units_note
from mlgle_lammps.records import Int64, System
from mlgle_lammps.store.reader import FramesReader

LEAST_FRAMES = 8  # in one piece, of a trajectory that is worth a comparison


@dataclass(frozen=True)
class FullMd:
    """Longer MD, or why there is none.

    Attributes:
        trajectory: the frames; None without.
        source: what they are, one line; "" without.
        notes: lines for people.
    """

    trajectory: Trajectory | None
    source: str = ""
    notes: tuple[str, ...] = ()


def find_full_md(run: RunResult, md: Trajectory, full: Path | None) -> FullMd:
    """Return a run's own frames after its hand-off, or those of another stream that its D was not fitted to.

    Args:
        run: the run.
        md: the frames that its D was fitted to.
        full: a run's folder or a stream of MD; None for the run's own.

    Raises:
        UserError: a stream that is missing, damaged, not MD, too short, or of another melt.
    """
    return _own_full_md(run) if full is None else _other_full_md(run, md, full)


def _own_full_md(run: RunResult) -> FullMd:
    if int(run.result.get("n_frames") or 0) == 0:
        return FullMd(None)
    try:
        own = read_trajectory(run.folder.path, run.handoff_frames, directions=run.directions)
    except UserError:
        return FullMd(None)
    if own.longest_segment < LEAST_FRAMES:
        return FullMd(None, notes=(f"the {own.n_frames} frames after the hand-off are too few to compare with",))
    return FullMd(own, f"{own.n_frames} frames of {run.name} after its hand-off")


def _other_full_md(run: RunResult, md: Trajectory, full: Path) -> FullMd:
    require_md(full)
    like, system = (run.system, run.folder.path), open_of_species(full, run.system).system
    require_same_melt(system, full, *like)
    whole = read_long_trajectory(full, like=like, directions=run.directions)
    converted = tuple(units_note(system, full, *like))
    shared = shared_frames(whole, md)
    if len(shared) < 2:  # one is a start that independent runs may have in common
        return FullMd(whole, f"{full}, {whole.n_frames} frames", converted)
    rest, where = _longer_rest(whole, full, int(shared[0]), int(shared[-1]) + 1, like)
    if rest is None or rest.longest_segment < LEAST_FRAMES:
        return FullMd(
            None, notes=(f"{full} holds hardly more than the frames that D was fitted to: nothing to compare with",)
        )
    begins = "begins with" if shared[0] == 0 else "holds"
    note = f"{full} {begins} {len(shared)} frames that D was fitted to: they are left out of the reference"
    return FullMd(rest, f"{full}, {rest.n_frames} frames {where}", (*converted, note))


def is_generated(path: Path) -> bool:
    """Return whether a file holds generated trajectories; folders and .npz files hold MD."""
    if not path.is_file() or path.suffix == ".npz":
        return False
    with FramesReader(path) as reader:
        return reader.generated


def require_md(path: Path) -> None:
    """Raise UserError where a file holds generated trajectories, which are no reference."""
    if is_generated(path):
        raise UserError(
            f"{path} holds generated trajectories, not MD: give a run's folder or its modes.h5 in its place "
            "(generated trajectories may come first, what they are held against second)"
        )


def read_long_trajectory(
    path: Path, stride: int = 1, like: tuple[System, Path] | None = None, directions: Directions | None = None
) -> Trajectory:
    """Return a whole stream, in the units of another; raise UserError where no piece is long enough to say anything."""
    whole = read_trajectory(path, stride=stride, like=like, directions=directions)
    if whole.longest_segment < LEAST_FRAMES:
        raise UserError(f"{path} has {whole.n_frames} frames; at least {LEAST_FRAMES} in one piece are needed")
    return whole


def require_same_melt(system: System, path: Path, other: System, other_path: Path) -> None:
    """Raise UserError where two streams are told to be of different chains, or in units without a common measure."""
    if None not in (system.n_beads, other.n_beads) and system.n_beads != other.n_beads:
        raise UserError(f"{path} has n_beads {system.n_beads}, {other_path} has {other.n_beads}: not the same melt")
    for what in ("types", "edges"):
        mine, its = getattr(system, what), getattr(other, what)
        if mine and its and mine != its:
            raise UserError(
                f"{path} is of '{system.main_name}', {other_path} of '{other.main_name}', whose beads have other "
                f"{what}: not the same molecules"
            )
    unit_factors(system, path, other, other_path)


def shared_frames(whole: Trajectory, md: Trajectory) -> Int64:
    """Return the numbers of frames that are also in ``md``; centres of mass tell them, to single precision."""
    own = {com.tobytes() for block in md.frames() for com in block.com.astype(np.float32)}
    every = (com for block in whole.frames() for com in block.com.astype(np.float32))
    shared = [i for i, com in enumerate(every) if com.tobytes() in own]
    return np.array(shared, dtype=np.int64)


def _longer_rest(
    whole: Trajectory, path: Path, start: int, stop: int, like: tuple[System, Path]
) -> tuple[Trajectory | None, str]:
    """Return the longer one of the stretches before frame ``start`` and from ``stop`` on, None where both are empty."""
    n_frames, directions = whole.n_frames, whole.directions
    if n_frames - stop >= start:
        rest = read_trajectory(path, stop, like=like, directions=directions) if stop < n_frames else None
        return rest, "after the hand-off"
    return read_trajectory(path, 0, start, like=like, directions=directions), "before those that D was fitted to"
