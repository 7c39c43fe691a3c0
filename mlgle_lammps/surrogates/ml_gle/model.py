"""The model of ML-GLE as a frozen record, and its file: tensors and plain values, never code."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import JsonMapping, JsonObject
from mlgle_lammps.records import CHAINS, Float32, Float64, Frames, ModeReport
from mlgle_lammps.surrogates.ml_gle import NAME, model_pt, plain_values
from mlgle_lammps.surrogates.ml_gle.dynamics import ModeDynamics
from mlgle_lammps.surrogates.ml_gle.fast_modes import FastModes
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.published.model import PublishedModes
from mlgle_lammps.surrogates.ml_gle.tie import Tie
from mlgle_lammps.surrogates.model_file import read_model, write_model
from mlgle_lammps.surrogates.recorded import require_channels, require_history

DT_BOUNDS = 1e-50, 1e50
_NETWORK = "network."
_OF_PRESET: dict[str, Callable[[JsonMapping, int], ModeDynamics]] = {
    ModeModel.preset: ModeModel.from_plain,
    PublishedModes.preset: PublishedModes.from_plain,
}


@dataclass(frozen=True)
class MlGleModel:
    """All that the integrator needs (a Model).

    Attributes:
        dynamics: of the modes.
        alpha: α, length/√time.
        beta_sq: β² as fitted (may be negative; the generator takes max(β², 0)).
        dt: time between two frames.
        time_unit: of ``dt``.
        length_unit: of positions.
        history: the last recorded modes that were learned from, (m, chain, mode, d) float32, deck units.
        directions: whose d columns these are.
        tie: which modes drive the centre, and how; None as published: all of them, each trajectory's its own.
        fast: modes beyond k that drive it too; None where there are none.
    """

    surrogate: ClassVar[str] = NAME

    dynamics: ModeDynamics
    alpha: float
    beta_sq: float
    dt: float
    time_unit: str
    length_unit: str
    history: Float32
    directions: Directions = ALL_FREE
    tie: Tie | None = None
    fast: FastModes | None = None

    @property
    def beta(self) -> float:
        """√max(β², 0)."""
        return math.sqrt(max(self.beta_sq, 0.0))

    def drive(self) -> tuple[Float64, Float64]:
        """Return the weights of a trajectory's own modes and of independent ones in its centre, in units of β.

        Both (mode,); the squares of the two add up to 1 for modes in the fit's sum, so that MSD_X is the fit's.
        """
        if self.tie is None:
            return np.ones(self.n_modes), np.zeros(self.n_modes)
        own, lent = np.zeros(self.n_modes), np.zeros(self.n_modes)
        for mode, c in zip(self.tie.modes, self.tie.own, strict=True):
            own[mode - 1] = np.clip(c / self.beta, -1.0, 1.0) if self.beta > 0 else 0.0
            lent[mode - 1] = math.sqrt(1.0 - own[mode - 1] ** 2)
        return own, lent

    @property
    def preset(self) -> str:
        """Preset that learned the dynamics."""
        return self.dynamics.preset

    @property
    def memory(self) -> int:
        """Frames m of history."""
        return self.dynamics.memory

    @property
    def n_modes(self) -> int:
        """Number k of modes."""
        return self.dynamics.n_modes

    @property
    def reports(self) -> tuple[ModeReport, ...]:
        """One per mode."""
        return self.dynamics.reports

    @property
    def notes(self) -> tuple[str, ...]:
        """What went differently from the plan, one line each."""
        return self.dynamics.notes

    def start(
        self, frames: Frames, seed: int, *, n_trajectories: int, device: str = "cpu", threads: int = 0
    ) -> MlGleMotion:
        """Begin trajectories where recorded frames end.

        Args:
            frames: one uninterrupted piece with modes, m frames or more, deck units.
            seed: of starts and noise; equal seeds and devices give equal bits, whatever the threads.
            n_trajectories: independent trajectories; more than chains start from earlier frames, turned.
            device: "auto", "cpu", "cuda", or several: "cuda:0,cuda:1".
            threads: that advance trajectories side by side; 0 takes as many as torch has.

        Raises:
            UserError: frames without modes, of other modes, too few, or interrupted.
        """
        require_channels(frames, ("modes",), NAME)
        require_history(frames, self.memory, self.n_modes, self.directions.n)
        return MlGleMotion(self, frames.modes, seed, n_trajectories, device=device, threads=threads)

    def learned_up_to(self, frame: Frames) -> bool:
        """Return whether a recorded frame is the last one that the model was learned from."""
        modes = frame.channels[CHAINS].get("modes")
        return modes is not None and np.array_equal(modes[-1], self.history[-1])

    def save(self, path: Path) -> None:
        """Write the model to a file that gets its name when it is whole; raise RunFailure where that fails."""
        plain = self.dynamics.to_plain()
        tensors = {_NETWORK + name: tensor for name, tensor in plain.pop("tensors").items()}
        tensors |= {name: value for name, value in plain.items() if isinstance(value, torch.Tensor)}
        values = {
            "preset": self.preset, **{name: value for name, value in plain.items() if name not in tensors},
            "alpha": float(self.alpha), "beta_sq": float(self.beta_sq), "dt": float(self.dt),
            "time_unit": self.time_unit, "length_unit": self.length_unit,
        }  # fmt: skip
        if self.directions != ALL_FREE:
            values["directions"] = self.directions.plain()
        if self.tie is not None:
            values["tie"] = {"modes": list(self.tie.modes), "own": list(self.tie.own)}
        if self.fast is not None:
            values["fast"] = {"covariance": list(self.fast.covariance)}
        write_model(path, NAME, values, tensors | {"history": torch.tensor(self.history)})

    @staticmethod
    def load(path: Path) -> MlGleModel:
        """Read a model, also one of before (model.pt).

        Raises:
            UserError: a file that is missing, corrupt, or of another kind or schema. No code in it can run.
        """
        if path.suffix == ".pt":
            plain, most_bytes = model_pt.read(path)
        else:
            plain, most_bytes = _read(path)
        try:
            return _from_plain(plain, most_bytes)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
            raise UserError(f"{path} is damaged ({type(error).__name__}: {one_line(error)}); train again") from error


def _read(path: Path) -> tuple[JsonObject, int]:
    """Return values and tensors by name, the networks' own under "tensors", and the bytes of the file."""
    found = read_model(path, NAME)
    plain: JsonObject = {**found.values, "tensors": {}}
    for name, tensor in found.tensors.items():
        target = plain["tensors"] if name.startswith(_NETWORK) else plain
        target[name.removeprefix(_NETWORK)] = tensor
    return plain, path.stat().st_size


