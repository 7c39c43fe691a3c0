"""Recorded streams that are of one run, as one stream: repeated frames once, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlgle_lammps.records import SAME_DT, Float64, Frames
from mlgle_lammps.store.recording import Recording, checked_blocks, open_recording
from mlgle_lammps.store.same_run import FrameMarks, Track, join_tracks

FAR = 5.0
"""Steps between neighbouring frames, root mean square, up to which a centre goes on from one recording to the next."""


def join_recordings(given: Sequence[Path | Recording]) -> list[Path | Recording]:
    """Return the recordings, those of one run joined; each one's frames are read once for that.

    Recordings of different melts, which cannot be pooled, are returned as they are.

    Args:
        given: paths of recorded streams, or recordings that are open.

    Raises:
        UserError: a recording is missing or damaged, or two hold the same frames in another order.
    """
    files: dict[Path, Path | Recording] = {}
    lines = []
    for entry in given:
        path = entry.path if isinstance(entry, Recording) else entry
        if path.resolve() in files:
            lines.append(f"{path} was given twice: it is taken once")
        files.setdefault(path.resolve(), entry)
    entries = list(files.values())
    opened = [entry if isinstance(entry, Recording) else open_recording(entry) for entry in entries]
    comparable = all(recording.system.n_modes for recording in opened)  # frames are told by their modes
    if comparable and len({recording.system.n_chains for recording in opened}) == 1 and len(opened) > 1:
        tracks = _tracks(opened)
        runs = join_tracks(tracks, [recording.system.source for recording in opened])
        spans = [len(track) * recording.system.dt for track, recording in zip(tracks, opened, strict=True)]
        entries = [
            entries[min(run.members)] if len(run.members) == 1 else _recording(run, opened, spans) for run in runs
        ]
    if lines:
        first = entries[0] if isinstance(entries[0], Recording) else open_recording(entries[0])
        entries[0] = _saying(first, lines, [])
    return entries


def _tracks(opened: Sequence[Recording]) -> list[Track]:
    n_modes = min(recording.system.n_modes for recording in opened)
    marks = FrameMarks(opened[0].system.n_chains, n_modes)
    unit = opened[0].system.dt
    return [_track(source, recording, marks, unit) for source, recording in enumerate(opened)]


def _track(source: int, recording: Recording, marks: FrameMarks, unit: float) -> Track:
    """Return the frames that have modes, placed in units of the first recording's Δt."""
    found, steps = [np.zeros((0, 0))], [np.zeros(0, dtype=np.int64)]
    for block in checked_blocks(recording):
        if block.modes.shape[2]:
            found.append(marks(block.modes))
            steps.append(block.steps)
    counted, system = np.concatenate(steps), recording.system
    now = counted / system.every * (system.dt / unit) if system.every > 1 else None  # 1 where it is not known
    if now is None:
        return Track.of_source(source, np.concatenate(found[1:]))
    return Track.of_source(source, np.concatenate(found[1:]), now)


def _recording(run: Track, opened: Sequence[Recording], spans: Sequence[float]) -> Recording:
    """Return recordings of one run as one; the longest of them where they have not one and the same spacing."""
    used = list(dict.fromkeys(run.sources.tolist()))
    dt = opened[used[0]].system.dt
    ahead = np.diff(run.now) * opened[0].system.dt / dt
    even = all(abs(opened[source].system.dt - dt) <= SAME_DT * dt for source in used) and (ahead > 1 - 1e-3).all()
    if len(used) > 1 and not even:
        longest = max(used, key=spans.__getitem__)
        others = ", ".join(opened[source].system.source for source in sorted(run.members - {longest}))
        line = f"{others}: of the same run as {opened[longest].system.source} at another spacing, and left out"
        return _saying(opened[longest], [line], [])
    warnings = [
        f"{opened[source].system.source} holds the same frames as "
        f"{opened[used[0]].system.source if len(used) == 1 else 'the other recordings'}: it is left out"
        for source in sorted(run.members - set(used))
    ]
    if len(used) == 1:
        return _saying(opened[used[0]], warnings, [])
    names = ", ".join(opened[source].system.source for source in used)
    notes = [f"{names} are parts of one run and are read as one stream"]
    if run.repeated:
        notes[0] += f"; {run.repeated} frames that are in two of them are taken once"
    if run.replaced:
        warnings.append(
            f"{opened[used[0]].system.source}: {run.replaced} frames after a restart's beginning are left out for "
            "those of the part that was started there"
        )
    parts = [opened[source] for source in used]
    if others := ", ".join(repr(own.name) for own in parts[0].system.others):
        warnings.append(
            f"{names}: parts that are joined keep {parts[0].system.main_name!r} alone, and its own centre in place of "
            f"the system's; {others} are left out: replay one part by itself for these"
        )
    system = replace(
        parts[0].system,
        n_modes=min(part.system.n_modes for part in parts),
        source=names,
        channels=("com", "modes"),
        others=(),
    )
    stream = _Stream(run, opened, system.n_modes, system.every, opened[0].system.dt / dt)
    return _saying(Recording(parts[0].path, system, stream.read), warnings, notes)


