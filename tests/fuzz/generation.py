"""Models of every kind generated for very long: never a NaN, never a variance without bounds, or a refusal by name.

    python -m fuzz.generation [--models 20] [--steps 100000] [--trajectories 30] [--seed 1]

in the folder ``tests``, or ``make stability``. Linear cores learned from short Rouse and autoregressive streams of odd
sizes, random ones up to a unit root, networks learned and random and multiplied, the published network. Exits with
code 1 where a number is not finite, a variance leaves its bounds, or anything but a named refusal ends it.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.errors import RunFailure
from mlgle_lammps.records import Frames, joined
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.integrator import MlGleMotion
from mlgle_lammps.surrogates.ml_gle.linear_core import autocovariance, core_from_reflection
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.published import network
from mlgle_lammps.surrogates.ml_gle.published.model import PublishedModes
from mlgle_lammps.surrogates.ml_gle.published.training import PublishedModeTrainer, PublishedOptions

MODES = 12
FACTOR = 25.0
"""Bound of a mode's variance over its stationary one; a runaway meets the integrator's 20 standard deviations."""


@dataclass(frozen=True)
class Outcome:
    """What a generation came to.

    Attributes:
        steps: generated.
        finite: every number.
        largest: |y| in units of σ_z.
        low: lowest variance of a mode in a tenth of the time, over the stationary variance of its core.
        high: highest likewise.
        refusal: the line with which it ended; empty where it did not.
        seconds: wall time.
    """

    steps: int
    finite: bool
    largest: float
    low: float
    high: float
    refusal: str
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether it is what it should be."""
        named = not self.refusal or "generated mode" in self.refusal
        bounded = bool(self.refusal) or (self.low > 1 / FACTOR and self.high < FACTOR)
        return self.finite and named and bounded


def window_of(source: RouseSource) -> Frames:
    """Return all frames of a source."""
    return joined(list(source))


def autoregressive_window(chains: int, frames: int, root: float, seed: int) -> Frames:
    """Return frames of AR(1) processes of one coefficient and of any size."""
    rng = np.random.default_rng(seed)
    z = np.zeros((frames, chains, MODES, 3))
    z[0] = rng.standard_normal(z[0].shape)
    for t in range(1, frames):
        z[t] = root * z[t - 1] + math.sqrt(1 - root**2) * rng.standard_normal(z[0].shape)
    steps = np.arange(frames)
    modes = (z * 10.0 ** np.arange(-6, 6)[:, None]).astype(np.float32)
    return Frames.of_chains(steps, 0 * steps, z[:, :, 0], modes)


def learned(window: Frames, memory: int, networks: bool = False) -> ModeModel:
    """Return what the trainer makes of a window."""
    n = len(window.steps)
    train = max(memory + 2, round(0.7 * n))
    options = TrainOptions(memory, train, n - train, networks=networks, keep_at=-1e9, max_updates=100)
    return ModeTrainer(options).finish(window)


def learned_as_published(window: Frames, memory: int) -> PublishedModes:
    """Return what the published trainer makes of a window in two epochs."""
    n = len(window.steps)
    train = max(memory + 2, round(0.7 * n))
    return PublishedModeTrainer(PublishedOptions(memory, train, n - train, epochs=2)).finish(window)


def random_core(kind: str, memory: int, seed: int) -> ModeModel:
    """Return a model of random stationary cores."""
    rng = np.random.default_rng(seed)
    reflection = np.zeros((MODES, memory))
    first = {"near one": 1 - 10 ** -rng.uniform(1, 5, MODES), "near minus one": 10 ** -rng.uniform(1, 4, MODES) - 1}
    reflection[:, 0] = first.get(kind, rng.uniform(-0.99, 0.99, MODES))
    reflection[:, 1:] = rng.uniform(-0.9, 0.9, (MODES, memory - 1)) / np.arange(2, memory + 1) ** rng.uniform(0.3, 1.5)
    core = core_from_reflection(reflection, (memory,) * MODES, np.ones(MODES))
    sigma = 10.0 ** rng.uniform(-3, 3, MODES)
    return ModeModel(memory, sigma, 0.4 * sigma, core, None)


def with_networks(model: ModeModel, seed: int, size: float) -> ModeModel:
    """Return the model with a random network for every mode, the scales of its inputs as they are."""
    generator = torch.Generator().manual_seed(seed)
    architecture = equivariant.Architecture.within(model.memory)
    weights = equivariant.initial_weights(architecture, MODES, generator)
    weights = {name: w + size * torch.randn(w.shape, generator=generator) for name, w in weights.items()}
    networks = Networks(tuple(range(MODES)), architecture, weights | equivariant.neutral_scales(architecture, MODES))
    return ModeModel(model.memory, model.sigma, model.sigma_increment, model.core, networks)


def scaled(model: ModeModel, factor: float) -> ModeModel:
    """Return the model with its networks' weights multiplied."""
    assert model.networks is not None
    tensors = {n: factor * t if n in equivariant.WEIGHTS else t for n, t in model.networks.tensors.items()}
    networks = Networks(model.networks.modes, model.networks.architecture, tensors)
    return ModeModel(model.memory, model.sigma, model.sigma_increment, model.core, networks)


