"""Training on a GPU: updates of both presets against the published way on the same device; time to a likelihood.

A Rouse melt of 100 chains, m = 128, 12 modes. The published way trains one mode at a time from a DataLoader, its
windows on the device or in the host's memory, whence each batch is moved; the same updates of ``paper`` serve all
modes, and ``default`` has batches of 2048, so that its work is counted in windows × modes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np
import published_way
import torch
from accuracy_streams import Stream, collect
from gpu_records import Plan, graphs, peak_memory, times_of
from speed_likelihood import core_alone
from speed_records import Measurement, in_pairs, judged, ratio, with_best_threads

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.autoregressive import fit_core
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.published.training import PublishedTrainer
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, ResidualTrainer
from mlgle_lammps.surrogates.ml_gle.training_frames import TrainingFrames, prepare_frames

MEMORY, MODES, PATIENCE = 128, 12, 4
WANTED = 50.0
Trainer = PublishedTrainer | ResidualTrainer
_WARM_UP = 20  # updates, more than are made before a step is captured


@lru_cache
def stream_of(n_chains: int, n_frames: int) -> Stream:
    """Return a Rouse melt."""
    return collect(RouseSource(n_chains, 20, MODES, n_frames, 0.135, 1), "Rouse melt")


def sizes(plan: Plan) -> tuple[int, int]:
    """Return chains and frames."""
    return plan.size(100, 50, 8), plan.size(1600, 800, 240)


def frames_on(device: str, n_chains: int, n_frames: int, memory: int = MEMORY) -> TrainingFrames:
    """Return standardized frames, ten sixteenths of them for training."""
    n_train = n_frames * 10 // 16
    window = stream_of(n_chains, n_frames).window(slice(0, n_frames))
    return prepare_frames(window, memory, n_train, n_frames - n_train, torch.device(device), False)


def published_windows(frames: TrainingFrames, mode: int, device: str) -> tuple[torch.utils.data.TensorDataset, ...]:
    """Return the windows of one mode for training and for validation, in the memory of a device."""
    y, scale = frames.y[:, :, mode].to(device), float(frames.sigma[mode] / frames.sigma_increment[mode])
    return tuple(
        published_way.windows(y, targets, MEMORY, scale)
        for targets in (range(MEMORY, frames.n_train), range(frames.n_train, len(y)))
    )


class MovedTraining(published_way.Training):
    """The published way with windows in the host's memory: each batch is moved to where the network is."""

    def _without_end(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        device = next(self.network.parameters()).device
        for inputs, targets in super()._without_end():
            yield inputs.to(device), targets.to(device)


def published_trainings(plan: Plan, frames: TrainingFrames) -> dict[str, published_way.Training]:
    """Return the published way by where its windows are."""
    torch.manual_seed(1)
    on_device = published_windows(frames, 0, plan.device)[0]
    ways = {
        "windows on the device": published_way.Training(
            published_way.PublishedNetwork(MEMORY).to(plan.device), on_device
        )
    }
    if plan.on_gpu:
        in_memory = published_windows(frames, 0, "cpu")[0]
        network = published_way.PublishedNetwork(MEMORY).to(plan.device)
        ways["windows in the host's memory"] = MovedTraining(network, in_memory)
    return ways


def networks_on(frames: TrainingFrames, seed: int = 1) -> tuple[ResidualTrainer, ResidualData]:
    """Return ``default``'s networks of all modes on top of linear cores of order 16, with their data."""
    y, order = frames.y[: frames.n_train].cpu().numpy(), 16
    core = fit_core(y, frames.segments[: frames.n_train], (order,) * MODES, (0.2,) * MODES, order)
    architecture = equivariant.Architecture.within(MEMORY)
    data = ResidualData(frames, core, architecture)
    trainer = ResidualTrainer(architecture, MODES, frames.y.device, seed, 2e-3, 10.0, 2048)
    trainer.measure(data)
    return trainer, data


def published_networks_on(frames: TrainingFrames) -> PublishedTrainer:
    """Return ``paper``'s networks."""
    device = frames.y.device
    return PublishedTrainer(MEMORY, MODES, device, 1, published_way.LEARNING_RATE, published_way.BATCH)


def run(plan: Plan) -> Iterator[Measurement]:
    """Yield rates of both presets and their ratios to the published way."""
    frames = frames_on(plan.device, *sizes(plan))
    ways = published_trainings(plan, frames)
    n_windows = {"paper": published_way.BATCH, "default": min(2048, len(frames.targets.train))}
    n_updates = {"paper": plan.size(200, 10, 2), "default": plan.size(100, 3, 1)}
    for preset in ("paper", "default"):
        case, n, found = f"training, {preset}", n_updates[preset], list[Measurement]()
        update = updates_of(preset, frames)
        with peak_memory(plan, case, found):
            if plan.on_gpu:
                update(_WARM_UP)
            times = times_of(partial(update, n), plan.repeats)
        yield Measurement(case, "updates of all modes per second", "1/s", tuple(n / t for t in times))
        yield from found
        if plan.on_gpu:
            with graphs(False):
                plain = updates_of(preset, frames)
                plain(_WARM_UP)
                without = times_of(partial(plain, 30), max(2, plan.repeats - 2))
            yield Measurement(case, "updates of all modes per second, graph off", "1/s", tuple(30 / t for t in without))
        for where, way in ways.items():
            n_theirs = plan.size(40, 20, 2)
            one, other = in_pairs(partial(way.update, n_theirs), partial(update, n), plan.repeats)
            theirs = [MODES * t / (n_theirs * published_way.BATCH) for t in one]
            mine = [t / (n * n_windows[preset]) for t in other]
            yield Measurement(
                case, f"published, {where}: updates of one mode per second", "1/s", tuple(n_theirs / t for t in one)
            )
            wanted = WANTED if plan.on_gpu and not plan.quick else None
            quantity = f"windows × modes per second, ours / published with {where}"
            yield ratio(case, quantity, theirs, mine, at_least=wanted)


def trainer_of(preset: str, frames: TrainingFrames) -> tuple[Trainer, Callable[[int], None]]:
    """Return a preset's trainer, and what makes so many updates with it."""
    if preset == "paper":
        trainer = published_networks_on(frames)
        return trainer, lambda n: trainer.round(frames, n)
    networks, data = networks_on(frames)
    return networks, lambda n: networks.update(data, n)


def updates_of(preset: str, frames: TrainingFrames) -> Callable[[int], None]:
    """Return what makes updates of a preset's networks."""
    return trainer_of(preset, frames)[1]


def run_likelihood(plan: Plan) -> Iterator[Measurement]:
    """Yield seconds to the published way's best held-out likelihood of mode 1, and those of ``default`` to it."""
    frames = frames_on(plan.device, plan.size(50, 20, 8), plan.size(1600, 500, 240))
    seconds, updates, best = published_best(plan, frames)
    case = "time to a likelihood"
    note = f"mode 1, {updates} updates, windows in the host's memory"
    yield Measurement(case, "published: seconds to its best validation NLL, one mode", "s", (seconds,), note=note)
    yield Measurement(case, "published: its best validation NLL", "nats", (best,))
    cores, values = core_alone(frames)
    value = float(values[0])
    reached = value <= best
    yield Measurement(case, "default: NLL of the linear core on the same frames", "nats", (value,))
    yield Measurement(case, "default: seconds to the linear cores of 12 modes", "s", (cores,), note="on the CPU")
    factor = (MODES * seconds / cores if reached else 0.0,)
    words = "the linear core is " + ("at least as good" if reached else "NOT as good")
    yield judged(case, "published / default, 12 modes", "×", factor, note=words)
    if plan.quick:
        return
    n_frames = len(frames.y)
    options = TrainOptions(MEMORY, frames.n_train, n_frames - frames.n_train, plan.device)
    window = stream_of(plan.size(50, 20, 8), n_frames).window(slice(0, n_frames))
    found: list[Measurement] = []
    start = time.perf_counter()
    with peak_memory(plan, case, found):
        model = ModeTrainer(options).finish(window)
    whole = time.perf_counter() - start
    kept = sum(report.details["network"] for report in model.reports)
    yield Measurement(
        case, "default: seconds to the whole model", "s", (whole,), note=f"networks kept: {kept} of {MODES}"
    )
    yield from found


def published_best(plan: Plan, frames: TrainingFrames) -> tuple[float, int, float]:
    """Return seconds and updates to the best epoch of mode 1 the published way, and its validation NLL."""
    torch.manual_seed(1)
    start = time.perf_counter()
    training, _ = published_windows(frames, 0, "cpu")
    _, validation = published_windows(frames, 0, plan.device)
    run_of = MovedTraining(published_way.PublishedNetwork(MEMORY).to(plan.device), training)
    best, stale, judging = (np.inf, 0, np.inf), 0, 0.0
    most = time.perf_counter() + max(5.0, min(40.0, plan.left / 2))
    for _ in range(plan.size(60, 4, 1)):
        run_of.update(run_of.updates_per_epoch)
        judged_from = time.perf_counter()
        seconds = judged_from - start - judging
        value = whole_nll(run_of.network, validation)
        judging += time.perf_counter() - judged_from
        better = value < best[2]
        best, stale = ((seconds, run_of.n_updates, value), 0) if better else (best, stale + 1)
        if stale == PATIENCE or time.perf_counter() > most:
            break
    return best


def whole_nll(network: published_way.PublishedNetwork, validation: torch.utils.data.TensorDataset) -> float:
    """Return the NLL of all validation windows, in large pieces: its time is not the published way's."""
    inputs, targets = validation.tensors
    with torch.no_grad():
        pieces = zip(inputs.split(16384), targets.split(16384), strict=True)
        total = sum(float(published_way.nll(t, *network(i))) * len(i) for i, t in pieces)
    return total / len(inputs)


def run_cores(plan: Plan) -> Iterator[Measurement]:
    """Yield updates on the CPU's cores beside the GPU, in short."""
    frames = {device: frames_on(device, *sizes(plan)) for device in dict.fromkeys(("cpu", plan.device))}
    for preset, n in (("paper", plan.size(10, 5, 1)), ("default", plan.size(4, 2, 1))):
        case, here = f"training, {preset}, CPU", updates_of(preset, frames["cpu"])
        times = times_of(with_best_threads(partial(here, n)), 2)
        yield Measurement(case, "updates of all modes per second", "1/s", tuple(n / t for t in times))
        if plan.on_gpu:
            there = updates_of(preset, frames["cuda"])
            there(_WARM_UP)
            gpu = times_of(partial(there, 10 * n), 2)
            yield ratio(case, "CPU / GPU", [10 * t for t in times], gpu, note=f"1 or {torch.get_num_threads()} threads")
