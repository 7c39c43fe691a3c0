"""A model as a run leaves it, learned on either device from the same frames: what it generates, what a step costs.

Noise of modes that goes together, a centre that modes of other trajectories drive. The frames are of autoregressive
modes with correlated innovations, so that all of that is there to be learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from gpu_records import Plan, graphs, times_of
from speed_records import Measurement, judged

from mlgle_lammps.chains.spectrum import spectrum_of
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.records import Float64, Frames, System, joined
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.trainer import MlGleTrainer

DECAY = np.array([0.985, 0.95, 0.9, 0.85, 0.75, 0.65])
SIGMA = 1.0 / np.arange(1, 7)
TOGETHER = ((0, 2, -0.3), (1, 3, 0.25))
"""Modes of one parity and how their innovations are correlated."""
MEMORY, LAGS = 32, (1, 8, 64)


def frames_of(n_chains: int, n_frames: int) -> Frames:
    """Return frames of 20-bead chains: 6 modes with correlated innovations, the even ones in the centre too."""
    rng, n_modes = np.random.default_rng(4), len(DECAY)
    correlation = np.eye(n_modes)
    for p, q, c in TOGETHER:
        correlation[p, q] = correlation[q, p] = c
    mixing = np.linalg.cholesky(correlation)
    y = rng.standard_normal((n_chains, n_modes, 3))
    modes = np.empty((n_frames, n_chains, n_modes, 3), dtype=np.float32)
    for t in range(n_frames):
        noise = np.einsum("pq,cqx->cpx", mixing, rng.standard_normal(y.shape))
        y = DECAY[:, None] * y + np.sqrt(1 - DECAY**2)[:, None] * noise
        modes[t] = SIGMA[:, None] * y
    walk = 0.2 * rng.standard_normal((n_frames, n_chains, 3)).cumsum(axis=0)
    drive = 0.5 * modes[:, rng.permutation(n_chains), 1::2].sum(axis=2, dtype=np.float64)
    steps = np.arange(1, n_frames + 1)
    return Frames.of_chains(steps, np.zeros(n_frames, dtype=np.int64), walk + drive, modes)


def learned(frames: Frames, device: str, quick: bool) -> MlGleModel:
    """Return the model that the default trainer makes of the frames; networks stay as they were drawn where quick."""
    n_frames, n_chains = len(frames), frames.com.shape[1]
    system = System(n_chains, 20, len(DECAY), 1.0, time_unit="tau", length_unit="sigma")
    moments = MomentAccumulator(n_chains, len(DECAY), MEMORY)
    moments.add(frames)
    fit = fit_gle(moments.moments(), 1.0, "default", spectrum_of(system))
    train = n_frames * 5 // 8
    options = LearnOptions(
        Path("none"),
        modes=len(DECAY), memory=MEMORY, train_frames=train, val_frames=n_frames - train, preset="default",
        device=device, seed=1,
    )  # fmt: skip
    return MlGleTrainer(options, system, lambda: fit, lambda: quick).finish(frames)


def statistics(model: MlGleModel, device: str, n_steps: int, n_trajectories: int, seed: int) -> dict[str, Float64]:
    """Return (quantity, trajectory) values: MSD of the centre, variances of modes, correlations between modes."""
    motion = MlGleMotion(model, model.history, seed, n_trajectories, device=device)
    made = joined(list(motion.advance(n_steps)))
    y = made.modes.astype(np.float64) / _modes(model).sigma[:, None]
    centre = [((made.com[lag:] - made.com[:-lag]) ** 2).mean(axis=(0, 2)) for lag in LAGS]
    steps = y[1:] - y[:-1]
    together = [(steps[:, :, p] * steps[:, :, q]).mean(axis=(0, 2)) for p, q, _ in TOGETHER]
    return {
        "MSD of the centre": np.array(centre),
        "variance of the modes": (y**2).mean(axis=(0, 3)).T,
        "covariance of steps of coupled modes": np.array(together),
    }


def run(plan: Plan) -> Iterator[Measurement]:
    """Yield what was learned on the device beside what the CPU learned, what both generate, and the time of a step."""
    frames = frames_of(plan.size(60, 40, 16), plan.size(1600, 800, 240))
    models = {device: learned(frames, device, plan.quick) for device in dict.fromkeys((plan.device, "cpu"))}
    here, there = models[plan.device], models["cpu"]
    yield from _alike(here, there)
    n_steps = plan.size(4096, 512, 256)
    n_here, n_there = plan.size((2000, 300), (60, 60), (24, 24))
    ours = statistics(here, plan.device, n_steps, n_here, seed=11)
    others = statistics(there, "cpu", n_steps, n_there, seed=12)
    for quantity, one in ours.items():
        other = others[quantity]
        error = np.hypot(one.std(axis=1, ddof=1) / n_here**0.5, other.std(axis=1, ddof=1) / n_there**0.5)
        distance = float(np.max(np.abs(one.mean(axis=1) - other.mean(axis=1)) / error))
        yield judged(
            "learned model, generated", f"{quantity}, {plan.device} against cpu", "standard errors", (distance,),
            at_most=None if plan.quick else 4.0, note=f"{n_here} against {n_there} trajectories, {n_steps} steps",
        )  # fmt: skip
    yield from _same_with_graphs(plan, here)
    yield from _costs(plan, here)


def _alike(here: MlGleModel, there: MlGleModel) -> Iterator[Measurement]:
    case = "learned model, same frames"
    one, other = _modes(here), _modes(there)
    if one.coupling is None or other.coupling is None or here.tie is None or there.tie is None:
        yield judged(case, "coupled noise and a driven centre", "", (0.0,), at_least=1.0, note="not found")
        return
    apart = float(np.abs(one.coupling.correlation - other.coupling.correlation).max())
    yield judged(case, "correlation of innovations, difference", "", (apart,), at_most=1e-3)
    yield judged(
        case, "tie of the centre, modes that differ", "", (float(here.tie.modes != there.tie.modes),), None, 0.0
    )


def _modes(model: MlGleModel) -> ModeModel:
    assert isinstance(model.dynamics, ModeModel)
    return model.dynamics


def _same_with_graphs(plan: Plan, model: MlGleModel) -> Iterator[Measurement]:
    paths = []
    for on in (True, False):
        with graphs(on):
            motion = MlGleMotion(model, model.history, 3, plan.size(300, 30, 6), device=plan.device)
            paths.append(joined(list(motion.advance(plan.size(512, 128, 128)))))
    for quantity, values in (("modes", [p.modes for p in paths]), ("centres", [p.com for p in paths])):
        difference = float(np.abs(values[0] - values[1]).max())
        yield judged(
            "learned model, graph on and off", f"largest difference of {quantity}", "", (difference,), None, 0.0
        )


def _costs(plan: Plan, model: MlGleModel) -> Iterator[Measurement]:
    plain = replace(model, dynamics=replace(_modes(model), coupling=None), tie=None)
    n_steps = plan.size(8192, 256, 128)
    for n_trajectories in plan.size((300, 10_000), (300,), (20,)):
        for name, own in (("coupled noise, driven centre", model), ("neither", plain)):
            motion = MlGleMotion(own, own.history, 1, n_trajectories, device=plan.device)

            def work(motion: MlGleMotion = motion) -> None:
                for _ in motion.advance(n_steps):
                    pass

            times = tuple(1e3 * seconds / n_steps for seconds in times_of(work, plan.repeats))
            yield Measurement(f"learned model, {n_trajectories} trajectories", f"time of a step, {name}", "ms", times)
