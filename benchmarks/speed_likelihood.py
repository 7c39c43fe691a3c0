"""Time to a given held-out likelihood: the published way's best, reached by the published way and by ``default``.

The same 1000 + 600 frames for both. The published way trains one mode after another with early stopping; its clock runs
from the frames to the epoch of its best validation NLL, windows cut included, and is summed over 12 modes from those
that were trained. The clock of ``default`` runs from the frames to the model: the linear cores of all 12 modes, its
networks, their judgement and calibration. Both are judged on the same 600 frames, by nats per standardized increment.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import published_way
import torch
from speed_records import Measurement, Settings, judged
from speed_training import MEMORY, MODES, prepared, published_data, stream_of

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.autoregressive import choose_core, estimable_order, fit_core
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, core_nll, over_targets
from mlgle_lammps.surrogates.ml_gle.training_frames import TrainingFrames

TRAINED_MODES = (0, 1, 4)
PATIENCE = 4


@dataclass(frozen=True)
class Best:
    """The published way's best epoch of a mode.

    Attributes:
        seconds: from the frames to it.
        updates: gradient steps.
        value: validation NLL, nats per frame.
    """

    seconds: float
    updates: int
    value: float


def published_best(frames: TrainingFrames, mode: int, epochs: int) -> Best:
    """Train a mode the published way until its validation NLL has not fallen for some epochs."""
    torch.manual_seed(1)
    start = time.perf_counter()
    training, validation = published_data(frames, mode, MEMORY)
    prepared_in = time.perf_counter() - start
    network = published_way.PublishedNetwork(MEMORY).to(frames.y.device)
    best, stale = Best(np.inf, 0, np.inf), 0
    for epoch in published_way.train(network, training, validation, epochs):
        better = epoch.value < best.value
        if better:
            best = Best(prepared_in + epoch.seconds, epoch.updates, epoch.value)
        stale = 0 if better else stale + 1
        if stale == PATIENCE:
            break
    return best


def core_alone(frames: TrainingFrames) -> tuple[float, Float64]:
    """Return seconds from the frames to the linear cores of all modes, and their NLL on all held-out frames."""
    start = time.perf_counter()
    y, segments = frames.y.cpu().numpy(), frames.segments
    choice = choose_core(y, segments, frames.n_train, MEMORY)
    order = estimable_order(segments[: frames.n_train], MEMORY)
    core = fit_core(y[: frames.n_train], segments[: frames.n_train], choice.orders, choice.widths, order)
    seconds = time.perf_counter() - start
    data = ResidualData(frames, core, equivariant.Architecture.within(MEMORY))
    held_out = torch.cat([frames.targets.stop, frames.targets.judge])
    values = over_targets(data, held_out, core_nll).double().mean(1).cpu().numpy()
    return seconds, values + 3 * np.log(np.sqrt(core.innovation_variance) * frames.sigma / frames.sigma_increment)


def run(settings: Settings) -> list[Measurement]:
    """Return times, likelihoods and their ratio."""
    stream = stream_of(settings, 50)
    frames = prepared(stream, settings)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the published way's small operations gain nothing from more
    modes = TRAINED_MODES[:1] if settings.quick else TRAINED_MODES
    best = {mode: published_best(frames, mode, 2 if settings.quick else 60) for mode in modes}
    torch.set_num_threads(threads)
    cores = [core_alone(frames) for _ in range(settings.repeats)]
    core_value = cores[0][1]
    options = TrainOptions(memory=MEMORY, train_frames=frames.n_train, val_frames=len(frames.y) - frames.n_train)
    if settings.quick:
        options = replace(options, max_updates=25)
    window = stream.window(slice(0, len(frames.y)))
    start = time.perf_counter()
    model = ModeTrainer(options).finish(window)
    full = time.perf_counter() - start
    total = MODES * float(np.mean([b.seconds for b in best.values()]))
    reached = all(core_value[mode] <= b.value for mode, b in best.items())
    results = []
    for mode, b in best.items():
        case = f"mode {mode + 1}"
        note = f"best epoch, {b.updates} updates, one core"
        gain = model.reports[mode].details.get("network_gain") or 0.0
        results += [
            Measurement(case, "published: seconds to its best validation NLL", "s", (b.seconds,), note=note),
            Measurement(case, "published: its best validation NLL", "nats", (b.value,)),
            Measurement(case, "default, linear core: NLL on the same frames", "nats", (float(core_value[mode]),)),
            Measurement(case, "default, network: further gain", "nats", (float(gain),), note="half of these frames"),
        ]
    case = "all modes"
    note = "mean of the modes trained, times 12"
    held = "the linear cores' likelihood is " + ("" if reached else "NOT ") + "at least as good on every mode trained"
    seconds = tuple(s for s, _ in cores)
    ratios = tuple(total / s if reached else 0.0 for s in seconds)
    return [
        *results,
        Measurement(case, "published: seconds to its best", "s", (total,), note=note),
        Measurement(case, "default: seconds to the linear cores", "s", seconds, note=held),
        judged(case, "published / default, to the published way's best", "×", ratios, at_least=8.0, note=held),
        Measurement(case, "default: seconds to the whole model", "s", (full,), note="networks, calibration and all"),
        Measurement(case, "published / default, to the whole model", "×", (total / full,), note="a better one"),
    ]
