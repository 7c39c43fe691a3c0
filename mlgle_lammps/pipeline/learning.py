"""The one module that wires all stages: frames in, numbers and files out. Knows neither LAMMPS nor MPI."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import LAGS_PER_OCTAVE, normal_diffusion
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.evaluate.diagnosis import (
    convergence_warnings,
    fit_notes,
    fit_warnings,
    memory_warnings,
    stream_warnings,
)
from mlgle_lammps.evaluate.judgement import judge_against_window, judgement_warnings
from mlgle_lammps.evaluate.stream_statistics import StreamSummary
from mlgle_lammps.options.learn import TRAINED_CHAINS, LearnOptions
from mlgle_lammps.pipeline.generation import generate_to_file, uninterrupted_end
from mlgle_lammps.records import Estimate, Float32, Frames, FrameSource, GleFit
from mlgle_lammps.report.report import RunCurves, write_run_report
from mlgle_lammps.report.result import RunState, build_result
from mlgle_lammps.resources.compute import available_cores, describe_device, resolve_device
from mlgle_lammps.resources.needs import announcement, needs_of
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.statistics.correlation import Autocorrelation, autocorrelation, mode_statistics, relaxation_times
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.stream.ring_buffer import RingBuffer
from mlgle_lammps.surrogates.ml_gle.surrogate import ModeModel, Surrogate
from mlgle_lammps.surrogates.ml_gle.trainer import ModeTrainer, TrainOptions

logger = logging.getLogger("mlgle")
FRAMES_BETWEEN_FITS = 1.05


def learn(
    source: FrameSource, options: LearnOptions, folder: RunFolder, variables: Mapping[str, Sequence[str]] | None = None
) -> int:
    """Consume ``source`` to its end and leave all results in ``folder``.

    Fits, training and hand-off count frames, never seconds, so that a recorded stream gives what the live one gave.

    Args:
        source: of the frames.
        options: of everything behind the ring buffer.
        folder: where results go.
        variables: the deck's settings by name, for the record; None for a recorded stream.

    Returns:
        0, also where it was interrupted; 1 where the stream failed. What there was of it is kept in all cases.

    Raises:
        UserError: a recorded stream too short for one window.
    """
    return _Pipeline(source, options, folder, variables or {}).run()


class _Pipeline:
    """The stages in their order, and the state they add to."""

    def __init__(
        self, source: FrameSource, options: LearnOptions, folder: RunFolder, variables: Mapping[str, Sequence[str]]
    ) -> None:
        system = source.system
        self.source, self.options, self.folder = source, options, folder
        self.started = time.monotonic()
        n_modes = min(options.modes, system.n_modes)
        self.state = RunState(system, options, n_modes, variables=variables)
        self.moments = MomentAccumulator(system.n_chains, n_modes, options.memory)
        self.ring = RingBuffer(options.learn_frames, [replace(system.species[0], n_modes=n_modes)])
        device = resolve_device(options.device)
        self.state.device, self.state.threads = describe_device(device), options.threads or available_cores()
        torch.set_num_threads(self.state.threads)
        self.trainer = ModeTrainer(
            TrainOptions(
                preset=options.preset, memory=options.memory, train_frames=options.train_frames,
                val_frames=options.val_frames, device=device.type, seed=options.seed,
            ),
            should_stop=self._broken,
        )  # fmt: skip
        self.next_fit = options.memory + 1
        self.reference_moments: Moments | None = None
        self.summary: StreamSummary | None = None
        self.window: Frames | None = None
        self.model: ModeModel | None = None
        self.histories: Float32 | None = None
        self.generation_failed = False
        self.no_fit = ""
        self.correlation: Autocorrelation | None = None

    def run(self) -> int:
        for line in announcement(needs_of(self.state.system, self.options), self.folder.path):
            logger.info(line)
        frames = iter(self.source)
        handed_off = self._learn_online(frames)
        if not handed_off and not self._broken():
            handed_off = self._hand_off_short_stream()
        elif not handed_off and self.state.n_frames > self.options.memory:
            self._fit()
        if handed_off and not self._broken():
            self._train()
        surrogate = self._surrogate() if handed_off and not self._broken() else None
        if surrogate is not None and self.options.generate_steps:
            self._generate(surrogate)
        if handed_off:
            self._reference(frames)
        return self._finish(trained=surrogate is not None)

    def _broken(self) -> bool:
        """Whether the stream is known to have been interrupted or to have failed."""
        return self.source.broken()

    def _learn_online(self, frames: Iterator[Frames]) -> bool:
        """Take frames until the hand-off; return whether it came."""
        label = f"{self.options.handoff} hand-off"
        with Progress(label, self.options.handoff_frames) as progress:
            for frame in frames:
                kept = frame.first_modes(self.state.n_modes)
                self.moments.add(kept)
                self.ring.append(kept)
                n_frames = self.moments.n_frames
                self.state.n_frames = n_frames
                if self._broken():  # take in what has arrived; one fit to all of it follows
                    continue
                if n_frames >= self.next_fit or n_frames == self.options.handoff_frames:
                    self.next_fit = int(np.ceil(n_frames * FRAMES_BETWEEN_FITS))
                    self._milestone(progress)
                    if self._wants_hand_off(n_frames):
                        self._hand_off(frame.last_step)
                        progress.advance()
                        return True
                progress.advance()
        return False

    def _milestone(self, progress: Progress) -> None:
        """Fit with the frames there are, let the networks learn from them, and write what is known."""
        if not self._fit():
            return
        progress.remark(f"D = {self._describe_D(self.state.fits[-1].D)}")
        started = time.monotonic()
        self.trainer.partial_fit(some_chains(self.ring.window(copy=False)))
        self.state.train_s += time.monotonic() - started
        self._write_result()

    def _fit(self) -> bool:
        """Add the GLE fit to the frames so far, once per frame count; return whether there is one."""
        moments = self.moments.moments()
        if self.state.fits and self.state.fits[-1].n_frames == moments.n_frames:
            return True
        try:
            self.state.fits.append(
                fit_gle(moments, self.state.system.dt, self.options.preset, self.state.system.n_beads)
            )
        except (ValueError, np.linalg.LinAlgError) as error:
            self.no_fit = one_line(error)
            self.state.note("some early fits failed; the numbers come from those that did not")
            logger.warning("no GLE fit at %d frames: %s", moments.n_frames, error)
            return False
        return True

    def _wants_hand_off(self, n_frames: int) -> bool:
        if self.options.handoff_frames is not None:
            return n_frames >= self.options.handoff_frames
        D = self.state.fits[-1].D if self.state.fits else None
        return D is not None and D.value > 0 and (D.ci95[1] - D.ci95[0]) / 2 <= self.options.target_ci * D.value

    def _hand_off(self, step: int) -> None:
        if not self.state.fits:
            raise RunFailure(
                f"{self.state.system.source}: no D can be fitted to {self.state.n_frames} frames ({self.no_fit}): do "
                "the chains move, and do uninterrupted pieces hold several frames more than --memory?"
            )
        self.source.hand_off()
        self.window = self.ring.window(copy=False)  # nothing is appended any more
        self.state.handoff = {
            "policy": self.options.handoff,
            "frames": self.state.n_frames,
            "step": step,
            "wall_s": time.monotonic() - self.started,
        }
        n_lags = max(2, len(self.window.steps) // 2)
        self.correlation = autocorrelation(self.window.modes, self.window.segments, n_lags)
        self.state.md_modes = mode_statistics(self.correlation, self.state.system.dt)
        self._diagnose(self.window, self.correlation)
        if self.state.fits:
            logger.info("hand-off at %d frames: D = %s", self.state.n_frames, self._describe_D(self.state.fits[-1].D))

    def _diagnose(self, window: Frames, correlation: Autocorrelation) -> None:
        """Keep what is wrong with the frames and with the fit, and what is merely worth knowing."""
        state, moments = self.state, self.moments.moments()
        lines = [
            *memory_warnings(moments),
            *stream_warnings(window, correlation, state.system.n_beads, self.options.memory),
            *convergence_warnings(state.fits),
        ]
        if state.fits:
            lines += fit_warnings(state.fits[-1], moments)
            for line in fit_notes(state.fits[-1], moments):
                state.note(line)
        for line in lines:
            state.warn(line)

    def _hand_off_short_stream(self) -> bool:
        """Hand off with what there is where the stream ended before the policy's hand-off."""
        n_frames, least = self.state.n_frames, self.options.memory + 1
        if n_frames < least:
            if self.source.ending().status == "complete":
                raise UserError(
                    f"{self.state.system.source}: {n_frames} frames, and --memory {self.options.memory} needs "
                    f"{least}; record more frames or lower --memory"
                )
            return False
        wanted = self.options.handoff_frames
        missing = "its interval was reached" if wanted is None else f"{wanted} frames"
        self.state.warn(
            f"the stream ended at {n_frames} frames, before {missing}: handed off with all there are; "
            "record more frames for a narrower interval"
        )
        self._fit()
        self._hand_off(int(self.ring.window(1).steps[-1]))
        return True

    def _train(self) -> None:
        assert self.window is not None  # set at the hand-off
        started = time.monotonic()
        learned_from = some_chains(self.window)
        self.model = self.trainer.finish(learned_from)
        self.state.train_s += time.monotonic() - started
        if (n := learned_from.modes.shape[1]) < self.window.modes.shape[1]:
            self.state.note(
                f"the modes' dynamics were learned from {n} of {self.window.modes.shape[1]} chains, D from all"
            )
        self.state.modes = self.model.reports
        for note in self.model.notes:
            self.state.note(note)

    def _surrogate(self) -> Surrogate | None:
        """Join the trained modes and the fit into the integrator's record, and save it."""
        if not self.state.fits or self.window is None or self.model is None:
            return None
        fit, system, memory = self.state.fits[-1], self.state.system, self.options.memory
        self.histories = uninterrupted_end(self.window.modes, self.window.segments, memory)
        surrogate = Surrogate(
            model=self.model, alpha=float(np.sqrt(max(fit.alpha_sq, 0.0))), beta_sq=fit.beta_sq, dt=system.dt,
            time_unit=system.time_unit, length_unit=system.length_unit,
            history=self.histories[-memory:],
        )  # fmt: skip
        surrogate.save(self.folder.model)
        self._write_result()
        return surrogate

    def _generate(self, surrogate: Surrogate) -> None:
        assert self.histories is not None  # set with the surrogate
        started = time.monotonic()
        options = self.options
        try:
            self.summary = generate_to_file(
                surrogate, self.histories, self.state.system, self.folder.generated, steps=options.generate_steps,
                ensemble=options.ensemble, save_every=options.save_every, seed=options.seed, device=options.device,
                threads=options.threads, should_stop=self._broken,
            )  # fmt: skip
        except (RunFailure, UserError, MemoryError, torch.cuda.OutOfMemoryError) as error:
            self.state.warn(f"nothing was generated: {one_line(error)}")
            self.generation_failed = True
        self.state.generate_s = time.monotonic() - started
        if self.summary is not None:
            self._judge_generated(self.summary, self.state.fits[-1])

    def _judge_generated(self, summary: StreamSummary, fit: GleFit) -> None:
        """Compare the generated ensemble with the MD it was learned from, then take from it what it gives."""
        assert self.window is not None  # set at the hand-off
        assert self.correlation is not None  # likewise
        dt = self.state.system.dt
        check = judge_against_window(summary, self.window, self.correlation)
        self.state.generated_check = check
        self.state.variance_ratios = list(1.0 + check.variance.deviation)
        remedy = "use --preset default" if self.options.preset == "paper" else ""
        for line in judgement_warnings(check, remedy):
            self.state.warn(line)
        self.state.relaxation_times = relaxation_times(summary.correlation.nacf, dt)
        self.state.D_generated = generated_diffusion(summary, fit, dt, self.state.relaxation_times)
        if self.state.D_generated is None:
            self.state.warn(
                f"{summary.n_frames} generated steps show no normal diffusion long enough to fit, so there is no "
                "D_generated: raise --generate-steps"
            )

    def _reference(self, frames: Iterator[Frames]) -> None:
        """Take the frames after the hand-off, for D by full MD; its number never enters D."""
        wanted = self.options.full_md
        if not wanted:
            return
        n_chains = self.state.system.n_chains
        accumulator = MomentAccumulator(n_chains, 0, max(4, wanted // 4), LAGS_PER_OCTAVE)
        with Progress("full MD", wanted) as progress:
            for _, frame in zip(range(wanted), frames, strict=False):
                accumulator.add(frame)
                progress.advance()
        if accumulator.n_frames < wanted:
            self.state.warn(
                f"the stream ended after {accumulator.n_frames} of {wanted} frames of --full-md: record more frames "
                "for a better D_full_md"
            )
        if accumulator.n_frames < 2:
            return
        self.reference_moments = accumulator.moments()
        dt = self.state.system.dt
        self.state.D_full_md = normal_diffusion(self.reference_moments, dt, self._slowest() / dt)
        if self.state.D_full_md is None:
            self.state.warn(
                f"{accumulator.n_frames} frames of full MD show no normal diffusion long enough to fit: raise --full-md"
            )

    def _slowest(self) -> float:
        """Return the relaxation time of mode 1: generated, else MD's, else what MD shows it to exceed."""
        times = [
            *self.state.relaxation_times[:1],
            *(self.state.md_modes.relaxation_time[:1] if self.state.md_modes else ()),
        ]
        known = [time for time in times if time is not None]
        return known[0] if known else len(self.ring) / 2 * self.state.system.dt

    def _finish(self, trained: bool) -> int:
        """Write stream, result and report, whatever there is of them."""
        ending = self.source.ending()
        if self._broken() and ending.status == "complete":
            ending = replace(ending, status="interrupted", message="interrupted after MD had ended, while learning")
        self.state.ending = ending
        self.folder.assemble_modes(ending)
        self.state.complete = ending.status == "complete" and trained and not self.generation_failed
        if ending.status != "complete":
            self.state.warn(f"the run ended early: {ending.message}")
        self._write_result()
        if not self._broken():
            write_run_report(self.folder, build_result(self.state), self._curves())
        if self.state.complete:
            self.folder.discard_checkpoints()
        D = self.state.fits[-1].D if self.state.fits else None
        for line in self.state.warnings:
            logger.warning("warning: %s", line)
        for line in self.state.notes:
            logger.info("note: %s", line)
        logger.info("D = %s; results in %s", self._describe_D(D) if D else "not known yet", self.folder.path)
        if ending.status == "interrupted":
            return 0
        return 1 if ending.status == "failed" or self.generation_failed or D is None else 0

    def _curves(self) -> RunCurves:
        """Gather what the report draws."""
        return RunCurves(
            moments=self.moments.moments(),
            correlation=self.correlation,
            generated=self.summary,
            full_md=self.reference_moments,
            md_relaxation_times=self.state.md_modes.relaxation_time if self.state.md_modes else (),
        )

    def _write_result(self) -> None:
        self.state.total_s = time.monotonic() - self.started
        self.folder.write_result(build_result(self.state))

    def _describe_D(self, D: Estimate) -> str:
        system = self.state.system
        return f"{D.value:.4g} [{D.ci95[0]:.4g}, {D.ci95[1]:.4g}] {system.length_unit}^2/{system.time_unit}"


def some_chains(window: Frames) -> Frames:
    """Return the frames of at most ``TRAINED_CHAINS`` evenly spaced chains, as a view.

    Training cannot use more: its updates see some 10^6 targets in all, and a thousand chains hold that many. Its memory
    and time then stop growing with the chains.
    """
    stride = -(-window.modes.shape[1] // TRAINED_CHAINS)
    return window.molecules(slice(None, None, stride))


def generated_diffusion(
    summary: StreamSummary, fit: GleFit, dt: float, times: list[float | None] | tuple[float | None, ...]
) -> Estimate | None:
    """Return D of the generated centres of mass, its interval widened by the uncertainty of α² that they inherit."""
    slowest = next(iter(times), None)
    own = normal_diffusion(summary.moments, dt, slowest / dt) if slowest is not None else None
    if own is None:
        return None
    se = float(np.hypot(own.se, fit.D.se))
    widen = (fit.D.ci95[1] - fit.D.ci95[0]) / (2 * fit.D.se) if fit.D.se > 0 else 1.96
    method = f"generated ensemble: {own.method}; the error of alpha^2 included"
    return Estimate(own.value, se, (own.value - widen * se, own.value + widen * se), method)
