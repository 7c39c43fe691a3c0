"""How fast energies move molecules: each mode's steps sped up until it forgets as the recorded one does.

The linear core's decay is that of an AR(1), and forces other than a mode's own spring change it. Autocorrelations of
modes, in recordings and in roll-outs from them, are compared where the recorded one falls to a half, for each of
the core's eigenvalues; the logarithm of the tempo takes the logarithm of the ratio of their rates, some times over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlgle_lammps.errors import RunFailure
from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.cg_gnn.dynamics import EnergyDynamics
from mlgle_lammps.surrogates.cg_gnn.examples import Examples
from mlgle_lammps.surrogates.cg_gnn.linear_core import LinearCore
from mlgle_lammps.surrogates.cg_gnn.walks import Walk

ROUNDS = 2
N_WALKS = 6
_HALF = 0.5
_MOST_LAGS = 64
_LEAST_KEPT, _MOST_KEPT = 0.02, 0.999
_BOUNDS = (0.2, 8.0)


@dataclass
class _Kept:
    """Sums of products of modes at lags, and of squares at both ends, (lag, knot)."""

    products: Float64
    squares: Float64

    @classmethod
    def empty(cls, n_lags: int, n_knots: int) -> _Kept:
        """Return sums of nothing."""
        return cls(np.zeros((n_lags, n_knots)), np.zeros((n_lags, n_knots)))

    def add(self, modes: Float64, knots: np.ndarray, scales: Float64) -> None:
        """Add modes (time, walk, S-1, 3) of one molecule, in units of ``scales`` (S-1,), by their knots (S-1,)."""
        scaled = modes / scales[:, None]
        for lag in range(min(len(self.products), len(scaled))):
            one, other = scaled[: len(scaled) - lag], scaled[lag:]
            count = one.shape[0] * one.shape[1]
            np.add.at(self.products[lag], knots, (one * other).sum(axis=(0, 1, 3)) / count)
            np.add.at(self.squares[lag], knots, 0.5 * (one**2 + other**2).sum(axis=(0, 1, 3)) / count)

    @property
    def share(self) -> Float64:
        """Return the autocorrelation (lag, knot)."""
        return self.products / np.maximum(self.squares, 1e-300)


def set_tempo(dynamics: EnergyDynamics, sets: Sequence[Examples], extent: float, seed: int) -> None:
    """Let modes of roll-outs forget as recorded ones do: changes the network's tempo.

    Args:
        dynamics: whose tempo is set.
        sets: examples of recorded runs.
        extent: distance from the centre that no group should reach.
        seed: of starts and noise.
    """
    core, tempo = dynamics.core, dynamics.network.log_tempo
    n_knots = len(core.log_eigenvalues)
    recorded = _Kept.empty(_MOST_LAGS, n_knots)
    for examples in sets:
        for run, (modes, knots, scales) in enumerate(_of_sets(examples, core)):
            recorded.add(_recorded(examples, run, modes), knots, scales)
    known = recorded.squares > 0
    there = np.where(known, recorded.share, 1.0)
    lags = np.array([_lag(there[:, knot], known[:, knot]) for knot in range(n_knots)])
    for _ in range(ROUNDS):
        made = _Kept.empty(int(lags.max()) + 1, n_knots)
        for examples in sets:
            try:
                _walk(dynamics, examples, made, extent, seed)
            except RunFailure:
                return
        place = np.arange(n_knots)
        rates = [-np.log(np.clip(own[lags, place], _LEAST_KEPT, _MOST_KEPT)) for own in (there, made.share)]
        step = np.where(made.squares[lags, place] > 0, np.log(rates[0] / rates[1]), 0.0)
        with torch.no_grad():
            tempo.add_(torch.as_tensor(step, dtype=tempo.dtype, device=tempo.device))
            tempo.clamp_(float(np.log(_BOUNDS[0])), float(np.log(_BOUNDS[1])))


def _lag(share: Float64, known: np.ndarray) -> int:
    """Return the first lag at which an autocorrelation is below a half, 1 at least; the last known one if none is."""
    last = max(int(known.sum()) - 1, 1)
    below = np.flatnonzero((share < _HALF) & known)
    return int(np.clip(below[0] if len(below) else last, 1, last))


def _of_sets(examples: Examples, core: LinearCore) -> list[tuple[Float64, np.ndarray, Float64]]:
    """Return U, the knot of each mode and √C of each run."""
    molecules = examples.molecules
    variances = core.of(molecules.eigenvalues)[1].double().cpu().numpy()
    logs = molecules.eigenvalues.double().log().cpu().numpy()
    knots = np.abs(logs[..., None] - core.log_eigenvalues).argmin(-1)
    modes = molecules.modes.double().cpu().numpy()
    return [(modes[run], knots[run], np.sqrt(variances[run])) for run in range(len(modes))]


def _recorded(examples: Examples, run: int, modes: Float64) -> Float64:
    """Return modes of a run's molecules at the model's step, (time, molecule, S-1, 3), its longest piece."""
    starts = torch.nonzero(examples.runs == run).squeeze(1)
    tracks = examples.tracks[starts]
    n_molecules = len(torch.unique(tracks))
    lag = int(examples.strides[starts[0]]) // n_molecules
    table = starts.reshape(-1, n_molecules)
    times = examples.frames[table[:, 0]] // n_molecules
    breaks = torch.nonzero(times.diff() != 1).squeeze(1) + 1
    pieces = torch.tensor_split(table, breaks.cpu().tolist())
    piece = max(pieces, key=len)[::lag]
    places = examples.places[examples.frames[piece]].double().cpu().numpy()
    result: Float64 = modes @ places
    return result


def _walk(dynamics: EnergyDynamics, examples: Examples, made: _Kept, extent: float, seed: int) -> None:
    """Roll molecules on from recorded places and add what their modes keep."""
    generator = torch.Generator().manual_seed(seed)
    n_runs = len(examples.names)
    starts = [torch.nonzero(examples.runs == run).squeeze(1) for run in range(n_runs)]
    chosen = torch.cat([own[torch.randint(len(own), (N_WALKS,), generator=generator)] for own in starts])
    walk = Walk(dynamics, examples.molecules, examples.runs[chosen], examples.history(chosen, 1), seed, extent)
    n_lags = len(made.products)
    walk.advance(n_lags, keep_places=False)
    places = walk.advance(5 * n_lags).places.double().cpu().numpy()
    for run, (modes, knots, scales) in enumerate(_of_sets(examples, dynamics.core)):
        own = places[:, run * N_WALKS : (run + 1) * N_WALKS]
        made.add(modes @ own, knots, scales)
