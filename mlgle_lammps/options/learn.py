"""How frames are learned from: all that `run` and `replay` share, behind the ring buffer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlgle_lammps.directions import Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import option, require_limits
from mlgle_lammps.options.devices import DEVICE, device_names

HANDOFF_POLICIES = ("tmax", "train", "converged")
NO_SURROGATE = "none"
"""Instead of a surrogate's name: frames are recorded, and nothing is learned."""
MOST_THREADS = 1024
MOST_STEPS, MOST_TRAJECTORIES = 10**12, 10**6
"""That are generated."""
GROUPINGS = ("blocks", "metis")
DIRECTIONS = "directions that chains are free to diffuse in, such as xy in a film"
DIRECTIONS_BY_DEFAULT = "found from walls and from motion"
HELD = "production and constrained runs (nm-mb)"
PRODUCTION, LEAST_PRODUCTION = 40_000, 200
"""Frames of production before centres are held."""
LAG_SHARE = 5
"""The longest lag is a constrained run over this, where nobody says it."""
MADE_WITH_THE_RUN = (
    "frames", "configurations", "constrained_steps", "force_every", "longest_lag", "pair_range",
)  # fmt: skip
"""Fields that decide what MD does, and that what is recorded cannot be changed by."""
TRAINED_CHAINS = 1024
"""Chains whose frames train the modes' dynamics, at most; D is fitted to all. What memory a run needs hangs on it."""


@dataclass(frozen=True)
class LearnOptions:
    """What `run` and `replay` share: everything behind the ring buffer; each field says what it means."""

    out: Path = option(
        meaning="result folder", metavar="DIR", shown="runs/<name of the input>, of a replay with -replay"
    )
    overwrite: bool = option(False, "replace a result folder that exists")
    surrogate: str = option("ml-gle", "what learns and generates", metavar="NAME")
    preset: str = option("default", "variant of the surrogate", metavar="NAME")
    modes: int = option(12, "k: modes 1..K", metavar="K", least=1)
    memory: int = option(128, "m, frames of history; t_max = m Δt", metavar="FRAMES", least=4)
    train_frames: int = option(1000, "T_train", metavar="FRAMES", least=8)
    val_frames: int = option(600, "T_val", metavar="FRAMES", least=4)
    handoff: str = option("train", "when the integrator takes over", choices=HANDOFF_POLICIES)
    target_ci: float = option(
        0.1, "relative half-width of D's interval at which `converged` hands off", metavar="FRACTION"
    )
    full_md: int = option(
        0, "frames of MD after the hand-off, for a reference D", metavar="FRAMES", least=0, shown="none"
    )
    generate_steps: int = option(
        100_000,
        "steps of the integrator",
        metavar="STEPS",
        least=0,
        most=MOST_STEPS,
        shown="100000, nm-mb: 10000; 0 for none",
    )
    save_every: int = option(1, "keep every n-th generated step", metavar="STEPS", least=1)
    ensemble: int = option(
        300, "generated trajectories; boxes of molecules that move together (nm-mb, cg-gnn)", metavar="N", least=1,
        most=MOST_TRAJECTORIES, shown="300, or 1 box",
    )  # fmt: skip
    beads_per_group: int = option(10, "beads that move as one, of surrogates of many molecules", metavar="N", least=1)
    grouping: str = option("blocks", "how beads are grouped", choices=GROUPINGS)
    step: float | None = option(
        None,
        "time of one step of the model, a multiple of the time between frames",
        metavar="TIME",
        shown="20; two frames where several species move together",
    )
    updates: int | None = option(
        None, "of weights in training, of surrogates of many molecules", metavar="N", least=1, shown="the preset's"
    )
    members: int | None = option(
        None, "models in the ensemble that gives the error bar", metavar="N", least=1, most=64, shown="the preset's"
    )
    refine: int | None = option(
        None, "calls of the score in a step, which take overlaps out; 1 for none (cg-gnn, several species together)",
        metavar="N", least=1, most=64, shown="8",
    )  # fmt: skip
    directions: str | None = option(None, DIRECTIONS, metavar="XYZ", shown=DIRECTIONS_BY_DEFAULT)
    frames: int | None = option(
        None, f"of production (nm-mb), or to record ({NO_SURROGATE})", metavar="FRAMES", least=1,
        shown=f"{PRODUCTION}; {NO_SURROGATE}: those of the deck's production", section=HELD,
    )  # fmt: skip
    configurations: int = option(
        12, "snapshots of production in which centres are held", metavar="N", least=1, most=10_000, section=HELD
    )  # fmt: skip
    constrained_steps: int = option(
        30_000, "MD steps for which centres are held, in each", metavar="STEPS", least=200, most=10**9, section=HELD
    )  # fmt: skip
    force_every: int | None = option(
        None, "steps between two samples of the forces then", metavar="STEPS", least=1, most=10**6,
        shown="found from the forces", section=HELD,
    )  # fmt: skip
    longest_lag: int | None = option(
        None, "steps up to which forces are correlated", metavar="STEPS", least=1, most=10**9,
        shown="a fifth of constrained-steps", section=HELD,
    )  # fmt: skip
    pair_range: float | None = option(
        None, "distance up to which pairs are correlated", metavar="LENGTH", shown="half the box", section=HELD
    )  # fmt: skip
    device: str = option("auto", DEVICE.format("train and run"), metavar="DEVICE")
    interactive: bool = option(False, "write interactive.html too, curves to zoom into (5 MB; needs plotly)")
    seed: int = option(1, "of training and generation", metavar="SEED", least=0)
    threads: int = option(0, "torch threads", metavar="N", least=0, most=MOST_THREADS, shown="the cores that MD leaves")

    def __post_init__(self) -> None:
        require_limits(self)
        if self.step is not None and not 0 < self.step < float("inf"):
            raise UserError(f"`step` is {self.step:g}; give a time above 0")
        device_names(self.device)
        if self.directions is not None:
            Directions.named(self.directions)
        if self.pair_range is not None and not 0 < self.pair_range < float("inf"):
            raise UserError(f"`pair_range` is {self.pair_range:g}; give a length above 0")
        if not 0 < self.target_ci < 1:
            raise UserError(f"`target_ci` is {self.target_ci:g}; give a fraction of D between 0 and 1, such as 0.1")
        if self.surrogate != NO_SURROGATE and self.frames is not None and self.frames < LEAST_PRODUCTION:
            raise UserError(f"`frames` is {self.frames}; give {LEAST_PRODUCTION} or more")
        if self.memory >= self.train_frames:
            raise UserError(
                f"`memory` {self.memory} is not shorter than `train_frames` {self.train_frames}: "
                "no window of memory + 1 frames fits; lower `memory` or raise `train_frames`"
            )

        if self.generate_steps and self.save_every > self.generate_steps:
            raise UserError(
                f"`save_every` {self.save_every} is above `generate_steps` {self.generate_steps}: no step would be kept"
            )

    @property
    def production_frames(self) -> int:
        """Frames of production before centres are held."""
        return PRODUCTION if self.frames is None else self.frames

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
