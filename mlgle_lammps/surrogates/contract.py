"""The contract of a surrogate: a trainer that frames teach, and a model that makes more of them.

Whoever keeps it gets a driver, a store, a hand-off, a generator and an evaluator; `tests/test_conformance.py` holds
every surrogate to it. `catalogue` is the one place that knows which surrogates there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from mlgle_lammps.directions import Directions
from mlgle_lammps.records import Frames, ModeReport


class Motion(Protocol):
    """Trajectories under way; mutable, with its own random numbers."""

    def advance(self, n_steps: int) -> Iterator[Frames]:
        """Yield the next steps as blocks of frames in the units of the frames that it started from.

        Steps count on from 1 over all calls, molecules are trajectories, and the segment is 0. Equal calls give equal
        bits. A call whose blocks are not all taken ends the motion.

        Raises:
            RunFailure: the motion is no longer finite or runs away; says what and at which step.
            ValueError: not all blocks of an earlier call were taken.
        """
        ...


class Model(Protocol):
    """What training yields; frozen.

    Attributes:
        surrogate: name of the surrogate in the catalogue.
        preset: its variant.
        memory: frames of history that a start takes.
        n_modes: k.
        dt: time between two frames, in ``time_unit``.
        time_unit: of ``dt``.
        length_unit: of positions.
        directions: whose d columns it was learned from, takes and makes.
        reports: one per mode.
        notes: what went differently from the plan, one line each.
    """

    @property
    def surrogate(self) -> str: ...  # noqa: D102
    @property
    def preset(self) -> str: ...  # noqa: D102
    @property
    def memory(self) -> int: ...  # noqa: D102
    @property
    def n_modes(self) -> int: ...  # noqa: D102
    @property
    def dt(self) -> float: ...  # noqa: D102
    @property
    def time_unit(self) -> str: ...  # noqa: D102
    @property
    def length_unit(self) -> str: ...  # noqa: D102
    @property
    def directions(self) -> Directions: ...  # noqa: D102
    @property
    def reports(self) -> Sequence[ModeReport]: ...  # noqa: D102
    @property
    def notes(self) -> Sequence[str]: ...  # noqa: D102

    def start(self, frames: Frames, seed: int, *, n_trajectories: int, device: str = "cpu", threads: int = 0) -> Motion:
        """Begin trajectories where recorded frames end.

        Args:
            frames: one uninterrupted piece, at least ``memory`` frames, deck units, d columns.
            seed: of starts and noise; equal seeds, devices and frames give equal bits.
            n_trajectories: independent trajectories, more than the frames have molecules where wanted.
            device: "auto", "cpu", "cuda", or several: "cuda:0,cuda:1".
            threads: that advance trajectories side by side; 0 takes as many as torch has.

        Raises:
            UserError: frames that the model was not made for: too few, other modes, a channel missing.
        """
        ...

    def learned_up_to(self, frame: Frames) -> bool:
        """Return whether a recorded frame is the last one that the model was learned from."""
        ...

    def save(self, path: Path) -> None:
        """Write the model to a file that gets its name when it is whole; raise RunFailure where that fails."""
        ...


class Trainer(Protocol):
    """Learns from a growing window of frames; deterministic for equal frames, seed and threads.

    Attributes:
        needs: channels of the chains that a window has to hold; the driver fills these and no others.

    Both methods raise UserError where the window is not what the trainer was made for: a channel missing, too short.
    """

    @property
    def needs(self) -> tuple[str, ...]: ...  # noqa: D102

    def partial_fit(self, window: Frames) -> None:
        """Make one online round on the frames so far; counts frames and updates, never seconds."""
        ...

    def finish(self, window: Frames) -> Model:
        """Train to the end on the frames there are and return the model."""
        ...
