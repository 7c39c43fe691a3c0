"""A surrogate at a temperature that nobody ran: a run's own, times scaled by a_T and lengths by the chains' size.

A step of the model then stands for Δt a, each mode is longer by the square root of its variance's ratio, and the centre
by that of the mean squared size: D scales as v/a, as it must where time and temperature superpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlgle_lammps.directions import Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import CHAINS, Float64, Frames, ModeReport, System
from mlgle_lammps.statistics.shift_law import log_shift, require_above_end
from mlgle_lammps.store.json_object import read_object
from mlgle_lammps.surrogates.contract import Model, Motion

NUMBERS, MOST_BYTES = "comparison.json", 2**28


@dataclass(frozen=True)
class Shift:
    """From a run to another temperature.

    Attributes:
        run: folder of the nearest run.
        T_run: its temperature.
        T: the temperature wanted.
        time: factor of times, a_T over that of the run.
        lengths: (mode,) factors of the modes.
        centre: factor of the centre's displacements.
        extrapolated: T lies outside the temperatures that were run.
    """

    run: Path
    T_run: float
    T: float
    time: float
    lengths: Float64
    centre: float
    extrapolated: bool

    def default_out(self, folder: Path) -> Path:
        """Return the file that is written where none is named."""
        return folder / f"generated-T{self.T:g}.h5"

    def sentence(self) -> str:
        """Say what is done."""
        outside = "; that lies outside the temperatures that were run" if self.extrapolated else ""
        return (
            f"T = {self.T:g} from the model of {self.run} (T = {self.T_run:g}): times × {self.time:.4g}, the centre's "
            f"lengths × {self.centre:.4g}{outside}"
        )


def shift_to(folder: Path, T: float) -> Shift:
    """Return the shift from the nearest run of a comparison of temperatures.

    Args:
        folder: that ``compare`` wrote.
        T: wanted.

    Raises:
        UserError: no such folder, no pool in it, or a damaged one.
    """
    path = folder / NUMBERS
    if not path.is_file():
        raise UserError(f"{folder} is no comparison of temperatures: comparing runs of several temperatures makes one")
    told = read_object(path, MOST_BYTES, "hold a comparison")
    pool = told.get("pool")
    if not isinstance(pool, dict) or "law" not in pool:
        why = pool.get("reason") if isinstance(pool, dict) else None
        raise UserError(f"{path} holds no pool of temperatures{f': {why}' if why else ''}")
    try:
        return _shift(folder, told, pool, T)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path} is damaged: {type(error).__name__}") from None


def _shift(folder: Path, told: JsonObject, pool: JsonObject, T: float) -> Shift:
    known = [(float(run["T"]), _run_folder(folder, run)) for run in told["runs"]]
    nearest = min(range(len(known)), key=lambda i: abs(known[i][0] - T))
    T_run, run = known[nearest]
    reference = float(pool["reference_T"])
    name, parameters = str(pool["law"]["name"]), np.array(pool["law"]["parameters"], dtype=float)
    log_a = _log_a(name, parameters, reference, T) - _log_a(name, parameters, reference, T_run)
    slopes = np.array(pool["ln_variance_of_modes"], dtype=float)[:, 1]
    factors = np.exp(0.5 * slopes * (T - T_run))
    centre = float(np.exp(0.5 * float(pool["ln_size_slope"]) * (T - T_run)))
    temperatures = [temperature for temperature, _ in known]
    if not (np.isfinite(log_a) and np.isfinite(factors).all() and np.isfinite(centre)):
        raise ValueError("not finite")
    outside = not min(temperatures) <= T <= max(temperatures)
    return Shift(run, T_run, T, float(np.exp(log_a)), factors, centre, outside)


def _run_folder(folder: Path, told: JsonObject) -> Path:
    """Return a run's folder, by its place seen from the comparison where it is there, else by the path once given."""
    seen = folder / str(told.get("run_from_here", ""))
    return seen if "run_from_here" in told and seen.is_dir() else Path(told["run"])


def _log_a(name: str, parameters: Float64, reference: float, T: float) -> float:
    """Return ln a of the law of a comparison; raise UserError below where it ends."""
    require_above_end(name, T, parameters)
    return float(log_shift(name, T, parameters, reference))


def shifted_system(system: System, shift: Shift) -> System:
    """Return what trajectories there are about."""
    variances = system.mode_variances
    if variances is not None:
        scaled = np.array(variances)
        scaled[: len(shift.lengths)] *= shift.lengths**2
        scaled[len(shift.lengths) :] *= shift.centre**2
        variances = tuple(float(v) for v in scaled)
    return replace(system, dt=system.dt * shift.time, mode_variances=variances,
                   notes=(*system.notes, shift.sentence()))  # fmt: skip


def shifted_model(model: Model, shift: Shift) -> Model:
    """Return the model at the other temperature; it starts from the run's own frames."""
    return _ShiftedModel(model, shift)


class _ShiftedModel:
    """A model whose trajectories are scaled on their way out."""

    def __init__(self, model: Model, shift: Shift) -> None:
        self._model, self._shift = model, shift

    @property
    def surrogate(self) -> str:
        return self._model.surrogate

    @property
    def preset(self) -> str:
        return self._model.preset

    @property
    def memory(self) -> int:
        return self._model.memory

    @property
    def n_modes(self) -> int:
        return self._model.n_modes

    @property
    def dt(self) -> float:
        return self._model.dt * self._shift.time

    @property
    def time_unit(self) -> str:
        return self._model.time_unit

    @property
    def length_unit(self) -> str:
        return self._model.length_unit

    @property
    def directions(self) -> Directions:
        return self._model.directions

    @property
    def reports(self) -> Sequence[ModeReport]:
        return self._model.reports

    @property
    def notes(self) -> Sequence[str]:
        return (*self._model.notes, self._shift.sentence())

    def start(self, frames: Frames, seed: int, *, n_trajectories: int, device: str = "cpu", threads: int = 0) -> Motion:
        motion = self._model.start(frames, seed, n_trajectories=n_trajectories, device=device, threads=threads)
        return _ShiftedMotion(motion, self._shift)

    def learned_up_to(self, frame: Frames) -> bool:
        return self._model.learned_up_to(frame)

    def save(self, path: Path) -> None:
        raise UserError(f"{path}: a model at another temperature is made from its run's and is not saved")


class _ShiftedMotion:
    """Trajectories whose modes and centres are scaled."""

    def __init__(self, motion: Motion, shift: Shift) -> None:
        self._motion, self._shift = motion, shift

    def advance(self, n_steps: int) -> Iterator[Frames]:
        factors = self._shift.lengths.astype(np.float32)[:, None]
        for block in self._motion.advance(n_steps):
            own = dict(block.channels[CHAINS])
            own["com"] = own["com"] * self._shift.centre
            if "modes" in own:
                own["modes"] = own["modes"] * factors
            yield Frames(block.steps, block.segments, {**block.channels, CHAINS: own})