def _saying(recording: Recording, warnings: Sequence[str], notes: Sequence[str]) -> Recording:
    """Return the recording with further lines."""
    before = recording.warnings
    return replace(
        recording,
        system=replace(recording.system, notes=(*recording.system.notes, *notes)),
        warnings=lambda: (*before(), *warnings),
    )


@dataclass(frozen=True)
class _Stream:
    """The frames of several recordings of one run, in the order of time."""

    run: Track
    opened: Sequence[Recording]
    n_modes: int
    every: int
    in_frames: float

    def read(self) -> Iterator[Frames]:
        """Yield blocks; a new segment begins where frames are missing, or a centre's place cannot be told."""
        run = self.run
        places = np.rint((run.now - run.now[0]) * self.in_frames).astype(np.int64)
        first_step = round(float(run.now[0]) * self.in_frames * self.every) if run.stamped else 0
        starts = np.flatnonzero(np.diff(run.sources, prepend=-1) != 0)
        segment, place, last, step = -1, 0, None, 0.0
        for start, stop in zip(starts, np.append(starts[1:], len(run)), strict=True):
            recording, numbers = self.opened[int(run.sources[start])], run.numbers[start:stop]
            shift: Float64 | float = 0.0
            own: int | None = None
            for skipped, block, number in _picked(recording, int(numbers[0]), int(numbers[-1]) + 1):
                at = start + int(np.searchsorted(numbers, number))
                if own is None:
                    goes_on = last is not None and places[at] == place + 1
                    found = self._shift(last, skipped, block.com[0], step) if goes_on and last is not None else None
                    segment, shift = (segment, found) if found is not None else (segment + 1, 0.0)
                else:
                    segment += int(block.segments[0]) - own
                com, steps = block.com + shift, block.com[1:] - block.com[:-1]
                segments = segment + block.segments - block.segments[0]
                placed = places[at : at + len(block)]
                yield Frames.of_chains(
                    first_step + placed * self.every, segments, com, block.modes[:, :, : self.n_modes].copy()
                )
                own, segment = int(block.segments[-1]), int(segments[-1])
                place, last = int(placed[-1]), com[-1]
                step = float(np.sqrt((steps**2).mean())) if len(steps) else step

    @staticmethod
    def _shift(last: Float64, skipped: Float64 | None, first: Float64, step: float) -> Float64 | float | None:
        """Return what takes the next recording's centres to where the ones before are; None where nothing tells it.

        Args:
            last: (chain, 3) centres of the frame before.
            skipped: the same by the next recording, where it has it.
            first: its first frame that is used.
            step: of centres between two frames, root mean square.
        """
        if np.abs(first - last).max() <= FAR * step:
            return 0.0
        if skipped is None:
            return None
        apart: Float64 = last - skipped
        moved: Float64 = first - skipped
        return apart if np.abs(moved).max() <= FAR * step else None


def _picked(recording: Recording, start: int, stop: int) -> Iterator[tuple[Float64 | None, Frames, int]]:
    """Yield the frames start..stop-1 in blocks, each with the centres before it and its first frame's number."""
    number, before = 0, None
    for block in checked_blocks(recording):
        first, end = max(start - number, 0), min(stop - number, len(block))
        if first < end:
            yield (block.com[first - 1] if first else before), block[first:end], number + first
        before, number = block.com[-1], number + len(block)
        if number >= stop:
            return
