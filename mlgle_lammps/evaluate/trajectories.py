"""Recorded and generated trajectories, read group of chains by group, so that no file is too large for the memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.units import recording_in_units
from mlgle_lammps.records import Float32, Float64, Frames, Int64, System, joined
from mlgle_lammps.statistics.correlation import chain_groups
from mlgle_lammps.statistics.pieces import longest_piece
from mlgle_lammps.statistics.species_moments import centers_of, mass_shares
from mlgle_lammps.store.recorded import with_main
from mlgle_lammps.store.recording import Recording, checked_blocks, open_recording

_BYTES_AT_ONCE = 2**29


@dataclass(frozen=True)
class ChainGroup:
    """Paths of some of the chains, over all frames.

    Attributes:
        com: (time, chain, d) float64, the motion of the whole system removed.
        modes: (mode time, chain, mode, d) float32; fewer frames than ``com`` where modes were not kept to the end.
    """

    com: Float64
    modes: Float32


@dataclass(frozen=True)
class Trajectory:
    """A stretch of a stream that is described here and read when it is needed.

    Attributes:
        system: what it is about; chains are trajectories in a generated one.
        start: its first frame in the recording.
        segments: (time,) segment of every frame.
        n_mode_frames: frames that have modes; they come first.
        center: (time, d) centre of mass of the whole system, raw.
        ends: (2, chain, d) centres of mass in the first and the last frame, raw.
        stride: of the recording's frames, each so many-th is here.
        directions: whose d columns are here.
    """

    system: System
    start: int
    segments: Int64
    n_mode_frames: int
    center: Float64
    ends: Float64
    _recording: Recording
    stride: int = 1
    directions: Directions = ALL_FREE

    @property
    def n_frames(self) -> int:
        """Frames in the stretch."""
        return len(self.segments)

    @property
    def longest_segment(self) -> int:
        """Frames of its longest uninterrupted piece."""
        return longest_piece(self.segments)

    def groups(self) -> Iterator[ChainGroup]:
        """Yield the paths of about twenty groups of chains; holds half a GiB of them at a time."""
        for held in self._held_together(chain_groups(self.system.n_chains)):
            first, last = int(held[0][0]), int(held[-1][-1]) + 1
            com, modes = self._load(first, last)
            for group in held:
                own = slice(int(group[0]) - first, int(group[-1]) + 1 - first)
                yield ChainGroup(com[:, own] - self.center[:, None], modes[:, own])

    def _held_together(self, chains: list[Int64]) -> Iterator[list[Int64]]:
        per_chain = self.n_frames * 24 + self.n_mode_frames * self.system.n_modes * 12
        at_once = max(1, _BYTES_AT_ONCE // (per_chain * len(chains[0])))
        for first in range(0, len(chains), at_once):
            yield chains[first : first + at_once]

    def _load(self, first: int, last: int) -> tuple[Float64, Float32]:
        com = np.empty((self.n_frames, last - first, self.directions.n))
        shape = (self.n_mode_frames, last - first, self.system.n_modes, self.directions.n)
        modes = np.empty(shape, dtype=np.float32)
        done = with_modes = 0
        for chunk in self._blocks():
            n, m = len(chunk.steps), min(len(chunk.steps), self.n_mode_frames - with_modes)
            com[done : done + n] = chunk.com[:, first:last]
            if m > 0:
                modes[with_modes : with_modes + m] = chunk.modes[:m, first:last]
                with_modes += m
            done += n
        return com, modes

    def _blocks(self) -> Iterator[Frames]:
        left = self.n_frames
        for block in _thinned(_stretch(self._recording, self.start, None), self.stride):
            yield block[:left].along(self.directions)
            left -= len(block)
            if left <= 0:
                return

    def frames(self, n_modes: int = 0) -> Iterator[Frames]:
        """Yield the frames in blocks with modes 1..n_modes, raw; as many as have them, all where n_modes is 0."""
        left = self.n_mode_frames if n_modes else self.n_frames
        for block in self._blocks():
            if left > 0:
                yield block[:left].first_modes(n_modes)
            left -= len(block)

    def window(self) -> Frames:
        """Return all frames that have modes in one piece; for stretches that fit in the memory."""
        return joined(list(self.frames(self.system.n_modes)))


def open_of_species(path: Path, system: System) -> Recording:
    """Return a recording whose main species is that of ``system`` where it holds it, as it is where it does not."""
    recording = open_recording(path)
    named = [own.name for own in recording.system.others if "modes" in own.channels]
    return with_main(recording, system.main_name) if system.main_name in named else recording


def read_trajectory(
    path: Path,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
    like: tuple[System, Path] | None = None,
    directions: Directions | None = None,
) -> Trajectory:
    """Return frames start..stop-1 of a recording, checked, described and not kept.

    Args:
        path: modes.h5, generated.h5, a run's folder or an .npz.
        start: first frame.
        stop: one after the last; None for the end.
        stride: take each so many-th frame of every uninterrupted piece, from its first one on.
        like: system whose main species is taken where there are several and in whose units frames are given, and where
            that is from; None for their own.
        directions: that are taken; None takes those that the recording says are free.

    Raises:
        UserError: a file that is missing, damaged or not a stream, no frame in the stretch, or units that cannot be
            brought to those.
    """
    recording = (
        open_recording(path) if like is None else recording_in_units(open_of_species(path, like[0]), path, *like)
    )
    directions = directions or recording.system.directions
    segments, center, n_mode_frames = [], [], 0
    shares = mass_shares(recording.system.species) if recording.system.others else None
    ends: list[Float64] = []
    for block in _thinned(_stretch(recording, start, stop), stride):
        chunk = block.along(directions)
        segments.append(chunk.segments)
        center.append(chunk.com.mean(axis=1) if shares is None else centers_of(chunk, shares))
        ends = [ends[0] if ends else chunk.com[0], chunk.com[-1]]
        n_mode_frames += len(chunk.steps) if chunk.modes.shape[2] else 0
    if not ends:
        raise UserError(f"{path} has no frame from number {start} on")
    system = recording.system
    return Trajectory(
        replace(system, dt=system.dt * stride, every=system.every * stride),
        start,
        np.concatenate(segments),
        n_mode_frames,
        np.concatenate(center),
        np.array(ends),
        recording,
        stride,
        directions,
    )


def require_directions(generated: Directions, path: Path, wanted: Directions) -> None:
    """Raise UserError where generated trajectories lack a direction that is looked at."""
    if missing := [axis for axis in wanted.free if axis not in generated.free]:
        raise UserError(
            f"{path} was generated along {generated.free} alone, and {', '.join(missing)} is asked for: run mlgle "
            f"generate again, or give `directions` {generated.free}"
        )


def _stretch(recording: Recording, start: int, stop: int | None) -> Iterator[Frames]:
    """Yield the recording's blocks cut to frames start..stop-1."""
    done = 0
    for chunk in checked_blocks(recording):
        first, last = max(start - done, 0), len(chunk.steps) if stop is None else min(stop - done, len(chunk.steps))
        if first < last:
            yield chunk[first:last]
        done += len(chunk.steps)
        if stop is not None and done >= stop:
            return


def _thinned(blocks: Iterator[Frames], stride: int) -> Iterator[Frames]:
    """Yield each ``stride``-th frame of every segment, from its first one on."""
    if stride == 1:
        yield from blocks
        return
    segment: int | None = None
    age = 0
    for block in blocks:
        keep = []
        for i, number in enumerate(block.segments.tolist()):
            age = age + 1 if number == segment else 0
            segment = number
            if age % stride == 0:
                keep.append(i)
        if keep:
            yield block[np.array(keep, dtype=np.int64)]
