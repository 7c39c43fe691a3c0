"""Modes that live far longer than the memory: their linear core reaches back over three memories.

A core of order m goes on beyond m as the last frames say, which is right for exponential modes and makes stretched ones
relax too soon: by 4% at five times the memory, 10% at eleven, 20% at thirty (docs/accuracy.md). Orders up to 3m mend
most of it; their noise would cost modes that relax sooner more than it brings.
"""

from __future__ import annotations

import numpy as np

from mlgle_lammps.records import Float64, Int64
from mlgle_lammps.surrogates.ml_gle.autoregressive import (
    choose_core,
    estimable_order,
    fit_core,
    relaxation_lags,
    segment_slices,
)
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore

LONG_LIVED = 4
"""Memories that a mode must outlive."""
REACH = 3
"""Memories that its core looks back."""


def reach_beyond(
    core: LinearCore, widths: tuple[float, ...], y: Float64, segments: Int64, n_train: int, memory: int
) -> tuple[LinearCore, tuple[float, ...], list[str]]:
    """Return the core with longer orders for modes that outlive the memory, the smoothing widths, and notes.

    Args:
        core: fitted to all frames with orders up to the memory.
        widths: of its smoothing, per mode.
        y: (time, chain, mode, d) in units of σ_z.
        segments: (time,).
        n_train: frames that orders are fitted on, to be judged on those after.
        memory: m.

    Limit: where no mode lives four memories the core itself.
    """
    slow = np.flatnonzero(relaxation_lags(core, LONG_LIVED * memory + 1) > LONG_LIVED * memory)
    if not len(slow):
        return core, widths, []
    names = f"mode {slow[0] + 1} lives" if len(slow) == 1 else f"modes {slow[0] + 1} to {slow[-1] + 1} live"
    note = f"{names} more than {LONG_LIVED} times the memory of {memory} frames"
    judged = max((own.stop - own.start for own in segment_slices(segments) if own.stop > n_train), default=0)
    reach = min(estimable_order(segments[:n_train], REACH * memory), judged - 1)
    if reach <= memory:
        return core, widths, [f"{note}, and frames are too few to look back further: raise --memory and give more"]
    own = y[:, :, slow]
    choice = choose_core(own, segments, n_train, reach)
    longer = fit_core(own, segments, choice.orders, choice.widths, reach)
    orders, chosen, rows = list(core.orders), list(widths), []
    for place, mode in enumerate(slow.tolist()):
        orders[mode], chosen[mode] = choice.orders[place], choice.widths[place]
    longest = max(orders)
    for mode in range(core.n_modes):
        of, row = (longer, slow.tolist().index(mode)) if mode in slow else (core, mode)
        found = of.coefficients[row][:longest]
        rows.append(np.pad(found, (0, longest - len(found))))
    variance = core.innovation_variance.copy()
    variance[slow] = longer.innovation_variance
    reached = ", ".join(str(orders[mode]) for mode in slow)
    note += f": cores look back {reached} frames, and relaxation times may still come out some per cent short"
    return (
        LinearCore(np.array(rows), tuple(orders), variance),
        tuple(chosen),
        [f"{note}; raise --memory for better ones"],
    )