def _from_plain(plain: JsonMapping, most_bytes: int) -> MlGleModel:
    """Return the model in a file of ``most_bytes``; raise ValueError and the like where anything is wrong with it."""
    if (preset := plain["preset"]) not in _OF_PRESET:
        raise ValueError(f"unknown preset {repr(preset)[:40]}")
    memory = plain_values.whole(plain["memory"], "memory", 1)
    history = plain_values.tensor(plain, "history", most_bytes).to(torch.float32).numpy()
    if history.ndim != 4 or history.shape[0] < memory:
        raise ValueError(f"history of shape {history.shape} is shorter than the memory of {memory}")
    if history.shape[1] < 1:
        raise ValueError("a history without chains")
    dynamics = _OF_PRESET[preset](plain, most_bytes)
    directions = Directions.from_plain(plain["directions"]) if "directions" in plain else ALL_FREE
    plain_values.expect_shape("history", history.shape[2:], (dynamics.n_modes, directions.n))
    if directions.n != 3 and preset == PublishedModes.preset:
        raise ValueError(f"preset {preset} of {directions.n} directions")
    return MlGleModel(
        dynamics, plain_values.number(plain, "alpha", 0.0), plain_values.number(plain, "beta_sq"),
        plain_values.number(plain, "dt", *DT_BOUNDS), plain_values.unit(plain, "time_unit"),
        plain_values.unit(plain, "length_unit"), history, directions,
        Tie.from_plain(plain["tie"], dynamics.n_modes) if "tie" in plain else None,
        FastModes.from_plain(plain["fast"]) if "fast" in plain else None,
    )  # fmt: skip
