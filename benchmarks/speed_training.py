"""Training: windows × modes per second against the published way, on equal data and for equal updates.

A Rouse melt of 100 chains, m = 128, 12 modes, 1000 frames for training. The published way trains one mode at a time
from a DataLoader; ``paper`` trains the same networks as one batch of 12, windows cut and rotated as they are needed;
``default`` trains its own smaller networks on top of the linear core, with batches of 2048.
"""

from __future__ import annotations

import numpy as np
import published_way
import torch
from accuracy_streams import Stream, collect, recorded_stream
from speed_records import Measurement, Settings, in_pairs, ratio, with_best_threads

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.autoregressive import fit_core
from mlgle_lammps.surrogates.ml_gle.published.training import PublishedTrainer
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, ResidualTrainer
from mlgle_lammps.surrogates.ml_gle.training_frames import TrainingFrames, prepare_frames

MEMORY, MODES = 128, 12


def stream_of(settings: Settings, n_chains: int = 100) -> Stream:
    """Return the recorded melt of the settings, or a Rouse melt; its first 1600 frames are used (quick: 320)."""
    if settings.record is not None:
        return recorded_stream(settings.record, MODES)
    n_frames = 320 if settings.quick else 1600
    source = RouseSource(20 if settings.quick else n_chains, 20, MODES, n_frames, 0.135, 1)
    return collect(source, "Rouse melt")


def prepared(stream: Stream, settings: Settings) -> TrainingFrames:
    """Return standardized frames, ten sixteenths of them for training."""
    n_frames = min(320 if settings.quick else 1600, stream.n_frames)
    n_train = n_frames * 10 // 16
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return prepare_frames(stream.window(slice(0, n_frames)), MEMORY, n_train, n_frames - n_train, device, False)


def published_data(frames: TrainingFrames, mode: int, memory: int) -> tuple[torch.utils.data.TensorDataset, ...]:
    """Return the windows of one mode for training and for validation."""
    y = frames.y[:, :, mode]
    ratio_of = float(frames.sigma[mode] / frames.sigma_increment[mode])
    first = range(memory, frames.n_train)
    return tuple(
        published_way.windows(y, targets, memory, ratio_of)
        for targets in (first, range(max(memory, frames.n_train), len(y)))
    )


def run(settings: Settings) -> list[Measurement]:
    """Return rates and ratios."""
    torch.manual_seed(1)
    frames = prepared(stream_of(settings), settings)
    results = batched_against_one_by_one(frames, settings)
    return results + own_networks(frames, settings)


def batched_against_one_by_one(frames: TrainingFrames, settings: Settings) -> list[Measurement]:
    """Return what ``paper`` gains by training all modes at once, and that it learns the same meanwhile."""
    n_updates = 5 if settings.quick else 60
    training, validation = published_data(frames, 0, MEMORY)
    one_mode = published_way.Training(published_way.PublishedNetwork(MEMORY).to(frames.y.device), training)
    trainer = PublishedTrainer(MEMORY, MODES, frames.y.device, 1, published_way.LEARNING_RATE, published_way.BATCH)
    slow = with_best_threads(lambda: one_mode.update(n_updates))
    fast = with_best_threads(lambda: trainer.round(frames, n_updates))
    first, second = in_pairs(slow, fast, settings.repeats)
    assert one_mode.n_updates == trainer.n_updates
    everything = torch.cat([frames.targets.stop, frames.targets.judge])
    ours = float(trainer.nll(frames, everything)[0].mean())
    theirs = published_way.validate(one_mode.network, validation)
    windows = n_updates * published_way.BATCH
    published = [MODES * t for t in first]
    case = "paper, all modes as one batch"
    after = f"validation NLL of mode 1 after {trainer.n_updates} updates"
    return [
        Measurement(case, "published: windows × modes per second", "1/s", tuple(windows / t for t in first)),
        Measurement(case, "ours: windows × modes per second", "1/s", tuple(MODES * windows / t for t in second)),
        ratio(case, "published / ours at equal updates", published, second, note="12 modes in turn against one batch"),
        Measurement(case, "published: " + after, "nats", (theirs,)),
        Measurement(case, "ours: " + after, "nats", (ours,)),
    ]


def own_networks(frames: TrainingFrames, settings: Settings) -> list[Measurement]:
    """Return the rate of ``default``'s networks."""
    n_updates, order = (2 if settings.quick else 20), 16
    y = frames.y[: frames.n_train].cpu().numpy()
    core = fit_core(y, frames.segments[: frames.n_train], (order,) * MODES, (0.2,) * MODES, order)
    architecture = equivariant.Architecture.within(MEMORY)
    data = ResidualData(frames, core, architecture)
    trainer = ResidualTrainer(architecture, MODES, frames.y.device, 1, 2e-3, 10.0, 2048)
    trainer.measure(data)
    fast = with_best_threads(lambda: trainer.update(data, n_updates))
    training, _ = published_data(frames, 0, MEMORY)
    one_mode = published_way.Training(published_way.PublishedNetwork(MEMORY).to(frames.y.device), training)
    slow = with_best_threads(lambda: one_mode.update(10 * n_updates))
    first, second = in_pairs(slow, fast, settings.repeats)
    windows = n_updates * min(2048, len(frames.targets.train))
    per_window = [t / (10 * n_updates * published_way.BATCH) for t in first]
    ours = [t / (MODES * windows) for t in second]
    weights = sum(int(np.prod(w.shape[1:])) for w in trainer.weights.values())
    case = "default, networks of all modes"
    return [
        Measurement(case, "ours: windows × modes per second", "1/s", tuple(1 / t for t in ours)),
        Measurement(case, "ours: time per update", "ms", tuple(1e3 * t / n_updates for t in second)),
        ratio(case, "windows × modes per second, ours / published", per_window, ours, note=f"{weights} weights a mode"),
    ]
