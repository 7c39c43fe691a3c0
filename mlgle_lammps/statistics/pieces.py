"""Uninterrupted pieces of a stream: frames of one segment number, across which nothing is correlated."""

from __future__ import annotations

import numpy as np

from mlgle_lammps.records import Int64


def longest_piece(segments: Int64) -> int:
    """Return the frames of the longest uninterrupted piece; 0 where there are no frames.

    Args:
        segments: (time,) number of each frame's piece.
    """
    return int(np.unique(segments, return_counts=True)[1].max(initial=0))