def published_model(memory: int, seed: int) -> PublishedModes:
    """Return the published networks as they are before any training."""
    model = random_core("any", memory, seed)
    weights = network.initial_weights(memory, MODES, torch.Generator().manual_seed(seed))
    return PublishedModes(memory, model.sigma, 0.01 * model.sigma, weights)


def _rouse(chains: int, beads: int, frames: int, dt: float, seed: int) -> Frames:
    return window_of(RouseSource(chains, beads, MODES, frames, dt, seed))


def _learned_rouse(chains: int, beads: int, frames: int, dt: float, seed: int, memory: int) -> ModeModel:
    return learned(_rouse(chains, beads, frames, dt, seed), memory)


def _learned_autoregressive(root: float, seed: int) -> ModeModel:
    return learned(autoregressive_window(3, 83, root, seed), 9)


def models(seed: int) -> Iterator[tuple[str, Callable[[], ModeModel | PublishedModes]]]:
    """Yield 20 models by name, made when called."""
    for chains, beads, frames, dt, memory in (
        (3, 14, 61, 0.1, 7),
        (7, 17, 131, 0.01, 31),
        (2, 40, 53, 1.0, 5),
        (31, 13, 97, 10.0, 16),
        (5, 100, 257, 5.0, 63),
    ):
        yield (
            f"Rouse, {chains} chains of {beads}, {frames} frames of {dt}, m {memory}",
            partial(_learned_rouse, chains, beads, frames, dt, seed, memory),
        )
    for root in (0.9999, 0.5, -0.99):
        yield (
            f"AR({root}) of 3 chains, 83 frames, m 9",
            partial(_learned_autoregressive, root, seed),
        )
    for kind, memory in (
        ("any", 5),
        ("any", 64),
        ("near one", 8),
        ("near one", 128),
        ("near minus one", 16),
        ("near minus one", 2),
    ):
        yield f"random core, {kind}, m {memory}", partial(random_core, kind, memory, seed + memory)
    yield "random networks", lambda: with_networks(random_core("any", 16, seed), seed, 0.3)
    yield (
        "random networks times 30, near one",
        lambda: scaled(with_networks(random_core("near one", 16, seed), seed, 0.3), 30.0),
    )
    yield "learned networks", lambda: learned(_rouse(6, 15, 211, 0.3, seed), 11, networks=True)
    yield "learned networks times 30", lambda: scaled(learned(_rouse(5, 14, 151, 0.05, seed), 8, networks=True), 30.0)
    yield "published, untrained", lambda: published_model(6, seed)
    yield "published, learned for 2 epochs", lambda: learned_as_published(_rouse(4, 14, 121, 0.5, seed), 6)


def run_long(model: ModeModel | PublishedModes, n_steps: int, n_trajectories: int, seed: int) -> Outcome:
    """Generate from normal histories and say what came."""
    rng = np.random.default_rng(seed)
    history = (rng.standard_normal((model.memory, 10, MODES, 3)) * model.sigma[:, None]).astype(np.float32)
    whole = MlGleModel(model, 0.3, 0.5, 1.0, "time", "length", history)
    exact = autocovariance(model.core, 1)[:, 0] if isinstance(model, ModeModel) else np.ones(MODES)
    stationary = np.minimum(exact, 100.0)
    squares: list[np.ndarray] = []
    started, done, finite, largest, refusal = time.monotonic(), 0, True, 0.0, ""
    try:
        for chunk in MlGleMotion(whole, history, seed, n_trajectories).advance(n_steps):
            y = chunk.modes / model.sigma[:, None].astype(np.float32)
            finite = finite and bool(np.isfinite(y).all() and np.isfinite(chunk.com).all())
            largest = max(largest, float(np.abs(y).max()))
            squares += list(np.square(y).mean(axis=(1, 3)))
            done += len(y)
    except RunFailure as error:
        refusal = str(error)
    length = max(n_steps // 10, 1)
    blocks = np.array([np.mean(squares[a : a + length], axis=0) for a in range(0, len(squares) - length + 1, length)])
    ratio = blocks / stationary if len(blocks) else np.ones((1, MODES))
    return Outcome(done, finite, largest, float(ratio.min()), float(ratio.max()), refusal, time.monotonic() - started)


def main() -> int:
    """Generate with every model and print a table."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz.generation", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name, default in (("models", 20), ("steps", 100_000), ("trajectories", 30), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bad = 0
    sys.stdout.write(
        "| model | steps | largest y | variance over the core's, tenths of the time | seconds | ended by |\n"
        "|---|---|---|---|---|---|\n"
    )
    for name, make in list(models(options.seed))[: options.models]:
        outcome = run_long(make(), options.steps, options.trajectories, options.seed)
        bad += not outcome.sound
        said = outcome.refusal.split(";")[0] if outcome.refusal else "-"
        sys.stdout.write(
            f"| {name} | {outcome.steps} | {outcome.largest:.1f} | {outcome.low:.2f} to {outcome.high:.2f} | "
            f"{outcome.seconds:.0f} | {said}{'' if outcome.sound else ' **WRONG**'} |\n"
        )  # fmt: skip
        sys.stdout.flush()
    sys.stdout.write(f"\n{bad} of {options.models} wrong\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
