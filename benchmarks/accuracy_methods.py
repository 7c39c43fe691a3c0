"""The methods compared: each takes a short segment and says D, or how each mode relaxes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from accuracy_streams import TIME_LAGS, Stream

from mlgle_lammps.diffusion.baselines import (
    fit_ornstein_uhlenbeck,
    fit_stretched_exponential,
    fit_yule_walker,
    generalized_rouse_diffusion,
    msd_over_time,
    msd_slope,
)
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.records import Estimate, Float64
from mlgle_lammps.statistics.correlation import autocorrelation, relaxation_times
from mlgle_lammps.statistics.moments import Moments
from mlgle_lammps.surrogates.ml_gle.dynamics import ModeDynamics
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.linear_core import autocovariance
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.published.training import PublishedModeTrainer, PublishedOptions

TERMS_WITHOUT_BEADS = 20
GENERATED_STEPS = 3000
GENERATED_TRAJECTORIES = 300
KINISI_LAGS = 48

DiffusionMethod = Callable[[Moments, Stream, slice], Estimate]


def diffusion_methods(memory: int, with_kinisi: bool) -> dict[str, DiffusionMethod]:
    """Return the estimators of D by name."""
    methods: dict[str, DiffusionMethod] = {
        "default": lambda moments, stream, piece: fit_gle(moments, stream.dt, "default", stream.spectrum).D,
        "paper": lambda moments, stream, piece: fit_gle(moments, stream.dt, "published").D,
        "GRK": lambda moments, stream, piece: generalized_rouse_diffusion(
            moments, stream.dt, stream.n_beads or TERMS_WITHOUT_BEADS
        ),
        "MSD(m)/2t": lambda moments, stream, piece: msd_over_time(moments, stream.dt),
        "slope m/2..m": lambda moments, stream, piece: msd_slope(moments, stream.dt),
    }
    if with_kinisi:
        methods["kinisi from m"] = lambda moments, stream, piece: kinisi_diffusion(stream, piece, memory)
    return methods


def kinisi_installed() -> bool:
    """Whether kinisi can be imported."""
    return find_spec("kinisi") is not None


def kinisi_diffusion(stream: Stream, piece: slice, start: int) -> Estimate:
    """Return kinisi's Bayesian regression of the MSD from lag ``start`` (frames) to the segment's end.

    Lengths are given to kinisi as angstrom and times as fs: it converts to cm²/s (1 Å²/fs = 0.1 cm²/s).
    """
    import scipp as sc
    from kinisi.diffusion import Diffusion
    from kinisi.displacement import calculate_msd
    from kinisi.parser import Parser

    com = stream.com[piece] - stream.com[piece].mean(axis=1, keepdims=True)
    n_frames, n_chains, _ = com.shape
    box = 1e4 * max(1.0, float(np.abs(com).max()))
    lags = np.unique(np.linspace(min(start, n_frames // 4), n_frames - 1, KINISI_LAGS).astype(int))
    lattice = np.broadcast_to(np.eye(3) * box, (n_frames, 3, 3)).copy()
    with contextlib.redirect_stderr(io.StringIO()):
        parser = Parser(
            coords=sc.array(dims=["time", "particle", "dimension"], values=com / box),
            latt=sc.array(dims=["time", "dimension1", "dimension2"], values=lattice, unit="angstrom"),
            time_step=stream.dt * sc.Unit("fs"),
            step_skip=sc.scalar(1),
            dt=sc.array(dims=["time interval"], values=lags * stream.dt, unit="fs"),
            specie_indices=sc.array(dims=["particle"], values=np.arange(n_chains)),
            drift_indices=sc.array(dims=["particle"], values=np.array([], dtype=int)),
        )
        diffusion = Diffusion(calculate_msd(parser, progress=False))
        diffusion._diffusion(lags[0] * stream.dt * sc.Unit("fs"), progress=False)
    samples = diffusion.D.values * 10
    low, high = np.percentile(samples, [2.5, 97.5])
    return Estimate(
        float(samples.mean()), float(samples.std()), (float(low), float(high)), f"kinisi from lag {lags[0]}"
    )


@dataclass(frozen=True)
class ModeOutcome:
    """What a model of the modes would generate.

    Attributes:
        nacf: (lag, mode).
        variance: (mode,) stationary, length².
        times: (mode,) 1/e times, NaN beyond the lags.
    """

    nacf: Float64
    variance: Float64
    times: Float64


def _outcome(nacf: Float64, variance: Float64, dt: float) -> ModeOutcome:
    times = [np.nan if t is None else t for t in relaxation_times(nacf, dt)]
    return ModeOutcome(nacf, np.asarray(variance), np.array(times))


ModeMethod = Callable[[Stream, slice], ModeOutcome]


def mode_methods(memory: int, train_frames: int, networks: bool, seed: int = 1) -> dict[str, ModeMethod]:
    """Return the models of the modes by name, all fitted to the same frames."""

    def default(stream: Stream, piece: slice) -> ModeOutcome:
        n_frames = piece.stop - piece.start
        options = TrainOptions(
            memory=memory, train_frames=train_frames, val_frames=n_frames - train_frames, networks=networks, seed=seed
        )
        model = ModeTrainer(options).finish(stream.window(piece))
        return _of_core(model, stream.dt) if model.networks is None else _generated(model, stream, piece, None)

    return {
        "default": default,
        "segment itself": _raw,
        "Ornstein-Uhlenbeck": lambda stream, piece: _curves(stream, piece, fit_ornstein_uhlenbeck),
        "stretched exponential": lambda stream, piece: _curves(stream, piece, fit_stretched_exponential),
        "Yule-Walker AR(1)": lambda stream, piece: _yule_walker(stream, piece, 1),
        f"Yule-Walker AR({memory // 2})": lambda stream, piece: _yule_walker(stream, piece, memory // 2),
        f"Yule-Walker AR({memory})": lambda stream, piece: _yule_walker(stream, piece, memory),
    }


def _of_core(model: ModeModel, dt: float) -> ModeOutcome:
    covariance = autocovariance(model.core, TIME_LAGS).T
    return _outcome(covariance / covariance[0], covariance[0] * model.sigma**2, dt)


def _raw(stream: Stream, piece: slice) -> ModeOutcome:
    sample = autocorrelation(stream.modes[piece], stream.segments[piece], TIME_LAGS)
    return _outcome(sample.nacf, sample.variance, stream.dt)


def _curves(stream: Stream, piece: slice, fit: Callable[[Float64, float], object]) -> ModeOutcome:
    half = (piece.stop - piece.start) // 2
    sample = autocorrelation(stream.modes[piece], stream.segments[piece], half)
    time = np.arange(TIME_LAGS) * stream.dt
    nacf = np.stack([fit(column, stream.dt).nacf(time) for column in sample.nacf.T], axis=1)  # type: ignore[attr-defined]
    return _outcome(nacf, sample.variance, stream.dt)


def _yule_walker(stream: Stream, piece: slice, order: int) -> ModeOutcome:
    models = fit_yule_walker(stream.modes[piece], stream.segments[piece], order)
    nacf = np.stack([model.nacf(TIME_LAGS) for model in models], axis=1)
    return _outcome(nacf, np.array([model.variance for model in models]), stream.dt)


def published_networks(stream: Stream, piece: slice, memory: int, train_frames: int, modes: list[int]) -> ModeOutcome:
    """Train preset ``paper`` on some modes (0-based) and generate from it."""
    options = PublishedOptions(memory, train_frames, val_frames=piece.stop - piece.start - train_frames)
    model = PublishedModeTrainer(options).finish(stream.window(piece, modes))
    return _generated(model, stream, piece, modes)


def _generated(model: ModeDynamics, stream: Stream, piece: slice, modes: list[int] | None) -> ModeOutcome:
    """Return what is generated; every segment has noise of its own, or its 3% error of τ_1 would look like a bias."""
    history, seed = stream.window(piece, modes).modes, 1 + piece.start
    whole = MlGleModel(model, 0.0, 1.0, stream.dt, "time", "length", history)
    motion = MlGleMotion(whole, history, seed, GENERATED_TRAJECTORIES)
    chunks = [chunk.modes for chunk in motion.advance(GENERATED_STEPS)]
    steps = np.concatenate(chunks)[GENERATED_STEPS // 6 :]
    sample = autocorrelation(steps, np.zeros(len(steps), dtype=np.int64), len(steps) // 2)
    return _outcome(sample.nacf, sample.variance, stream.dt)
