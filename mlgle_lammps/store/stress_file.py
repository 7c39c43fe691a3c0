"""The correlated stress of a run on disk: what a run leaves, and what it goes on from."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlgle_lammps.errors import UserError
from mlgle_lammps.statistics.multi_tau import MultipleTau
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.npz import NpzReader

FILE = "stress.npz"
"""In a run's folder."""
SCHEMA = 1
SERIES = 6
"""xy, yz, zx of the pressure tensor, and the differences xx - yy, yy - zz, zz - xx."""
_ARRAYS = ("sums", "counts", "kept", "values", "place")


@dataclass
class StressRecord:
    """A correlated stress.

    Attributes:
        correlator: of the six series in the deck's units of pressure.
        every: steps between two samples.
        timestep: of MD.
        volume: of the box, length³.
        kinetic: momentum flux is in it, beside the virial.
        last_step: of the last sample; -1 before the first.
        gaps: how often the series was broken.
    """

    correlator: MultipleTau
    every: int
    timestep: float
    volume: float
    kinetic: bool
    last_step: int = -1
    gaps: int = 0

    def write(self, path: Path) -> None:
        """Write it, whole or not at all; raise RunFailure where that fails."""
        numbers = np.array([self.timestep, self.volume])
        counts = np.array([SCHEMA, self.every, self.kinetic, self.last_step, self.gaps], dtype=np.int64)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, numbers=numbers, whole=counts, **self.correlator.state())  # type: ignore[arg-type]
        write_bytes_atomically(path, buffer.getvalue())


def read_stress(path: Path) -> StressRecord:
    """Return the record in a file; raise UserError where it is missing, damaged or of another schema."""
    with NpzReader(path) as archive:
        numbers, whole = (archive.read(name) for name in ("numbers", "whole"))
        state = {name: archive.read(name) for name in _ARRAYS}
    if numbers.shape != (2,) or whole.shape != (5,) or whole.dtype.kind != "i" or whole[0] != SCHEMA:
        raise UserError(f"{path} is no record of a stress that is known here")
    try:
        correlator = MultipleTau.from_state(state)
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    finite = np.isfinite(numbers).all() and all(np.isfinite(state[name]).all() for name in _ARRAYS)
    if not finite or numbers.min() <= 0 or whole[1] < 1 or state["sums"].shape[-1] != SERIES:
        raise UserError(f"{path} is damaged: it holds numbers that cannot be")
    return StressRecord(
        correlator, int(whole[1]), float(numbers[0]), float(numbers[1]), bool(whole[2]), int(whole[3]), int(whole[4])
    )
