"""Trajectory files that are parts of one run, as one trajectory: repeated frames once, in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.atom_places import AtomPlaces
from mlgle_lammps.chains.bond_walk import BondWalk
from mlgle_lammps.chains.laplacian import mode_rows
from mlgle_lammps.chains.molecule_sums import Block
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_frames import BeadFrame, BeadTrajectory, Stamp, Warn
from mlgle_lammps.formats.changing_box import fractions_of
from mlgle_lammps.formats.clock import SINGLE, UNEVEN, Clock
from mlgle_lammps.formats.frame_plan import in_order
from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.store.same_run import FrameMarks, Track, join_tracks

MODES = 8
"""Modes by which frames are told apart."""


def join_runs(trajectories: Sequence[BeadTrajectory], chains: Block) -> list[BeadTrajectory]:
    """Return the trajectories, those that are parts of one run joined; each file's frames are read once for that.

    Args:
        trajectories: as the files give them.
        chains: (chain, bead) atom ids.

    Raises:
        UserError: parts of one run in different units, in another order, or unevenly spaced without steps or times.
    """
    distinct, notes = _distinct_files(trajectories)
    if len(distinct) < 2:
        return [replace(distinct[0], warnings=(*distinct[0].warnings, *notes))]
    reader = _Marks(chains)
    read = [(trajectory, trajectory.read_stamps()) for trajectory in distinct]
    kind = _common_clock([stamps for _, stamps in read])
    tracks = [
        _track(source, trajectory.path, reader(trajectory), stamps, kind)
        for source, (trajectory, stamps) in enumerate(read)
    ]
    files = [replace(trajectory, stamps=stamps.copy) for trajectory, stamps in read]
    runs = join_tracks(tracks, [str(file.path) for file in files])
    joined = [files[min(run.members)] if len(run.members) == 1 else _joined(run, files, kind) for run in runs]
    joined[0] = replace(joined[0], warnings=(*joined[0].warnings, *notes))
    return joined


def _distinct_files(trajectories: Sequence[BeadTrajectory]) -> tuple[list[BeadTrajectory], list[str]]:
    """Return the trajectories without those of which the very file was named before."""
    distinct: dict[Path, BeadTrajectory] = {}
    notes = []
    for trajectory in trajectories:
        first = distinct.setdefault(trajectory.path.resolve(), trajectory)
        if first is not trajectory:
            notes.append(f"{trajectory.path} is the same file as {first.path}: it is taken once")
    return list(distinct.values()), notes


class _Marks:
    """Reads files and reduces their frames to what tells them apart."""

    def __init__(self, chains: Block) -> None:
        self._places, self._shape = AtomPlaces(chains.ids.T.ravel()), chains.ids.shape
        n_chains, n_beads = chains.ids.shape
        n_modes, self._walk = min(MODES, n_beads - 1), BondWalk(n_beads, chains.edges)
        self._marks, self._matrix = FrameMarks(n_chains, n_modes), mode_rows(n_beads, chains.edges, n_modes)

    def __call__(self, trajectory: BeadTrajectory) -> Float64:
        """Return (frame, sum); NaN for frames that lack beads, of which reading says more."""
        found = [self._of_frame(frame) for frame in trajectory.frames(lambda line: None)]
        return np.array(found).reshape(len(found), -1)

    def _of_frame(self, frame: BeadFrame) -> Float64:
        n_chains, n_beads = self._shape
        slots = self._places(frame.ids)
        beads = np.full((n_chains * n_beads, 3), np.nan)
        beads[slots[slots >= 0]] = frame.positions[slots >= 0]
        bonds = self._walk.bonds(beads.reshape(n_beads, n_chains, 3))
        if frame.cell is not None and frame.cell.any():
            with np.errstate(invalid="ignore"):
                bonds = bonds - np.rint(fractions_of(bonds, frame.cell)) @ frame.cell
        whole = np.concatenate([np.zeros((1, n_chains, 3)), self._walk.along(bonds)])
        modes = np.einsum("mb,bcx->cmx", self._matrix, whole)[:, 1:]
        return self._marks(modes[np.newaxis])[0]


def _common_clock(files: Sequence[Sequence[Stamp]]) -> str:
    """Return "step", "time" or "frame": what says in all files when frames are."""
    for kind in ("step", "time"):
        told = [[getattr(stamp, kind) for stamp in stamps] for stamps in files]
        if all(None not in own and (len(own) < 2 or len(set(own)) > 1) for own in told):
            return kind
    return "frame"


def _track(source: int, path: Path, marks: Float64, stamps: Sequence[Stamp], kind: str) -> Track:
    """Return a file's frames in the order of time, without those that were written again later."""
    n = min(len(marks), len(stamps))  # a file that grows
    now, kept = None, np.arange(n)
    if kind != "frame" and n:
        times = np.array([float(getattr(stamp, kind)) for stamp in stamps[:n]])
        kept, _, _ = in_order(path, Clock(kind, times, None), 0)
        now = times[kept]
    good = np.isfinite(marks[kept]).all(axis=1)
    return Track.of_source(source, marks[kept][good], None if now is None else now[good], kept[good])


