"""The last frames of a stream, in memory allocated once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import CHANNELS, Frames, Species


class GapError(ValueError):
    """A frame does not follow the one before it at the stream's stride."""


class RingBuffer:
    """Hold some channels of the last ``capacity`` frames and hand out copies of them, or views.

    Within a segment each frame must lie exactly one stride after the one before; a new segment has a higher number
    and may start at any later step. With capacity 1 the buffer is just the last frame. Not locked: one thread owns it.

    Attributes:
        capacity: frames that fit.
        n_appended: frames appended so far, those overwritten included.
    """

    def __init__(self, capacity: int, species: Sequence[Species], stride: int | None = None) -> None:
        """Allocate the buffer.

        Args:
            capacity: frames to hold, at least 1.
            species: what is held of each frame: these species, of each the channels that it names.
            stride: MD steps between two frames; None takes it from the first two frames of one segment.

        Raises:
            ValueError: capacity or stride below 1, or a species of no molecules.
        """
        if (
            capacity < 1
            or not species
            or min(s.n_molecules for s in species) < 1
            or min(s.n_modes for s in species) < 0
        ):
            raise ValueError(f"ring buffer of {capacity} frames of {species} holds nothing")
        if stride is not None and stride < 1:
            raise ValueError(f"stride is {stride}; steps increase, so it is 1 or more")
        self.capacity = capacity
        self.n_appended = 0
        self._stride = stride
        self._held = Frames(
            np.zeros(capacity, dtype=np.int64),
            np.zeros(capacity, dtype=np.int64),
            {
                own.name: {name: np.zeros((capacity, *own.shape(name)), CHANNELS[name][0]) for name in own.channels}
                for own in species
            },
        )

    def __len__(self) -> int:
        """Return how many frames the buffer holds now."""
        return min(self.n_appended, self.capacity)

    @property
    def stride(self) -> int | None:
        """MD steps between two frames; None before two frames of one segment have come."""
        return self._stride

    def append(self, frames: Frames) -> None:
        """Copy frames in, over the oldest ones where the buffer is full.

        Raises:
            GapError: a step repeats, goes back or leaves a gap within its segment, or the segment goes back.
            ValueError: a channel is missing or of another shape. The frame that fails is not in the buffer.
        """
        for frame in frames:
            pairs = list(self._pairs(frame))
            stride = self._checked_stride(frame)
            place = self.n_appended % self.capacity
            self._held.steps[place], self._held.segments[place] = frame.last_step, frame.last_segment
            for held, new in pairs:
                held[place] = new[0]
            self._stride = stride
            self.n_appended += 1

    def _pairs(self, frame: Frames) -> Iterator[tuple[AnyArray, AnyArray]]:
        """Yield what is held of each channel and its values in a frame."""
        for species, channel, held in self._held.arrays():
            new = frame.channels.get(species, {}).get(channel)
            if new is None or new.shape[1:] != held.shape[1:]:
                found = None if new is None else new.shape[1:]
                raise ValueError(
                    f"frame at step {frame.last_step} has {channel} {found} of {species}, "
                    f"the buffer holds {held.shape[1:]}"
                )
            yield held, new

    def window(self, n: int | None = None, copy: bool = True) -> Frames:
        """Return the last ``n`` frames (all that are held if None), oldest first.

        Args:
            n: frames wanted.
            copy: False gives read-only views where the frames lie in one piece, which they do until the first frame
                was overwritten; the views hold until the next `append`.

        Raises:
            ValueError: more frames wanted than are held.
        """
        held = len(self)
        wanted = held if n is None else n
        if not 0 <= wanted <= held:
            raise ValueError(f"{wanted} frames wanted, the buffer holds {held}")
        stop = (self.n_appended - 1) % self.capacity + 1 if held else 0
        if copy or wanted > stop:
            return self._held[np.arange(self.n_appended - wanted, self.n_appended) % self.capacity]
        window = self._held[stop - wanted : stop]
        for array in (window.steps, window.segments, *(values for _, _, values in window.arrays())):
            array.flags.writeable = False
        return window

    def _checked_stride(self, frame: Frames) -> int | None:
        """Return the stride that holds once ``frame`` is in; raise GapError where it does not follow."""
        if self.n_appended == 0:
            return self._stride
        step, segment = frame.last_step, frame.last_segment
        last = (self.n_appended - 1) % self.capacity
        last_step, last_segment = int(self._held.steps[last]), int(self._held.segments[last])
        advance = step - last_step
        if segment < last_segment:
            raise GapError(f"step {step} is in segment {segment}, after one in segment {last_segment}")
        if advance <= 0:
            raise GapError(f"step {step} follows step {last_step}; steps must increase")
        if segment > last_segment:
            return self._stride
        if self._stride is not None and advance != self._stride:
            raise GapError(
                f"step {step} follows step {last_step} in segment {segment}, "
                f"{advance} steps on where the stride is {self._stride}"
            )
        return advance
