"""Where a driver's frames go: the service's outbox, or whatever else takes them."""

from __future__ import annotations

from typing import Protocol

from mlgle_lammps.records import Frames, System


class FrameSink(Protocol):
    """Takes frames on the first MD rank, one by one.

    Attributes:
        handed_off: frames after which the learner has handed off, None before that, or where there is none.
        told_to_stop: no more frames are wanted.
        waits: how often MD had to wait for it.
    """

    @property
    def handed_off(self) -> int | None: ...  # noqa: D102
    @property
    def told_to_stop(self) -> bool: ...  # noqa: D102
    @property
    def waits(self) -> int: ...  # noqa: D102

    def hello(self, system: System) -> None:
        """Hear what the frames will be about; goes before the first frame."""
        ...

    def send(self, frame: Frames) -> None:
        """Take one frame."""
        ...

    def listen(self) -> None:
        """Look whether the learner has said something; called now and then."""
        ...