@dataclass(frozen=True)
class _Pick:
    """A frame of a joined trajectory: of which file, its number there, and when it is."""

    source: int
    number: int
    stamp: Stamp


def _joined(run: Track, files: Sequence[BeadTrajectory], kind: str) -> BeadTrajectory:
    """Return the files of a run as one trajectory."""
    used = list(dict.fromkeys(run.sources.tolist()))
    first = files[used[0]]
    for source in used[1:]:
        if (files[source].units, files[source].length_unit) != (first.units, first.length_unit):
            raise UserError(f"{files[source].path} is in other units than {first.path}")
    said = _lines(run, files, used)
    if len(used) == 1 and len(run) == len(first.read_stamps()):
        return replace(first, warnings=(*first.warnings, *said[0]), notes=(*first.notes, *said[1]))
    picks = [
        _Pick(source, number, stamp)
        for source, number, stamp in zip(
            run.sources.tolist(), run.numbers.tolist(), _restamped(run, files, kind), strict=True
        )
    ]
    name = first.path.name if len(used) == 1 else f"{first.path.name}..{files[used[-1]].path.name}"
    return replace(
        first,
        path=first.path.with_name(name),
        frames=_reading(files, picks),
        stamps=[pick.stamp for pick in picks].copy,
        notes=(*dict.fromkeys(note for source in used for note in files[source].notes), *said[1]),
        warnings=(*dict.fromkeys(line for source in used for line in files[source].warnings), *said[0]),
    )


def _lines(run: Track, files: Sequence[BeadTrajectory], used: Sequence[int]) -> tuple[list[str], list[str]]:
    """Return warnings and notes of what was joined."""
    whole = files[used[0]].path if len(used) == 1 else "the other files"
    warnings = [
        f"{files[source].path} holds the same frames as {whole}: it is left out"
        for source in sorted(run.members - set(used))
    ]
    notes = []
    if len(used) > 1:
        names = ", ".join(str(files[source].path) for source in used)
        line = f"{names} are parts of one run and are read as one stream"
        if run.repeated:
            line += f"; {run.repeated} frames that are in two of them are taken once"
        notes.append(line)
    if run.replaced:
        warnings.append(
            f"{files[used[0]].path}: {run.replaced} frames after a restart's beginning are left out for those of the "
            "part that was started there"
        )
    if run.shifted & set(used):
        again = ", ".join(str(files[source].path) for source in sorted(run.shifted & set(used)))
        notes.append(f"{again}: steps or times begin anew there; frames were placed by what they show")
    return warnings, notes


