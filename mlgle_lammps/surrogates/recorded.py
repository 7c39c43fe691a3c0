"""What every surrogate asks of recorded frames before it takes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.records import CHAINS, Frames


def uninterrupted_end(frames: Frames, memory: int) -> Frames:
    """Return the last uninterrupted piece that holds a history, so that no history crosses a seam.

    Args:
        frames: in their order; a view of them is returned.
        memory: m, frames of history.

    Raises:
        UserError: no piece is so long.
    """
    for segment in np.unique(frames.segments)[::-1]:
        first, after = np.searchsorted(frames.segments, [segment, segment + 1])
        if after - first >= memory:
            return frames[first:after]
    raise UserError(f"no uninterrupted piece of the stream holds the {memory} frames of one history: lower `memory`")


def require_channels(frames: Frames, needs: Sequence[str], surrogate: str) -> None:
    """Raise UserError where the frames lack channels of the chains that a surrogate needs."""
    there = frames.channels.get(CHAINS, {})
    if missing := [name for name in needs if name not in there]:
        raise UserError(
            f"{surrogate} needs the channels {', '.join(needs)} of the chains, and the frames lack {', '.join(missing)}"
        )


def require_history(frames: Frames, memory: int, n_modes: int, n_dimensions: int = 3) -> None:
    """Raise UserError where frames are not one whole piece, m or more, with k modes of d columns and a chain."""
    shape = tuple(frames.modes.shape)
    if shape[0] < memory or shape[1] < 1 or shape[2:] != (n_modes, n_dimensions):
        raise UserError(
            f"starting history has shape {shape}; {memory} frames or more of {n_modes} modes are needed, and a chain"
        )
    if frames.segments[0] != frames.last_segment:
        raise UserError(
            f"starting history was interrupted: it spans segments {frames.segments[0]} to {frames.last_segment}"
        )
