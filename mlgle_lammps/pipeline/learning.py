"""All stages of a run in their order: frames in, numbers and files out. Knows neither LAMMPS nor MPI."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlgle_lammps.chains.laplacian import modes_taken
from mlgle_lammps.directions import Directions, no_direction
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import as_flags
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.pipeline.generation import generate_and_judge
from mlgle_lammps.pipeline.melt import learn_melt
from mlgle_lammps.pipeline.online import Online, hand_off_short_stream, learn_online
from mlgle_lammps.pipeline.reference import take_reference
from mlgle_lammps.pipeline.run import Run
from mlgle_lammps.records import Ending, FrameSource
from mlgle_lammps.report.interactive import import_plotly
from mlgle_lammps.report.last_screen import last_screen
from mlgle_lammps.report.report import RunCurves, write_run_report
from mlgle_lammps.report.result import Findings, Setup
from mlgle_lammps.report.stages import HandOff, Stages, Trained
from mlgle_lammps.resources.compute import available_cores, describe_device, resolve_devices, use_threads
from mlgle_lammps.resources.needs import announcement, needs_of
from mlgle_lammps.store.run_folder import RunFolder, plain
from mlgle_lammps.surrogates.catalogue import find_preset, find_surrogate
from mlgle_lammps.surrogates.recorded import uninterrupted_end

logger = logging.getLogger("mlgle")


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
    if find_surrogate(options.surrogate).constrained:
        return learn_melt(source, options, folder, variables)
    run = _begin(source, options, folder, variables or {})
    for line in (*source.system.left_out, *announcement(needs_of(source.system, options), folder.path)):
        logger.info(line)
    frames, online = iter(source), Online(run)
    run.show(Stages())
    handoff = learn_online(run, online, frames)
    if handoff is None and not source.broken():
        handoff = hand_off_short_stream(run, online)
    elif handoff is None and run.findings.n_frames > options.memory:
        online.fit()
        online.fit_others()
    stages = Stages(handoff=handoff)
    if handoff is not None and not source.broken():
        run.show(stages)
    if handoff is not None and not source.broken() and can_train(run):
        stages = replace(stages, trained=train(run, online, handoff))
    if handoff is not None and stages.trained is not None and options.generate_steps and not source.broken():
        stages = replace(stages, generated=generate_and_judge(run, handoff, stages.trained))
    if handoff is not None and options.full_md:
        run.show(stages)
        stages = replace(stages, reference=take_reference(run, frames, _slowest(run, stages, online)))
    return _finish(run, online, stages)


def _begin(
    source: FrameSource, options: LearnOptions, folder: RunFolder, variables: Mapping[str, Sequence[str]]
) -> Run:
    if options.interactive:
        import_plotly()  # before anything is learned in vain
    device, threads = describe_device(*resolve_devices(options.device)), options.threads or available_cores()
    use_threads(threads)
    n_modes = modes_taken(options.modes, source.system.species[0])
    setup = Setup(source.system, options, n_modes, variables, threads, device)
    return Run(source, folder, setup, Findings(directions=_known_directions(setup)), time.monotonic())


def _known_directions(setup: Setup) -> Directions:
    """Return the free directions by what is known before a frame has come: given, or left open by walls.

    Raises:
        UserError: walls close all of them, or the preset cannot learn from so few.
    """
    named = setup.options.directions
    directions = setup.system.directions if named is None else Directions.named(named)
    if not directions.n:
        raise UserError(f"{setup.system.source}: {no_direction(directions)}")
    find_preset(setup.options).require_dimensions(directions)
    return directions


def train(run: Run, online: Online, handoff: HandOff) -> Trained:
    """Train to the end on the window of the hand-off and save the model, unless the run was broken off meanwhile."""
    started = time.monotonic()
    model = online.trainer.finish(handoff.window)
    run.findings.train_s += time.monotonic() - started
    for note in model.notes:
        run.findings.note(note)
    trained = Trained(model, uninterrupted_end(handoff.window, model.memory))
    if not run.broken():
        model.save(run.folder.model)
        run.write_result(Stages(handoff=handoff, trained=trained))
    return trained


def can_train(run: Run) -> bool:
    """Whether the preset can learn from the directions that turned out to be free; a warning where it cannot."""
    try:
        find_preset(run.setup.options).require_dimensions(run.findings.directions)
    except UserError as error:
        run.findings.warn(f"nothing is learned or generated: {as_flags(str(error))}")
        return False
    return True


def _slowest(run: Run, stages: Stages, online: Online) -> float:
    """Return the relaxation time of mode 1: generated, else MD's, else what MD shows it to exceed."""
    times = [
        *(stages.generated.relaxation_times[:1] if stages.generated else ()),
        *(stages.handoff.md_modes.relaxation_time[:1] if stages.handoff else ()),
    ]
    known = [time for time in times if time is not None]
    return known[0] if known else online.n_held / 2 * run.setup.system.dt


def _finish(run: Run, online: Online, stages: Stages) -> int:
    """Write stream, result and report, whatever there is of them; return the exit code."""
    findings, options, ending = run.findings, run.setup.options, _ending(run)
    run.folder.assemble_modes(ending)
    generation_failed = bool(stages.trained and options.generate_steps and not stages.generated)
    complete = ending.status == "complete" and stages.trained is not None and not generation_failed
    if ending.status != "complete":
        findings.warn(f"the run ended early: {ending.message}")
    result = run.write_result(stages, ending, complete)
    if run.broken():
        run.show_end(result)
    else:
        write_run_report(run.folder, result, _curves(online, stages), options.interactive)
    if complete:
        run.folder.discard_checkpoints()
    D = findings.fits[-1].D if findings.fits else None
    warnings, lines = last_screen(plain(result), run.folder.path)
    for line in warnings:
        logger.warning("%s", line)
    for line in lines:
        logger.info("%s", line)
    if ending.status == "interrupted":
        return 0
    return 1 if ending.status == "failed" or generation_failed or D is None else 0


def _ending(run: Run) -> Ending:
    ending = run.source.ending()
    if run.broken() and ending.status == "complete":
        return replace(ending, status="interrupted", message="interrupted after MD had ended, while learning")
    return ending


def _curves(online: Online, stages: Stages) -> RunCurves:
    """Gather what the report draws."""
    handoff = stages.handoff
    return RunCurves(
        moments=online.moments.moments(),
        correlation=handoff.correlation if handoff else None,
        generated=stages.generated.summary if stages.generated else None,
        full_md=stages.reference.moments if stages.reference else None,
        md_relaxation_times=handoff.md_modes.relaxation_time if handoff else (),
    )