def _restamped(run: Track, files: Sequence[BeadTrajectory], kind: str) -> list[Stamp]:
    """Return when the frames of a joined trajectory are."""
    if kind == "frame":
        ahead = np.diff(run.now)
        if len(ahead) and np.ptp(ahead) > UNEVEN * ahead.mean():
            names = ", ".join(str(files[source].path) for source in sorted(run.members))
            raise UserError(
                f"{names} are parts of one run, unevenly spaced, and nothing in them says when frames are: give one "
                "file whose frames are --dt apart"
            )
        return [Stamp(None, None)] * len(run)
    if kind == "time":
        return [Stamp(None, float(f"{moment:.9g}")) for moment in run.now]
    told = {source: files[source].read_stamps() for source in set(run.sources.tolist())}
    stamps = []
    for source, number, moment in zip(run.sources.tolist(), run.numbers.tolist(), run.now.tolist(), strict=True):
        moved = source in run.shifted
        stamps.append(Stamp(round(moment), None) if moved else told[source][number])
    return stamps


def _reading(files: Sequence[BeadTrajectory], picks: Sequence[_Pick]) -> Callable[[Warn], Iterator[BeadFrame]]:
    """Return what yields the picked frames, each file read once from its beginning on."""
    last = {pick.source: i for i, pick in enumerate(picks)}

    def frames(warn: Warn) -> Iterator[BeadFrame]:
        opened: dict[int, _File] = {}
        before: BeadFrame | None = None
        for i, pick in enumerate(picks):
            if pick.source not in opened:
                opened[pick.source] = _File(files[pick.source].frames(warn))
            file = opened[pick.source]
            skipped, frame = file.at(pick.number)
            if before is not None and not file.aligned:
                file.align(before, skipped, frame)
            file.aligned = True
            before = replace(file.moved(frame), step=pick.stamp.step, time=pick.stamp.time)
            yield before
            if last[pick.source] == i:
                file.close()

    return frames


class _File:
    """A file that is read on, whose image flags may begin anew."""

    def __init__(self, frames: Iterator[BeadFrame]) -> None:
        self._frames, self._next = frames, 0
        self._boxes: tuple[Int64, Int64] | None = None
        self.aligned = False

    def at(self, number: int) -> tuple[BeadFrame | None, BeadFrame]:
        """Return the frame before the one with this number, where that was passed over, and the frame."""
        skipped = None
        for frame in self._frames:
            self._next += 1
            if self._next > number:
                return skipped, frame
            skipped = frame
        raise UserError("a trajectory became shorter while it was read")

    def align(self, before: BeadFrame, skipped: BeadFrame | None, frame: BeadFrame) -> None:
        """Find how many boxes atoms are off, as flags are that begin anew, from the frame before the first one here.

        The frame that was passed over is the frame before, where it shows the same, and else the first one is near.
        """
        for own in (skipped, frame):
            if own is None or own.cell is None or not own.cell.any() or not (own.unwrapped or own.images is not None):
                continue
            ids, here, there = np.intersect1d(own.ids, before.ids, return_indices=True)
            off = fractions_of(_lengths(before)[there] - _lengths(own)[here], own.cell)
            boxes = np.rint(off).astype(np.int64)
            if own is skipped and np.median(np.abs(off - boxes)) > SINGLE**0.5:
                continue  # it is another frame
            if boxes.any():
                self._boxes = ids, boxes
            return

    def moved(self, frame: BeadFrame) -> BeadFrame:
        """Return the frame with its atoms in the boxes that the frames before have them in."""
        if self._boxes is None or frame.cell is None:
            return frame
        ids, boxes = self._boxes
        place = np.minimum(np.searchsorted(ids, frame.ids), len(ids) - 1)
        found = np.where((ids[place] == frame.ids)[:, np.newaxis], boxes[place], 0)
        if frame.images is not None and not frame.unwrapped:
            return replace(frame, images=frame.images + found)
        return replace(frame, positions=frame.positions + found @ frame.cell)

    def close(self) -> None:
        """Close the file."""
        if (close := getattr(self._frames, "close", None)) is not None:
            close()


def _lengths(frame: BeadFrame) -> Float64:
    """Return positions with image flags applied."""
    if frame.images is None or frame.unwrapped or frame.cell is None:
        return frame.positions
    return frame.positions + frame.images @ frame.cell
