"""Files of one frame each (``dump .. dump.*.lammpstrj``) as one trajectory, in the order of their steps or names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path

from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame, BeadTrajectory, Stamp, Warn


def natural_order(path: Path) -> list[tuple[int, int | str]]:
    """Return a key that sorts names as people do: dump.9 before dump.10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", str(path)) if part]


def matching_paths(path: Path) -> list[Path]:
    """Return the files that a pattern names (dump.*.lammpstrj) in natural order; a path that is there as it is.

    Raises:
        UserError: a pattern that no file matches.
    """
    if path.exists() or not set("*?[") & set(str(path)):
        return [path]
    found = sorted((Path(name) for name in glob(str(path))), key=natural_order)
    if not found:
        raise UserError(f"{path}: no file matches")
    return found


def join_single_frames(trajectories: Sequence[BeadTrajectory]) -> list[BeadTrajectory]:
    """Return the trajectories, those of one frame each joined into one where there are several of them.

    Raises:
        UserError: files of one frame that are in different units.
    """
    if len(trajectories) < 2:
        return list(trajectories)
    read = [(trajectory, trajectory.read_stamps()) for trajectory in trajectories]
    single = [(trajectory, stamps[0]) for trajectory, stamps in read if len(stamps) == 1]
    others = [replace(trajectory, stamps=stamps.copy) for trajectory, stamps in read if len(stamps) > 1]
    empty = [trajectory.path for trajectory, stamps in read if not stamps]
    if len(single) < 2:
        return [replace(trajectory, stamps=stamps.copy) for trajectory, stamps in read]
    return [_joined(single, empty), *others]


def _joined(single: Sequence[tuple[BeadTrajectory, Stamp]], empty: Sequence[Path]) -> BeadTrajectory:
    first = single[0][0]
    for trajectory, _ in single:
        if (trajectory.units, trajectory.length_unit) != (first.units, first.length_unit):
            raise UserError(f"{trajectory.path} is in other units than {first.path}")
    named = sorted(single, key=lambda entry: natural_order(entry[0].path))
    steps = [stamp.step for _, stamp in named]
    if None not in steps and len(set(steps)) > 1:
        named = sorted(named, key=lambda entry: entry[1].step or 0)

    def frames(warn: Warn) -> Iterator[BeadFrame]:
        for trajectory, _ in named:
            yield from trajectory.frames(warn)

    last = named[-1][0].path
    notes = (
        f"{len(named)} files of one frame each, {named[0][0].path} to {last}, are read as one trajectory",
        *(f"{path} holds no whole frame and is left out" for path in empty),
        *first.notes,
    )
    path = named[0][0].path.with_name(f"{named[0][0].path.name}..{last.name}")
    return replace(first, path=path, frames=frames, stamps=[stamp for _, stamp in named].copy, notes=notes)
