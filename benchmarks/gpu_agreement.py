"""A GPU against the CPU: steps from the same noise, likelihoods, generated variance and NACF; graphs on and off.

Where there is no GPU the CPU stands in for it, which shows that the comparison runs and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from gpu_generation import NAMES, made_up
from gpu_records import Plan, graphs
from gpu_training import frames_on, networks_on, published_networks_on, trainer_of
from speed_records import Measurement, judged

from mlgle_lammps.records import Float64, joined
from mlgle_lammps.surrogates.ml_gle.batch import BLOCK
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.residual_training import over_targets, sample_nll
from mlgle_lammps.surrogates.ml_gle.training_frames import TrainingFrames

LAGS = (1, 8, 64)
_LIKELIHOOD = 1e-4


def run_steps(plan: Plan) -> Iterator[Measurement]:
    """Yield how far steps from the same start and noise differ, in standard deviations of a mode."""
    for kind, name in NAMES.items():
        n_steps = plan.size(256 if kind == "paper" else 1024, 64, 20)
        paths = {
            (device, dtype): filled(kind, device, dtype, n_steps, plan.size(50, 8, 2))
            for device, dtype in (
                ("cpu", torch.float64), (plan.device, torch.float64), (plan.device, torch.float32)
            )
        }  # fmt: skip
        exact, here = paths["cpu", torch.float64], paths[plan.device, torch.float64]
        spread, case = float(exact.std()), f"same noise, {name}"
        difference = float((here - exact).abs().max()) / spread
        note = f"largest over {n_steps} steps"
        yield judged(case, f"{plan.device} against cpu, float64", "σ", (difference,), at_most=1e-6, note=note)
        strayed = float((paths[plan.device, torch.float32] - here).abs().max()) / spread
        limit = 1e-4 if kind == "core" else 2e-2
        yield judged(case, f"float32 against float64 on {plan.device}", "σ", (strayed,), at_most=limit, note=note)


def filled(kind: str, device: str, dtype: torch.dtype, n_steps: int, n_trajectories: int) -> torch.Tensor:
    """Return what the steppers make of one and the same start and noise, (mode, step, 3, trajectory)."""
    result: dict[int, torch.Tensor] = {}
    for stepper in made_up(kind, n_trajectories).dynamics.steppers(torch.device(device), dtype):
        generator = torch.Generator().manual_seed(2)
        rows, shape = len(stepper.modes), (3, n_trajectories)
        noise = torch.randn(rows, n_steps, *shape, generator=generator, dtype=torch.float64)
        start = 0.3 * torch.randn(rows, stepper.reach, *shape, generator=generator, dtype=torch.float64)
        buffer = torch.zeros(rows, stepper.reach + n_steps, *shape, dtype=dtype, device=device)
        buffer[:, : stepper.reach] = start.to(device, dtype)
        with torch.inference_mode():
            stepper.fill(buffer, noise.to(device, dtype))
        result |= dict(zip(stepper.modes, buffer[:, stepper.reach :].double().cpu(), strict=True))
    return torch.stack([result[mode] for mode in sorted(result)])


def run_likelihoods(plan: Plan) -> Iterator[Measurement]:
    """Yield how far held-out likelihoods differ: of the same weights, and of networks trained on either device."""
    n_chains, n_frames = plan.size(20, 8, 6), plan.size(640, 400, 240)
    here, there = (frames_on(device, n_chains, n_frames) for device in (plan.device, "cpu"))
    n_updates, words = plan.size(75, 6, 2), "trained on either device with the same batches"
    case = "held-out likelihood, default"
    values, networks = {}, networks_on(there)[0]
    networks.update(networks_on(there)[1], plan.size(20, 4, 2))
    for device, frames in ((plan.device, here), ("cpu", there)):
        data = networks_on(frames)[1]
        tensors = {name: t.to(device) for name, t in (networks.mean | networks.scales).items()}
        index = torch.cat([frames.targets.stop, frames.targets.judge])
        values[device == "cpu"] = over_targets(data, index, partial(sample_nll, tensors)).double().mean(1).cpu()
    yield _largest(case, "same weights", values.get(False, values[True]), values[True])
    one, other = (_best(frames, n_updates) for frames in (here, there))
    yield _largest(case, words, one, other, note=f"{n_updates} updates")
    case = "held-out likelihood, paper"
    values, trained = {}, []
    cpu_trainer = published_networks_on(there)
    cpu_trainer.round(there, plan.size(20, 4, 2))
    for device, frames in ((plan.device, here), ("cpu", there)):
        trainer = published_networks_on(frames)
        trainer.weights = {name: w.detach().to(device) for name, w in cpu_trainer.weights.items()}
        index = torch.cat([frames.targets.stop, frames.targets.judge])
        values[device == "cpu"] = trainer.nll(frames, index).double().mean(1).cpu()
        trainer = published_networks_on(frames)
        trainer.round(frames, n_updates)
        trained.append(trainer.nll(frames, index).double().mean(1).cpu())
    yield _largest(case, "same weights", values.get(False, values[True]), values[True])
    yield _largest(case, words, trained[0], trained[1], note=f"{n_updates} updates")


def _best(frames: TrainingFrames, n_updates: int) -> torch.Tensor:
    """Return the best held-out likelihood of each mode that training reaches."""
    trainer, data = networks_on(frames)
    return trainer.train(data, n_updates, max(1, n_updates // 3), 9, lambda: False).best.double().cpu()


def _largest(case: str, quantity: str, one: torch.Tensor, other: torch.Tensor, note: str = "") -> Measurement:
    difference = float((one - other).abs().max())
    words = f"largest of {len(one)} modes; values {float(other.min()):.4f} to {float(other.max()):.4f}"
    words += "; " + note if note else ""
    return judged(case, "difference, " + quantity, "nats", (difference,), at_most=_LIKELIHOOD, note=words)


def run_generated(plan: Plan) -> Iterator[Measurement]:
    """Yield how far generated variances and NACFs of the two devices differ, in standard errors of the difference."""
    for kind, name in NAMES.items():
        n_steps = BLOCK * plan.size(4 if kind == "paper" else 16, 2, 2)
        n_there = plan.size(300, 50, 20)
        n_here = plan.size(2000, 50, 20)
        here = statistics(kind, plan.device, n_steps, n_here, seed=11)
        there = statistics(kind, "cpu", n_steps, n_there, seed=12)
        case = f"generated, {name}"
        note = f"largest of 12 modes; {n_here} trajectories against {n_there}, {n_steps // 2} steps"
        for quantity, (one, one_se), (other, other_se) in zip(
            ("variance", *(f"NACF at lag {lag}" for lag in LAGS)), here, there, strict=True
        ):
            distance = float(np.max(np.abs(one - other) / np.hypot(one_se, other_se)))
            limit = None if plan.quick else 4.0
            yield judged(
                case,
                quantity + f", {plan.device} against cpu",
                "standard errors",
                (distance,),
                at_most=limit,
                note=note,
            )


def statistics(kind: str, device: str, n_steps: int, n_trajectories: int, seed: int) -> list[tuple[Float64, Float64]]:
    """Return variance and NACF at some lags of the second half of generated steps, each with its standard error."""
    model = made_up(kind, n_trajectories)
    motion = MlGleMotion(model, model.history, seed, n_trajectories, device=device)
    for _ in motion.advance(n_steps // 2):
        pass
    y = joined(list(motion.advance(n_steps // 2))).modes  # of unit σ_z
    square = np.einsum("tckx,tckx->ck", y, y, dtype=np.float64) / (3 * len(y))
    variance = square.mean(0)
    result = [(variance, square.std(0, ddof=1) / np.sqrt(n_trajectories))]
    for lag in LAGS:
        n = len(y) - lag
        product = np.einsum("tckx,tckx->ck", y[:n], y[lag:], dtype=np.float64) / (3 * n)
        nacf = product.mean(0) / variance
        rest = (product - nacf * square) / variance
        result.append((nacf, rest.std(0, ddof=1) / np.sqrt(n_trajectories)))
    return result


def run_graphs(plan: Plan) -> Iterator[Measurement]:
    """Yield how far what is replayed differs from what is launched piece by piece: not at all."""
    for kind, name in NAMES.items():
        n_trajectories = plan.size(300, 30, 6)
        paths = []
        for on in (True, False):
            model = made_up(kind, n_trajectories)
            with graphs(on):
                motion = MlGleMotion(model, model.history, 3, n_trajectories, device=plan.device)
                paths.append(joined(list(motion.advance(plan.size(4, 1, 1) * BLOCK))).modes)
        difference = float(np.abs(paths[0] - paths[1]).max())
        yield judged(f"graph on and off, {name}", "largest difference", "σ", (difference,), at_most=0.0)
    frames = frames_on(plan.device, plan.size(20, 8, 6), plan.size(400, 300, 240))
    for preset in ("default", "paper"):
        weights = []
        for on in (True, False):
            with graphs(on):
                trainer, update = trainer_of(preset, frames)
                update(plan.size(40, 16, 2))
                weights.append([w.detach().cpu() for w in trainer.weights.values()])
        difference = max(float((a - b).abs().max()) for a, b in zip(*weights, strict=True))
        yield judged(
            f"graph on and off, training, {preset}", "largest difference of a weight", "", (difference,), at_most=0.0
        )
