"""Runs: learned from a stream, opened again, and what they hold as records and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlgle_lammps.api.streams import Journalled, Stream, read_stream
from mlgle_lammps.errors import RunFailure, UserError
from mlgle_lammps.evaluate.run_results import RunResult
from mlgle_lammps.evaluate.run_results import open_run as read_run
from mlgle_lammps.options.generate import GenerateOptions
from mlgle_lammps.options.learn import MADE_WITH_THE_RUN, LearnOptions
from mlgle_lammps.records import Float64, Frames, FrameSource, System, joined
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.run_folder import RunFolder

if TYPE_CHECKING:
    from mlgle_lammps.evaluate.observables import Observables
    from mlgle_lammps.evaluate.run_against_md import RunAgainstMd
    from mlgle_lammps.evaluate.two_streams import TwoStreams
    from mlgle_lammps.surrogates.contract import Model

GENERATED_WITH = ("steps", "ensemble", "save_every", "seed", "device", "threads")
"""Fields of GenerateOptions that `generate_ensemble` takes."""


@dataclass(frozen=True)
class ModeResult:
    """What a run found of one mode; None where it is not known.

    Attributes:
        mode: 1..k.
        model: what generates it, such as "AR(64)+network".
        relaxation_time: 1/e time of the generated mode, time.
        md_relaxation_time: of the MD that the model learned from.
        md_relaxation_time_se: its standard error.
        md_variance: per component, length².
        md_variance_se: its standard error.
        stationary_variance_ratio: generated over MD.
        val_nll: held-out negative log-likelihood, nats per 3D frame.
    """

    mode: int
    model: str | None = None
    relaxation_time: float | None = None
    md_relaxation_time: float | None = None
    md_relaxation_time_se: float | None = None
    md_variance: float | None = None
    md_variance_se: float | None = None
    stationary_variance_ratio: float | None = None
    val_nll: float | None = None


@dataclass(frozen=True)
class Run(RunResult):
    """A run's folder, opened: what `RunResult` holds (folder, result, system, D, D_generated, D_full_md), and more."""

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def modes(self) -> tuple[ModeResult, ...]:
        """What was found of each mode."""
        names = [entry.name for entry in fields(ModeResult)]
        return tuple(ModeResult(**{name: entry.get(name) for name in names}) for entry in self.result["modes"])

    @property
    def D_online(self) -> tuple[Float64, Float64, Float64]:
        """How D came about: frames (fit,), D (fit,), and its 95% interval (fit, 2)."""
        fits = self.result["D_online"]
        return (
            np.array([fit["frames"] for fit in fits], dtype=np.float64),
            np.array([fit["value"] for fit in fits], dtype=np.float64),
            np.array([fit["ci95"] for fit in fits], dtype=np.float64).reshape(len(fits), 2),
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a careful person would want to know."""
        return tuple(self.result.get("warnings") or ())

    def stream(self) -> Stream:
        """Return all recorded frames."""
        return read_stream(self.path, n_modes=self.system.n_modes)

    def generated(self) -> Stream:
        """Return the generated trajectories of generated.h5, as chains; raise UserError where there is no such file."""
        return read_stream(self.folder.generated, n_modes=self.system.n_modes)

    def model(self) -> Model:
        """Return what was learned; raise UserError where there is no model."""
        from mlgle_lammps.surrogates.catalogue import load_model

        return load_model(self.folder.find_model())

    @cached_property
    def md(self) -> Observables:
        """MSD, NACF, variances, distributions of the recorded frames along the directions of D; read once."""
        return self._observed(self.path)

    @cached_property
    def ensemble(self) -> Observables:
        """The same of the generated trajectories; read once."""
        return self._observed(self.folder.generated)

    def _observed(self, path: Path) -> Observables:
        from mlgle_lammps.evaluate.observables import observe
        from mlgle_lammps.evaluate.trajectories import read_trajectory, require_directions

        found = read_trajectory(path, directions=self.directions)
        require_directions(found.system.directions, path, self.directions)
        return observe(found)


def open_run(path: str | Path) -> Run:
    """Return the run in a folder; raise UserError where there is none, no D in it yet, or no stream."""
    return Run(**vars(read_run(Path(path))))


def observe_stream(path: str | Path, lags: Sequence[int] = (1,)) -> Observables:
    """Return every observable of a recorded or generated stream.

    Args:
        path: a run's folder, modes.h5, generated.h5 or .npz.
        lags: in frames, at which the distribution of displacements is wanted.

    Raises:
        UserError: a file that is missing, damaged or not a stream.
    """
    from mlgle_lammps.evaluate.observables import observe
    from mlgle_lammps.evaluate.trajectories import read_trajectory

    return observe(read_trajectory(Path(path)), lags)


def learn(source: FrameSource, out: str | Path, **options: Any) -> Run:
    """Learn from a stream as `mlgle replay` does, leave all results in a folder, and return it opened.

    Args:
        source: frames, such as ``read_stream``, ``stream_of_arrays`` or a ``Simulation`` give.
        out: the result folder, which must not exist (or give overwrite=True).
        options: fields of ``LearnOptions``: modes, memory, train_frames, val_frames, generate_steps, ensemble, seed ...

    Raises:
        UserError: options that make no sense or are none of the surrogate's, too few frames, a folder that is in the
            way, or a surrogate that learns from folders of runs.
        RunFailure: the stream failed, or results cannot be written.
    """
    import torch

    from mlgle_lammps.pipeline.learning import learn as learn_from
    from mlgle_lammps.surrogates.catalogue import find_preset

    asked = _learn_options(Path(out), options)
    find_preset(asked)
    folder = RunFolder.create(asked.out, asked.overwrite)
    threads = torch.get_num_threads()
    try:
        code = learn_from(Journalled(source, folder), asked, folder)
    except BaseException:
        if not folder.result.exists():
            folder.remove()
        raise
    finally:
        torch.set_num_threads(threads)
    run = open_run(asked.out)
    if code:
        raise RunFailure(f"{asked.out}: {run.result.get('message') or '; '.join(run.warnings)}")
    return run


def _learn_options(out: Path, options: dict[str, Any]) -> LearnOptions:
    """Return options that all mean something to the surrogate; raise UserError on others."""
    from mlgle_lammps.surrogates.catalogue import find_surrogate

    if late := [f"`{name}`" for name in MADE_WITH_THE_RUN if name in options]:
        raise UserError(f"{', '.join(late)}: decided when MD ran, and recorded as it was; leave it out")
    surrogate = find_surrogate(options.get("surrogate", LearnOptions.surrogate))
    surrogate.require_known(options)
    if surrogate.constrained or surrogate.learn_runs is not None:
        raise UserError(
            f"`surrogate` {surrogate.name} learns from folders of runs, not from a stream: mlgle replay RUN does it"
        )
    return LearnOptions(out, **{**surrogate.defaults, **options})


def generate_ensemble(run: Run, **options: Any) -> Stream:
    """Generate trajectories from a run's model, from where its frames end, into the memory.

    Args:
        run: with a model and its frames.
        options: these fields of ``GenerateOptions``: steps, ensemble, save_every, seed, device, threads.

    Returns:
        The trajectories as chains; kept steps are 1·save_every, 2·save_every, .. of Δt each.

    Raises:
        UserError: options that make no sense or are not among these, no model, or one whose molecules move together.
        RunFailure: a motion that ran away.
    """
    from mlgle_lammps.surrogates.catalogue import find_surrogate

    if unused := [f"`{name}`" for name in options if name not in GENERATED_WITH]:
        raise UserError(f"{', '.join(unused)}: generate_ensemble takes {', '.join(GENERATED_WITH)}")
    asked = GenerateOptions(run.path, **options)
    model = run.model()
    if find_surrogate(model.surrogate).constrained:
        raise UserError(
            f"{run.path}: molecules of {model.surrogate} move together: mlgle generate writes boxes of them, and "
            "read_stream(FILE, n_modes=0) reads these"
        )
    system, start = recorded_frames(run.folder, model)
    motion = model.start(
        start, asked.seed, n_trajectories=asked.trajectories, device=asked.device, threads=asked.threads
    )  # fmt: skip
    kept = [block.thinned(asked.save_every).embedded(model.directions).copy() for block in motion.advance(asked.steps)]
    about = replace(
        system, n_chains=asked.trajectories, n_modes=model.n_modes, dt=system.dt * asked.save_every,
        every=asked.save_every, directions=model.directions, channels=("com", "modes"), others=(), masses=(),
        source=f"generated from {run.path}",
    )  # fmt: skip
    return Stream(about, joined([block for block in kept if len(block)]))


def recorded_frames(folder: RunFolder, model: Model) -> tuple[System, Frames]:
    """Return the recorded system and the last uninterrupted frames up to the one that the model was learned up to.

    Args:
        folder: with modes.h5.
        model: of the run.

    Raises:
        UserError: no stream, or one that the model was not learned from.
    """
    from mlgle_lammps.surrogates.recorded import uninterrupted_end

    if not folder.modes.is_file():
        raise UserError(f"{folder.modes} is missing: generate starts from its frames")
    source = RecordedSource([folder.path], n_modes=model.n_modes)
    system = replace(source.system, source=str(folder.path))
    frames: list[Frames] = []
    for frame in source:
        frames.append(frame)
        if model.learned_up_to(frame.along(model.directions)):
            return system, uninterrupted_end(joined(frames), model.memory).along(model.directions)
    raise UserError(
        f"{folder.modes} does not hold the frames that {folder.find_model()} was learned from; put the two of one run "
        "together"
    )


def compare_with_md(run: Run, full_md: str | Path | None = None) -> RunAgainstMd:
    """Hold a run against MD: D by every way with its distance, and all observables side by side.

    Args:
        run: with its frames.
        full_md: a longer stream of MD of the same melt; None takes the run's own frames.

    Raises:
        UserError: a stream of another melt, or damaged.
    """
    from mlgle_lammps.evaluate.run_against_md import compare_with_md as compare

    return compare(run, None if full_md is None else Path(full_md))


def compare_streams(path: str | Path, reference: str | Path) -> TwoStreams:
    """Hold any stream against one of MD; see ``evaluate.two_streams.compare_streams``."""
    from mlgle_lammps.evaluate.two_streams import compare_streams as compare

    return compare(Path(path), Path(reference))
