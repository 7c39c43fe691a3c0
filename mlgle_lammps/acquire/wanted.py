"""What is asked of the driver."""

from __future__ import annotations

from dataclasses import dataclass

from mlgle_lammps.errors import UserError

FILLED = ("com", "modes", "momenta", "beads")
"""Channels that the driver can fill."""
RECORDED = ("com", "modes", "beads")
"""Of a run that only records: all that a surrogate may need."""


@dataclass(frozen=True)
class FramesWanted:
    """Which frames, and how many.

    Attributes:
        n_modes: k; fewer where the chains have no more.
        total: frames in all; None where whoever takes them says by a hand-off that they are enough.
        after_hand_off: frames that follow the hand-off, where that ends it.
        states: states of the whole melt to be kept, evenly over the frames, the last one at the end; with a ``total``.
        channels: what a frame holds of each chain, by the names of `records.CHANNELS`.
        single: one molecule alone will do, and any walls: no D is asked for.
        to_the_end: frames end with the deck's own production where ``total`` is None.
    """

    n_modes: int
    total: int | None
    after_hand_off: int = 0
    channels: tuple[str, ...] = ("com", "modes")
    states: int = 0
    single: bool = False
    to_the_end: bool = False

    def __post_init__(self) -> None:
        if unknown := [name for name in self.channels if name not in FILLED]:
            raise UserError(f"frames with {', '.join(unknown)}: the driver fills {', '.join(FILLED)}")
        if "com" not in self.channels or len(set(self.channels)) != len(self.channels):
            raise UserError(f"frames with channels {self.channels}: each once, and com among them")
        if (
            self.n_modes < ("modes" in self.channels)
            or self.after_hand_off < 0
            or (self.total is not None and self.total < 1)
        ):
            raise UserError(f"{self} asks for no frames")
        if self.states and (self.total is None or self.total < self.states):
            raise UserError(
                f"{self.states} states of the melt are wanted, and {self.total} frames: ask for more `frames`"
            )
