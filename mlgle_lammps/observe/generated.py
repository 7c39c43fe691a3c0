"""Statistics of a generated ensemble, gathered while it streams by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlgle_lammps.observe.correlation import Autocorrelation, autocorrelation
from mlgle_lammps.observe.diffusion import LAGS_PER_OCTAVE
from mlgle_lammps.records import Float32, Float64, Frame
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments

_BYTES_FOR_CORRELATION = 2**28


@dataclass(frozen=True)
class GeneratedSummary:
    """What a generated ensemble says.

    Attributes:
        moments: displacements of its centres of mass.
        correlation: NACF of its modes, from as many trajectories as fit in 256 MB.
        variance: (mode,) per component, length².
        variance_se: (mode,) its standard error, trajectories as independent units.
        n_steps: steps per trajectory.
    """

    moments: Moments
    correlation: Autocorrelation
    variance: Float64
    variance_se: Float64
    n_steps: int


class GeneratedStatistics:
    """Add chunks of generated steps, then ask for the summary; memory does not grow with the chunks."""

    def __init__(self, n_trajectories: int, n_modes: int, n_steps: int) -> None:
        per_trajectory = max(1, n_steps * n_modes * 3 * 4)
        kept = int(np.clip(_BYTES_FOR_CORRELATION // per_trajectory, 1, n_trajectories))
        self._kept = np.empty((n_steps, kept, n_modes, 3), dtype=np.float32)
        self._accumulator = MomentAccumulator(n_trajectories, 0, max(4, n_steps // 4), LAGS_PER_OCTAVE)
        self._square = np.zeros((n_trajectories, n_modes))
        self._no_modes = np.zeros((n_trajectories, 0, 3), dtype=np.float32)
        self._done = 0

    def add(self, com: Float64, modes: Float32) -> None:
        """Add the next steps: com (time, trajectory, 3), modes (time, trajectory, mode, 3)."""
        for i, positions in enumerate(com):
            self._accumulator.add(Frame(self._done + i, 0, np.asarray(positions, dtype=np.float64), self._no_modes))
        self._square += np.einsum("tcmx,tcmx->cm", modes, modes, dtype=np.float64)
        self._kept[self._done : self._done + len(modes)] = modes[:, : self._kept.shape[1]]
        self._done += len(modes)

    def summary(self) -> GeneratedSummary:
        """Return the statistics of all steps added."""
        per_trajectory = self._square / (3 * self._done)
        n_trajectories = len(per_trajectory)
        kept = self._kept[: self._done]
        return GeneratedSummary(
            moments=self._accumulator.moments(),
            correlation=autocorrelation(kept, np.zeros(self._done, dtype=np.int64), max(2, self._done // 2)),
            variance=per_trajectory.mean(axis=0),
            variance_se=per_trajectory.std(axis=0, ddof=min(1, n_trajectories - 1)) / np.sqrt(n_trajectories),
            n_steps=self._done,
        )
