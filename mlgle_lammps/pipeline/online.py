"""From the first frame to the hand-off: D as frames come in, networks that learn beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mlgle_lammps.chains.laplacian import modes_taken
from mlgle_lammps.chains.spectrum import spectrum_of
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.evaluate.by_direction import ByDirection, diffusion_by_direction, direction_warnings
from mlgle_lammps.evaluate.diagnosis import (
    convergence_warnings,
    fit_notes,
    fit_warnings,
    memory_warnings,
    stream_warnings,
)
from mlgle_lammps.observe.confinement import bounded_by_motion
from mlgle_lammps.pipeline.each_species import diffusion_of_species, fit_species, species_warnings
from mlgle_lammps.pipeline.run import Run
from mlgle_lammps.records import Frames, GleFit
from mlgle_lammps.report.stages import HandOff, Stages
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.statistics.correlation import Autocorrelation, autocorrelation, mode_statistics
from mlgle_lammps.statistics.species_moments import SpeciesMoments
from mlgle_lammps.stream.ring_buffer import RingBuffer
from mlgle_lammps.surrogates.catalogue import find_preset, make_trainer

logger = logging.getLogger("mlgle")
FRAMES_BETWEEN_FITS = 1.05
LOOK_AGAIN = 1.5


class Online:
    """What grows with every frame: moments, ring buffer, trainer and fits.

    Attributes:
        moments: displacements of all frames.
        trainer: of the surrogate.
    """

    def __init__(self, run: Run) -> None:
        """Make room for the frames of a run; raise UserError where there is no such surrogate."""
        setup, options = run.setup, run.setup.options
        self._run, self._preset = run, find_preset(options)
        self._form = self._preset.fit_form
        self._start()
        channels = tuple(dict.fromkeys(("com", "modes", *self.trainer.needs)))
        held = replace(setup.system.species[0], n_modes=setup.n_modes, channels=channels)
        self._ring = RingBuffer(options.learn_frames, [held, *setup.system.others])
        self._next_fit = options.memory + 1
        self._next_look = float(options.memory + 1)
        self._no_fit = ""

    def _start(self) -> None:
        """Begin to learn from the directions that are free by what is known."""
        setup, directions = self._run.setup, self._run.findings.directions
        system = replace(setup.system, directions=directions)
        self._n_modes = {own.name: modes_taken(setup.options.modes, own) for own in system.species}
        self.moments = SpeciesMoments(
            system.species, self._n_modes, setup.options.memory, system.center_held, directions.n
        )
        self.trainer = make_trainer(setup.options, system, self.last_fit, self._run.broken)

    @property
    def n_held(self) -> int:
        """Frames in the ring buffer."""
        return len(self._ring)

    def window(self) -> Frames:
        """Return the frames that training can use, of the free directions; views that hold until the next frame."""
        return self._ring.window(copy=False).along(self._run.findings.directions)

    def last_fit(self) -> GleFit | None:
        """Return the last GLE fit."""
        fits = self._run.findings.fits
        return fits[-1] if fits else None

    def take(self, frame: Frames) -> bool:
        """Take in one frame; return whether a fit is due."""
        kept = frame.first_modes(self._run.setup.n_modes)
        self.moments.add(kept.along(self._run.findings.directions))
        self._ring.append(kept)
        n_frames = self._run.findings.n_frames = self._ring.n_appended
        if self._run.broken():  # take in what has arrived; one fit to all of it follows
            return False
        due = n_frames >= self._next_fit or n_frames == self._run.setup.options.handoff_frames
        if due:
            self._next_fit = int(np.ceil(n_frames * FRAMES_BETWEEN_FITS))
        return due

    def fit(self) -> bool:
        """Add the GLE fit to the frames so far, once per frame count; return whether there is one."""
        moments, findings, system = self.moments.moments(), self._run.findings, self._run.setup.system
        if findings.fits and findings.fits[-1].n_frames == moments.n_frames:
            return True
        try:
            findings.fits.append(fit_species(moments, system.dt, self._form, system.species[0]))
        except (ValueError, np.linalg.LinAlgError) as error:
            self._no_fit = one_line(error)
            findings.note("some early fits failed; the numbers come from those that did not")
            logger.warning("no GLE fit at %d frames: %s", moments.n_frames, error)
            return False
        return True

    def fit_others(self) -> None:
        """Keep D of each species from the frames so far."""
        findings, system = self._run.findings, self._run.setup.system
        findings.species = diffusion_of_species(self.moments, system, self._n_modes, self._form, self.last_fit())
        for line in species_warnings(findings.species):
            findings.warn(line)

    def milestone(self, progress: Progress) -> None:
        """Fit with the frames there are, let the networks learn from them, and write what is known."""
        if self._run.findings.n_frames >= self._next_look:
            self._look_at_motion()
        if not self.fit():
            return
        run = self._run
        progress.remark(f"D = {run.describe(run.findings.fits[-1].D)}")
        started = time.monotonic()
        if run.findings.directions.n in self._preset.dimensions:
            self.trainer.partial_fit(self.window())
        run.findings.train_s += time.monotonic() - started
        run.write_result(Stages())

    def wants_hand_off(self) -> bool:
        """Return whether the policy hands off now."""
        options = self._run.setup.options
        if options.handoff_frames is not None:
            return self._ring.n_appended >= options.handoff_frames
        reached = self._interval_reached()
        if reached and self._look_at_motion():
            reached = self.fit() and self._interval_reached()
        return reached

    def _interval_reached(self) -> bool:
        fit = self.last_fit()
        D, options = fit.D if fit else None, self._run.setup.options
        return D is not None and D.value > 0 and (D.ci95[1] - D.ci95[0]) / 2 <= options.target_ci * D.value

    def hand_off(self) -> HandOff:
        """Tell the source that the model has its frames, and return what MD has given; nothing is taken in any more.

        Raises:
            RunFailure: no D could be fitted.
        """
        if self._look_at_motion():
            self.fit()
        self.fit_others()
        run, fit = self._run, self.last_fit()
        system, n_frames = run.setup.system, run.findings.n_frames
        if fit is None:
            raise RunFailure(
                f"{system.source}: no D can be fitted to {n_frames} frames ({self._no_fit}): do "
                "the chains move, and do uninterrupted pieces hold several frames more than --memory?"
            )
        run.source.hand_off()
        window, wall_s = self.window(), run.elapsed()
        correlation = autocorrelation(window.modes, window.segments, max(2, len(window) // 2))
        by_direction = self._by_direction()
        self._diagnose(window, correlation, fit)
        for line in direction_warnings(by_direction, system):
            run.findings.warn(line)
        logger.info(run.findings.directions.sentence())
        logger.info("hand-off at %d frames: D = %s", n_frames, run.describe(fit.D))
        return HandOff(
            run.setup.options.handoff, n_frames, window.last_step, wall_s, window, fit, correlation,
            mode_statistics(correlation, system.dt), by_direction,
        )  # fmt: skip

    def _look_at_motion(self) -> bool:
        """Find the directions in which the motion itself is bounded; return whether learning has begun anew for them.

        Where others turn out to be free than was known, all is learned again from the frames that are held: earlier
        fits were averages over a direction in which nothing diffuses.
        """
        findings, setup = self._run.findings, self._run.setup
        self._next_look = LOOK_AGAIN * findings.n_frames
        if findings.directions.given:
            return False
        frames = self._ring.window(copy=False)
        bounded = bounded_by_motion(frames, setup.system.directions, self.moments.moments().design_effect)
        found = setup.system.directions.closing(bounded)
        if found.free == findings.directions.free:
            return False
        findings.directions = found
        logger.info(found.sentence())
        findings.fits.clear()
        self._start()
        self.moments.add(self.window())
        return True

    def _by_direction(self) -> ByDirection:
        """Return D of each free direction."""
        setup, frames = self._run.setup, self._ring.window(copy=False)
        return diffusion_by_direction(
            self.moments.centred(frames), self._run.findings.directions, self.moments.moments(), setup.system.dt,
            self._form, spectrum_of(setup.system),
        )  # fmt: skip

    def _diagnose(self, window: Frames, correlation: Autocorrelation, fit: GleFit) -> None:
        """Keep what is wrong with the frames and with the fit, and what is merely worth knowing."""
        findings, moments, setup = self._run.findings, self.moments.moments(), self._run.setup
        for line in fit_notes(fit, moments):
            findings.note(line)
        for line in (
            *memory_warnings(moments),
            *stream_warnings(window, correlation, setup.system.n_beads, setup.options.memory, setup.system.linear),
            *convergence_warnings(findings.fits),
            *fit_warnings(fit, moments),
        ):
            findings.warn(line)


def learn_online(run: Run, online: Online, frames: Iterator[Frames]) -> HandOff | None:
    """Take frames until the hand-off and return it; None where the stream ended before."""
    options = run.setup.options
    with Progress(f"{options.handoff} hand-off", options.handoff_frames) as progress:
        for frame in frames:
            if online.take(frame):
                online.milestone(progress)
                if online.wants_hand_off():
                    handoff = online.hand_off()
                    progress.advance()
                    return handoff
            progress.advance()
    return None


def hand_off_short_stream(run: Run, online: Online) -> HandOff | None:
    """Hand off with what there is where the stream ended before the policy's hand-off.

    Raises:
        UserError: a recorded stream of fewer frames than one window.
    """
    options, n_frames, least = run.setup.options, run.findings.n_frames, run.setup.options.memory + 1
    if n_frames < least:
        if run.source.ending().status == "complete":
            raise UserError(
                f"{run.setup.system.source}: {n_frames} frames, and --memory {options.memory} needs "
                f"{least}; record more frames or lower --memory"
            )
        return None
    wanted = options.handoff_frames
    missing = "its interval was reached" if wanted is None else f"{wanted} frames"
    run.findings.warn(
        f"the stream ended at {n_frames} frames, before {missing}: handed off with all there are; "
        "record more frames for a narrower interval"
    )
    online.fit()
    return online.hand_off()
