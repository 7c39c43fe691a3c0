"""Beads from generated modes, and their sizes against MD's.

Missing fast modes are drawn anew in each frame, so bonds move at random between frames. Chains are generated
independently: contacts between chains are not those of a melt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import default_rng  # loaded lazily, numpy.random swallows the exception of a signal

from mlgle_lammps.chains.beads import (
    SIZES,
    bead_positions,
    completed_variances,
    draw_fast_modes,
    extrapolated_variances,
    sizes_from_modes,
)
from mlgle_lammps.chains.laplacian import bond_weights
from mlgle_lammps.errors import UserError
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Float64, Frames, System
from mlgle_lammps.store.journal import require_finite
from mlgle_lammps.store.reader import FramesReader

BLOCK_FRAMES = 64


class Melt:
    """What MD says: sizes of its chains, their centres at the hand-off, and the variances of the missing modes.

    Attributes:
        system: of the MD, with its number of beads.
        sizes: (chain, size) time means, in the order of SIZES.
        centres: (chain, 3) at the hand-off, from where trajectories were generated.
        fast_variances: of modes k+1..N-1.
        source: where those are from.
    """

    def __init__(self, path: Path, n_modes: int, n_beads: int | None, start_step: int | None = None) -> None:
        """Read modes.h5.

        Args:
            path: the file.
            n_modes: k, of what is generated.
            n_beads: of a chain, where the file does not say.
            start_step: MD step of the hand-off; None takes the last frame with modes for it.

        Raises:
            UserError: it is missing, damaged, has no frame of that step, or does not say the number of beads.
        """
        with FramesReader(path) as reader:
            self.system = _with_beads(reader.system, n_beads, n_modes, path)
            beads, n_frames = self.system.n_beads or 0, reader.n_mode_frames
            if not n_frames:
                raise UserError(f"{path} has no frame with modes")
            start = n_frames - 1 if start_step is None else _frame_of(reader, start_step)
            self.centres = _read(reader, start, start + 1).com[0]
            blocks = [range(start, min(start + BLOCK_FRAMES, n_frames)) for start in range(0, n_frames, BLOCK_FRAMES)]
            squares = np.zeros(n_modes)
            sums = np.zeros((reader.system.n_chains, len(SIZES)))
            for block in blocks:
                chunk = _read(reader, block.start, block.stop)
                modes = chunk.modes[:, :, :n_modes].astype(np.float64)
                squares += np.mean(modes**2, axis=(1, 3)).sum(axis=0)
                sums += sizes_from_modes(modes, np.zeros(beads - 1 - n_modes), beads, *self._shape()).sum(axis=0)
        self.fast_variances, self.source = _fast_variances(self.system, squares / n_frames)
        none = np.zeros((n_modes, 3))
        self.sizes = sums / n_frames + sizes_from_modes(none, self.fast_variances, beads, *self._shape())

    def _shape(self) -> tuple[tuple[tuple[int, int], ...], tuple[float, ...]]:
        return self.system.edges, self.system.eigenvalues


def _frame_of(reader: FramesReader, step: int) -> int:
    """Return the frame of an MD step; raise UserError where there is none with modes."""
    frame = int(np.searchsorted(reader.steps, step))
    if frame >= reader.n_mode_frames or reader.steps[frame] != step:
        raise UserError(
            f"{reader.path} has no frame with modes at step {step}, from which the trajectories were generated: put "
            "the files of one run together"
        )
    return frame


def _with_beads(system: System, n_beads: int | None, n_modes: int, path: Path) -> System:
    if system.n_beads is None and n_beads is None:
        raise UserError(f"{path} does not say how many beads a chain has: give `beads`")
    if n_beads is not None and system.n_beads not in (None, n_beads):
        raise UserError(f"`beads` {n_beads}: the chains of {path} have {system.n_beads}")
    beads = system.n_beads or n_beads or 0
    if n_modes > beads - 1:
        raise UserError(f"`beads` {beads}: chains with {n_modes} modes have {n_modes + 1} beads at least")
    return replace(system, n_beads=beads)


def _fast_variances(system: System, recorded: Float64) -> tuple[Float64, str]:
    """Return the variances of modes k+1..N-1 and where they are from."""
    k, n_beads = len(recorded), system.n_beads or 0
    if k == n_beads - 1:
        return np.zeros(0), "none is missing"
    if system.mode_variances is not None:
        shares = None
        if system.edges:
            shares = bond_weights(n_beads, system.edges, np.array(system.eigenvalues))
        scaled = completed_variances(recorded, np.array(system.mode_variances), shares)
        return scaled, "first frame of the MD, scaled to its <b²>"
    found = extrapolated_variances(recorded, n_beads, system.eigenvalues)
    return found, "extrapolated from the fastest recorded modes as in Rouse chains"


def generated_beads(
    reader: FramesReader, melt: Melt, frames: range, n_chains: int, seed: int
) -> Iterator[tuple[int, Float64]]:
    """Yield integrator step and beads (chain, bead, 3) of each frame; chains go on from the MD chains' centres."""
    generator = default_rng(seed)
    start = melt.centres[np.arange(n_chains) % len(melt.centres)]
    for number in frames:
        chunk = _read(reader, number, number + 1)
        fast = draw_fast_modes(melt.fast_variances, (n_chains,), generator)
        modes = np.concatenate([chunk.modes[0, :n_chains].astype(np.float64), fast], axis=1)
        centres = start + chunk.com[0, :n_chains]
        yield int(chunk.steps[0]), bead_positions(centres, modes, melt.system.n_beads or 0, melt.system.edges)


def compare_sizes(reconstructed: Float64, md: Float64) -> JsonObject:
    """Return each size with its standard error over chains, and the ratio of the two.

    Args:
        reconstructed: (chain, size) time means of independent chains.
        md: the same of MD.
    """
    table = {}
    for column, name in enumerate(SIZES):
        if np.isnan(reconstructed[:, column]).all():  # molecules without ends
            continue
        (a, a_se), (b, b_se) = (_mean_and_error(sizes[:, column]) for sizes in (reconstructed, md))
        ratio_se = None if a_se is None or b_se is None else a / b * float(np.hypot(a_se / a, b_se / b))
        table[name] = {
            "reconstructed": {"value": a, "se": a_se},
            "md": {"value": b, "se": b_se},
            "ratio": a / b,
            "ratio_se": ratio_se,
        }
    return table


def _mean_and_error(values: Float64) -> tuple[float, float | None]:
    n = len(values)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None


def _read(reader: FramesReader, start: int, stop: int) -> Frames:
    """Return frames start..stop - 1; raise UserError where a number in them is not finite."""
    chunk = reader.read(start, stop)
    require_finite(chunk, reader.path, start)
    return chunk
