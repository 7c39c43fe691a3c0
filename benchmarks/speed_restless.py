"""The service with a trainer that never rests: MD has to stand the worst that training can do to it.

    mpirun -n 2 python benchmarks/speed_restless.py DECK [options of mlgle run]

With the first online round the trainer begins to train on a full window (of T_train + T_val frames with the default
memory), round after round of `UPDATES` updates, until it is killed. Everything else is `mlgle run`. With `PACED` in the
environment it makes the default schedule's round, once for each that the pipeline asks for: still more than in
ordinary use, since the window is full from the start and the few frames of a short run are each followed by a round.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from typing import Any

from mlgle_lammps.commands import run
from mlgle_lammps.records import System
from mlgle_lammps.stream.transport import Inbox

UPDATES = 200
PACED = "MLGLE_BENCH_PACED"


def make_restless() -> None:
    """Have the pipeline train without end; imports torch, so for the trainer's rank only."""
    import numpy as np

    from mlgle_lammps.records import Frames
    from mlgle_lammps.surrogates.ml_gle import trainer
    from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
    from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions

    paced = PACED in os.environ

    class RestlessTrainer(ModeTrainer):
        """Make endless updates on a window of the default size, or a round at a time."""

        def __init__(self, options: TrainOptions, *arguments: Any, **named: Any) -> None:
            self._usual = TrainOptions()
            self._full: Frames | None = None
            sizes = {name: getattr(self._usual, name) for name in ("memory", "train_frames", "val_frames")}
            updates = self._usual.updates_per_round if paced else UPDATES
            super().__init__(replace(options, **sizes, updates_per_round=updates), *arguments, **named)

        def partial_fit(self, window: Frames) -> None:
            """Learn from noise of the frames' sizes, once or without an end."""
            if self._full is None:
                self._full = self._noise(window)
            super().partial_fit(self._full)
            while not paced:
                super().partial_fit(self._full)

        def finish(self, window: Frames) -> ModeModel:
            """Wait to be killed: what comes behind the hand-off is not measured."""
            while True:
                time.sleep(60)

        def _noise(self, window: Frames) -> Frames:
            n = self._usual.train_frames + self._usual.val_frames
            generator = np.random.default_rng(1)
            com = np.zeros((n, *window.com.shape[1:]))
            modes = 0.2 * generator.standard_normal((n, *window.modes.shape[1:]), dtype=np.float32)
            for t in range(1, n):
                modes[t] += 0.98 * modes[t - 1]
            return Frames.of_chains(np.arange(n), np.zeros(n, dtype=np.int64), com, modes)

    trainer.ModeTrainer = RestlessTrainer  # type: ignore[misc]


def main() -> int:
    """Run the service; its trainer's rank makes itself restless once the stream has begun."""
    wait = Inbox.wait_for_system

    def wait_then_change(self: Inbox) -> System:
        system = wait(self)
        make_restless()
        return system

    Inbox.wait_for_system = wait_then_change  # type: ignore[method-assign]
    return run.main()


if __name__ == "__main__":
    sys.exit(main())
