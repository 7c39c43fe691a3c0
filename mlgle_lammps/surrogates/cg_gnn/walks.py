"""Roll-outs: molecules of a set under way, many at once, with checks that they stay in range."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mlgle_lammps.errors import RunFailure
from mlgle_lammps.surrogates.cg_gnn.dynamics import Dynamics, State
from mlgle_lammps.surrogates.cg_gnn.molecules import MoleculeSet

_CHECKED_EVERY = 64


@dataclass
class Steps:
    """What a walk has made: places (time, batch, S, 3), centres' steps (time, batch, 3), Rg² (time, batch)."""

    places: torch.Tensor
    shifts: torch.Tensor
    square_radii: torch.Tensor


class Walk:
    """Molecules under way; mutable, with random numbers of its own."""

    def __init__(
        self, dynamics: Dynamics, molecules: MoleculeSet, which: torch.Tensor, history: torch.Tensor, seed: int | None,
        runaway: float = float("inf"),
    ) -> None:  # fmt: skip
        """Begin at ``history`` (batch, memory, S, 3).

        Args:
            dynamics: what moves them.
            molecules: the set.
            which: (batch,) molecules of the set.
            history: about the centre of its last frame.
            seed: of the noise; None for none.
            runaway: distance from the centre beyond which the walk is given up.
        """
        self._dynamics, self._molecules, self._which = dynamics, molecules, which
        self._noise = None if seed is None else torch.Generator(history.device).manual_seed(seed)
        kick = history.new_zeros(len(history), 3)
        if self._noise is not None:
            kick.normal_(generator=self._noise)
        self._state = State(history, kick)
        self._runaway, self.n_steps = runaway, 0
        with torch.no_grad():
            self._still = dynamics.still(molecules, which)

    def advance(self, n_steps: int, kept_every: int = 1, keep_places: bool = True) -> Steps:
        """Return the next steps, every n-th of them, the centre's steps added up between.

        Raises:
            RunFailure: a group is not finite or further than ``runaway`` from the centre; says at which step.
        """
        places, shifts, radii = [], [], []
        moved = torch.zeros_like(self._state.kick)
        with torch.inference_mode():
            for _ in range(n_steps):
                self._state, shift, radius = self._dynamics.step(
                    self._state, self._still, self._molecules, self._which, self._noise
                )
                self.n_steps += 1
                moved = moved + shift
                if self.n_steps % _CHECKED_EVERY == 0:
                    self._check()
                if self.n_steps % kept_every == 0:
                    radii.append(radius)
                    shifts.append(moved)
                    moved = torch.zeros_like(moved)
                    if keep_places:
                        places.append(self._state.history[:, -1])
            self._check()
        empty = self._state.kick.new_zeros(0)
        return Steps(*(torch.stack(own) if own else empty for own in (places, shifts, radii)))

    def _check(self) -> None:
        now = self._state.history[:, -1]
        if not bool((now.abs() < self._runaway).all() & torch.isfinite(now).all()):
            raise RunFailure(
                f"a generated molecule left the range of {self._runaway:g} about its centre by step {self.n_steps}; "
                "train on more frames or more runs"
            )
