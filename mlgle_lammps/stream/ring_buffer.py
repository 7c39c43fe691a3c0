"""The last frames of a stream, in memory allocated once."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.records import Frame, Window


class GapError(ValueError):
    """A frame does not follow the one before it at the stream's stride."""


class RingBuffer:
    """Hold the last ``capacity`` frames of all chains and hand out copies of them, or views.

    Within a segment each frame must lie exactly one stride after the one before; a new segment has a higher number
    and may start at any later step. With capacity 1 the buffer is just the last frame. Not locked: one thread owns it.

    Attributes:
        capacity: frames that fit.
        n_appended: frames appended so far, those overwritten included.
    """

    def __init__(self, capacity: int, n_chains: int, n_modes: int, stride: int | None = None) -> None:
        """Allocate the buffer.

        Args:
            capacity: frames to hold, at least 1.
            n_chains: chains per frame.
            n_modes: modes 1..n_modes per chain.
            stride: MD steps between two frames; None takes it from the first two frames of one segment.

        Raises:
            ValueError: capacity or stride below 1, or a negative size.
        """
        if capacity < 1 or n_chains < 1 or n_modes < 0:
            raise ValueError(f"ring buffer of {capacity} frames × {n_chains} chains × {n_modes} modes holds nothing")
        if stride is not None and stride < 1:
            raise ValueError(f"stride is {stride}; steps increase, so it is 1 or more")
        self.capacity = capacity
        self.n_appended = 0
        self._stride = stride
        self._steps = np.zeros(capacity, dtype=np.int64)
        self._segments = np.zeros(capacity, dtype=np.int64)
        self._com = np.zeros((capacity, n_chains, 3), dtype=np.float64)
        self._modes = np.zeros((capacity, n_chains, n_modes, 3), dtype=np.float32)

    def __len__(self) -> int:
        """Return how many frames the buffer holds now."""
        return min(self.n_appended, self.capacity)

    @property
    def stride(self) -> int | None:
        """MD steps between two frames; None before two frames of one segment have come."""
        return self._stride

    def append(self, frame: Frame) -> None:
        """Copy ``frame`` in, over the oldest one where the buffer is full.

        Raises:
            GapError: the step repeats, goes back or leaves a gap within its segment, or the segment goes back.
            ValueError: chains or modes differ from the buffer's. The buffer is unchanged in both cases.
        """
        if frame.com.shape != self._com.shape[1:] or frame.modes.shape != self._modes.shape[1:]:
            raise ValueError(
                f"frame at step {frame.step} has com {frame.com.shape} and modes {frame.modes.shape}, "
                f"the buffer holds {self._com.shape[1:]} and {self._modes.shape[1:]}"
            )
        stride = self._checked_stride(frame)
        place = self.n_appended % self.capacity
        self._steps[place] = frame.step
        self._segments[place] = frame.segment
        self._com[place] = frame.com
        self._modes[place] = frame.modes
        self._stride = stride
        self.n_appended += 1

    def window(self, n: int | None = None, copy: bool = True) -> Window:
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
        viewed = not copy and wanted <= stop
        places = np.arange(self.n_appended - wanted, self.n_appended) % self.capacity
        where = slice(stop - wanted, stop) if viewed else places
        window = Window(
            steps=self._steps[where], segments=self._segments[where], com=self._com[where], modes=self._modes[where]
        )
        if viewed:
            for array in vars(window).values():
                array.flags.writeable = False
        return window

    def _checked_stride(self, frame: Frame) -> int | None:
        """Return the stride that holds once ``frame`` is in; raise GapError where it does not follow."""
        if self.n_appended == 0:
            return self._stride
        last = (self.n_appended - 1) % self.capacity
        last_step, last_segment = int(self._steps[last]), int(self._segments[last])
        advance = frame.step - last_step
        if frame.segment < last_segment:
            raise GapError(f"step {frame.step} is in segment {frame.segment}, after one in segment {last_segment}")
        if advance <= 0:
            raise GapError(f"step {frame.step} follows step {last_step}; steps must increase")
        if frame.segment > last_segment:
            return self._stride
        if self._stride is not None and advance != self._stride:
            raise GapError(
                f"step {frame.step} follows step {last_step} in segment {frame.segment}, "
                f"{advance} steps on where the stride is {self._stride}"
            )
        return advance
