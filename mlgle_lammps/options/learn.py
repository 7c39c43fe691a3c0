"""How frames are learned from: all that `run` and `replay` share, behind the ring buffer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.directions import Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.limits import require_at_least

HANDOFF_POLICIES = ("tmax", "train", "converged")
DEVICES = ("auto", "cpu", "cuda")
TRAINED_CHAINS = 1024
"""Chains whose frames train the modes' dynamics, at most; D is fitted to all. What memory a run needs hangs on it."""


@dataclass(frozen=True)
class LearnOptions:
    """What `run` and `replay` share: everything behind the ring buffer.

    Attributes:
        out: result folder.
        overwrite: replace a result folder that exists.
        preset: variant of the surrogate.
        modes: k, modes 1..k.
        memory: m, frames of history; t_max = m·dt.
        train_frames: T_train in frames.
        val_frames: T_val in frames.
        handoff: "tmax", "train" or "converged".
        target_ci: relative half-width of D's 95% interval at which "converged" hands off.
        full_md: frames of MD after the hand-off, for the reference D.
        generate_steps: steps of the integrator.
        save_every: keep every n-th generated step in generated.h5.
        ensemble: generated trajectories.
        device: "auto", "cpu" or "cuda".
        seed: of training and generation.
        threads: torch threads; 0 takes the cores that MD leaves.
        surrogate: name of what learns and generates (`surrogates.catalogue`).
        directions: that are free, such as "xy"; None finds them.
    """

    out: Path
    overwrite: bool = False
    preset: str = "default"
    modes: int = 12
    memory: int = 128
    train_frames: int = 1000
    val_frames: int = 600
    handoff: str = "train"
    target_ci: float = 0.1
    full_md: int = 0
    generate_steps: int = 100_000
    save_every: int = 1
    ensemble: int = 300
    device: str = "auto"
    seed: int = 1
    threads: int = 0
    surrogate: str = "ml-gle"
    directions: str | None = None

    def __post_init__(self) -> None:
        at_least = {
            "modes": 1, "memory": 4, "train_frames": 8, "val_frames": 4, "full_md": 0, "generate_steps": 0,
            "save_every": 1, "ensemble": 1, "seed": 0, "threads": 0,
        }  # fmt: skip
        require_at_least(self, at_least)
        if self.directions is not None:
            Directions.named(self.directions)
        if not 0 < self.target_ci < 1:
            raise UserError(f"--target-ci is {self.target_ci:g}; give a fraction of D between 0 and 1, such as 0.1")
        if self.memory >= self.train_frames:
            raise UserError(
                f"--memory {self.memory} is not shorter than --train-frames {self.train_frames}: "
                "no window of memory + 1 frames fits; lower --memory or raise --train-frames"
            )

        if self.generate_steps and self.save_every > self.generate_steps:
            raise UserError(
                f"--save-every {self.save_every} is above --generate-steps {self.generate_steps}: no step would be kept"
            )

    @property
    def learn_frames(self) -> int:
        """Frames that training can use: T_train + T_val, the size of the ring buffer."""
        return self.train_frames + self.val_frames

    @property
    def handoff_frames(self) -> int | None:
        """Frame count at which the policy hands off; None where the data decide."""
        return {"tmax": self.memory + 1, "train": self.learn_frames, "converged": None}[self.handoff]

    @property
    def md_frames(self) -> int | None:
        """Frames at which MD ends, those for the reference D among them; None where the data decide."""
        return None if self.handoff_frames is None else self.handoff_frames + self.full_md
