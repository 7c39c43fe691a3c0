"""Networks forced on every mode, generated for very long: never a NaN, never a runaway.

python benchmarks/accuracy_stability.py STREAM [--frames 1600] [--steps 100000] [--trajectories 300] [--weights 1]

The networks are trained without early stopping, kept whatever they gain and not calibrated, so that the bounds alone
are tested. ``--weights`` multiplies the trained weights: 30 makes every network a saturated, meaningless one.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accuracy_streams import Stream, recorded_stream

from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.autoregressive import choose_core, estimable_order, fit_core
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, ResidualTrainer
from mlgle_lammps.surrogates.ml_gle.training_frames import prepare_frames

BLOCKS = 10


@dataclass(frozen=True)
class Stability:
    """What a long generation did, modes in units of σ_z.

    Attributes:
        steps: generated.
        finite: no NaN or infinity.
        largest: max |y| per component, (mode,).
        variance: per block of time over the core's, (block, mode).
        seconds: wall time.
    """

    steps: int
    finite: bool
    largest: Float64
    variance: Float64
    seconds: float


def forced_model(
    stream: Stream, piece: slice, memory: int, train_frames: int, updates: int, weights: float = 1.0
) -> ModeModel:
    """Return a model whose networks were trained for ``updates`` steps on all modes and kept unconditionally."""
    n_frames = piece.stop - piece.start
    frames = prepare_frames(
        stream.window(piece), memory, train_frames, n_frames - train_frames, torch.device("cpu"), False
    )
    y, segments = frames.y.numpy(), frames.segments
    choice = choose_core(y, segments, frames.n_train, memory)
    order = estimable_order(segments[: frames.n_train], memory)
    core = fit_core(y, segments, choice.orders, choice.widths, order)
    architecture = equivariant.Architecture.within(memory)
    data = ResidualData(frames, core, architecture)
    trainer = ResidualTrainer(architecture, frames.n_modes, torch.device("cpu"), 1, 2e-3, 10.0, 2048)
    trainer.measure(data)
    trainer.update(data, updates)
    tensors = {name: weights * w for name, w in trainer.mean.items()} | trainer.scales
    samples = data.representatives(frames.targets.train)
    with torch.no_grad():
        equivariant.conserve_second_moments(tensors, samples.basis, samples.activity)
    networks = Networks(tuple(range(frames.n_modes)), architecture, tensors)
    return ModeModel(memory, frames.sigma, frames.sigma_increment, core, networks)


def run_long(model: ModeModel, history: np.ndarray, n_steps: int, n_trajectories: int, seed: int = 1) -> Stability:
    """Generate and summarize; RunFailure where a mode is not finite or beyond 20 standard deviations."""
    whole = MlGleModel(model, 0.0, 1.0, 1.0, "time", "length", history)
    length = -(-n_steps // BLOCKS)
    square, count = np.zeros((BLOCKS, len(model.sigma))), np.zeros(BLOCKS)
    largest, finite, start, done = np.zeros(len(model.sigma)), True, time.monotonic(), 0
    for chunk in MlGleMotion(whole, history, seed, n_trajectories).advance(n_steps):
        y = chunk.modes / model.sigma[:, None].astype(np.float32)
        finite = finite and bool(np.isfinite(y).all())
        largest = np.maximum(largest, np.abs(y).max(axis=(0, 1, 3)))
        np.add.at(square, block := (np.arange(done, done + len(y)) // length), np.square(y).mean(axis=(1, 3)))
        np.add.at(count, block, 1)
        done += len(y)
    return Stability(done, finite, largest, square / count[:, None], time.monotonic() - start)


def print_stability(name: str, result: Stability, n_trajectories: int) -> None:
    """Print one table."""
    print(f"\n{name}: {result.steps} steps × {n_trajectories} trajectories, {result.seconds:.0f} s, ", end="")
    print("all finite" if result.finite else "NOT FINITE")
    print("| mode | max abs y | variance, first block | lowest block | highest block | last block |")
    print("|---|---|---|---|---|---|")
    for mode, (largest, column) in enumerate(zip(result.largest, result.variance.T, strict=True), start=1):
        numbers = (column[0], column.min(), column.max(), column[-1])
        print(f"| {mode} | {largest:.2f} | " + " | ".join(f"{v:.3f}" for v in numbers) + " |")


def main() -> None:
    """Parse the command line, train, generate, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stream", type=Path, help="modes.h5, run folder or .npz")
    parser.add_argument("--frames", type=int, default=1600, help="to learn from, 10/16 of them for training")
    parser.add_argument("--memory", type=int, default=128)
    parser.add_argument("--modes", type=int, default=12)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--trajectories", type=int, default=300)
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--weights", type=float, default=1.0, help="multiplies the trained weights")
    parser.add_argument("--out", type=Path, help="a .json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    stream, piece = recorded_stream(options.stream, options.modes), slice(0, options.frames)
    train_frames = round(options.frames * 10 / 16)
    model = forced_model(stream, piece, options.memory, train_frames, options.updates, options.weights)
    result = run_long(model, stream.modes[piece], options.steps, options.trajectories)
    name = f"{stream.name}, {options.frames} frames, weights × {options.weights:g}"
    print_stability(name, result, options.trajectories)
    if options.out:
        plain = {"name": name, "steps": result.steps, "finite": result.finite, "seconds": result.seconds,
                 "largest": result.largest.tolist(), "variance": result.variance.tolist()}  # fmt: skip
        options.out.write_text(json.dumps(plain, indent=1))


if __name__ == "__main__":
    main()
