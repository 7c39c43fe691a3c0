"""All stages of a surrogate that learns from constrained runs: frames and correlations in, model and numbers out."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mlgle_lammps.diffusion.slope import normal_diffusion, slope_accumulator
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.options.declaring import as_flags
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.pipeline.melt_model import Learned, compare_with_production, generate_centres, learn_model
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Ending, Estimate, Frames, FrameSource, System, boxes_of, joined
from mlgle_lammps.report.result import extent, opening, timing, versions
from mlgle_lammps.resources.compute import available_cores, describe_device, resolve_device, use_threads
from mlgle_lammps.resources.held_needs import held_announcement
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.store.constrained_file import ConstrainedSet, constrained_files, read_constrained
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.run_folder import RunFolder

if TYPE_CHECKING:
    from mlgle_lammps.evaluate.melts_against_md import MeltComparison

logger = logging.getLogger("mlgle")


def learn_melt(
    source: FrameSource, options: LearnOptions, folder: RunFolder, variables: Mapping[str, Sequence[str]] | None = None
) -> int:
    """Consume ``source`` to its end, learn from its frames and the folder's constrained runs, and leave all results.

    Args:
        source: of the frames; it ends when the constrained runs are done.
        options: of the run.
        folder: where results go, and the records of constrained runs lie.
        variables: the deck's settings by name, for the record; None for a recorded stream.

    Returns:
        0, also where it was interrupted; 1 where the stream failed. What there was of it is kept in all cases.
    """
    run = _MeltRun(source, options, folder, variables or {})
    announced = [] if variables is None else held_announcement(source.system, options)
    for line in (*source.system.left_out, *announced):
        logger.info(line)
    run.take_frames()
    return run.finish()


class _MeltRun:
    """One such run under way."""

    def __init__(
        self,
        source: FrameSource,
        options: LearnOptions,
        folder: RunFolder,
        variables: Mapping[str, Sequence[str]],
    ) -> None:
        self._source, self._options, self._folder, self._variables = source, options, folder, variables
        self._started = time.monotonic()
        self._device = describe_device(resolve_device(options.device))
        self._threads = options.threads or available_cores()
        use_threads(self._threads)
        self._recorded = not variables and not folder.checkpoint.joinpath("run.json").is_file()
        self._n_frames = 0
        self._D: Estimate | None = None
        self._held: ConstrainedSet | None = None
        self._learned: Learned | None = None
        self._compared: MeltComparison | None = None
        self._generate_s = 0.0
        self._warnings: list[str] = []

    @property
    def _system(self) -> System:
        return self._source.system

    def take_frames(self) -> None:
        """Take all frames, which the journal keeps, and D of the centres from them."""
        frames = self._options.production_frames
        slope = slope_accumulator(self._system.n_chains, frames, self._system.center_held)
        with contextlib.nullcontext() if self._recorded else Progress("production", frames) as progress:
            for frame in self._source:
                slope.add(frame)
                self._n_frames += 1
                if progress is not None:
                    progress.advance()
        if self._n_frames:
            self._D = normal_diffusion(slope.moments(), self._system.dt)

    def finish(self) -> int:
        """Learn where production and constrained runs are complete, write what there is, and return the exit code."""
        ending = self._source.ending()
        self._folder.assemble_modes(ending)
        if constrained_files(self._folder.constrained):
            self._held = read_constrained(self._folder.constrained)
        if ending.status == "complete" and self._held is None:
            message = "no constrained run is there to learn from"
            ending = replace(ending, status="failed", message=message)
        complete = ending.status == "complete"
        if complete:
            self._folder.write_result(self._result(ending, False))
            self.learn()
            if self._source.broken():
                ending = replace(ending, status="interrupted", message="interrupted after MD had ended, while learning")
                complete = False
        self._folder.write_result(self._result(ending, complete))
        if complete:
            self._draw()
            self._folder.discard_checkpoints()
        for line in self._last_lines(ending):
            logger.info(line)
        return {"complete": 0, "interrupted": 0}.get(ending.status, 1)

    def learn(self) -> None:
        """Learn the model, generate with it, and hold it against the part of production that it did not see."""
        assert self._held is not None
        frames, options, system = self.frames(), self._options, self._system
        self._learned = learn_model(
            self._held, frames, system, options, self._folder.model, self._source.broken
        )  # fmt: skip
        if self._source.broken():
            return
        model = self._learned.model
        if not options.generate_steps:
            return
        started = time.monotonic()
        boxes = options.ensemble
        motion = model.start(
            frames if boxes > 1 else frames[-1:], options.seed, n_trajectories=boxes * system.n_chains,
            device=options.device, threads=self._threads,
        )  # fmt: skip
        try:
            generate_centres(
                motion, system, self._folder.generated, steps=options.generate_steps, save_every=options.save_every,
                n_molecules=system.n_chains, start_step=frames.last_step, seed=options.seed, boxes=boxes,
                should_stop=self._source.broken,
            )  # fmt: skip
            self._generate_s = time.monotonic() - started
            generated = joined(list(RecordedSource([self._folder.generated])))
            self._compared = compare_with_production(
                model, frames, system, boxes_of(generated, boxes), options.save_every
            )
        except (RunFailure, UserError) as error:
            if not self._source.broken():
                self._warnings.append(as_flags(str(error)))

    def _draw(self) -> None:
        """Write the page with model and MD side by side, where both were compared."""
        if self._compared is None:
            return
        from mlgle_lammps.report.centres_page import write_centres

        try:
            write_centres(
                self._folder.report, self._compared, versions(), title=self._system.source, notes=self._notes()
            )
        except RunFailure as error:
            logger.warning("no report: %s", error)

    def frames(self) -> Frames:
        """Return all frames as they were recorded; raise RunFailure where there is none."""
        blocks = list(RecordedSource([self._folder.modes]))
        if not blocks:
            raise RunFailure(f"{self._folder.modes} holds no frame")
        return joined(blocks)

    def _result(self, ending: Ending, complete: bool) -> JsonObject:
        """Return the content of result.json."""
        system, options = self._system, self._options
        return {
            **opening(system, ending, complete, self._variables),
            "D": self._diffusion(),
            "D_online": [],
            "D_generated": None,
            "D_full_md": None,
            "alpha": None,
            "beta": None,
            "fit": None,
            "k": 0,
            "m": 0,
            "modes": [],
            "handoff": None,
            **extent(system, self._n_frames),
            "surrogate": options.surrogate,
            "preset": options.preset,
            "nm_mb": {
                "constrained": self._constrained(),
                "held_out": self._learned.held_out if self._learned else None,
                "models": dict(self._compared.scores) if self._compared else {},
            },
            "timing": timing(
                ending,
                time.monotonic() - self._started,
                constrained_s=sum(run.seconds for run in self._held.runs) if self._held else 0.0,
                train_s=self._learned.seconds if self._learned else 0.0,
                generate_s=self._generate_s,
            ),
            "left_out": list(system.left_out),
            "warnings": list(dict.fromkeys([*system.left_out, *ending.warnings, *self._warnings])),
            "notes": list(dict.fromkeys([*system.notes, *ending.notes, *self._notes()])),
            "seed": options.seed,
            "device": self._device,
            "threads": self._threads,
            "versions": versions(),
        }

    def _diffusion(self) -> JsonObject | None:
        """Return D of the centres in production, MD itself."""
        if self._D is None:
            return None
        D, units = self._D, f"{self._system.length_unit}^2/{self._system.time_unit}"
        return {"value": D.value, "ci95": list(D.ci95), "se": D.se, "units": units, "method": D.method}

    def _constrained(self) -> JsonObject | None:
        """Return what the constrained runs were."""
        if self._held is None:
            return None
        runs = self._held.runs
        return {
            "configurations": len(runs),
            "steps": [run.step for run in runs],
            "time": runs[0].n_samples * runs[0].dt,
            "force_dt": runs[0].dt,
            "lags": len(runs[0].lags),
            "longest_lag": float(runs[0].times[-1]),
            "pairs": [len(run.pairs) for run in runs],
            "kT": [run.kT for run in runs],
            "energy_drift": [run.energy_drift for run in runs],
            "centre_drift": [run.centre_drift for run in runs],
            "seconds": [run.seconds for run in runs],
        }

    def _notes(self) -> tuple[str, ...]:
        return self._learned.notes if self._learned else ()

    def _last_lines(self, ending: Ending) -> list[str]:
        lines = [f"warning: {line}" for line in (*self._system.left_out, *ending.warnings, *self._warnings)]
        lines += [f"note: {line}" for line in (*self._system.notes, *ending.notes, *self._notes())]
        if ending.status != "complete":
            lines.append(f"the run ended early: {ending.message}")
        if self._held is not None:
            lines.append(f"{len(self._held.runs)} constrained runs in {self._folder.constrained}")
        lines.append(f"results in {self._folder.path}")
        return lines
