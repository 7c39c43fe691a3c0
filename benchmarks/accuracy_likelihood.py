"""Held-out likelihood of the modes: default, with and without its networks, against Yule-Walker AR of every order.

All are fitted to the same frames and judged on later ones that no choice was made on. Yule-Walker's order alone is
chosen on the judged frames themselves, which makes it the strictest opponent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from accuracy_streams import Stream

from mlgle_lammps.diffusion.baselines import fit_yule_walker
from mlgle_lammps.records import Float64
from mlgle_lammps.surrogates.ml_gle.autoregressive import ladder_up_to
from mlgle_lammps.surrogates.ml_gle.linear_core import LinearCore, predict
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.mode_trainer import ModeTrainer, TrainOptions
from mlgle_lammps.surrogates.ml_gle.residual_training import ResidualData, over_targets, sample_nll
from mlgle_lammps.surrogates.ml_gle.steppers import subset
from mlgle_lammps.surrogates.ml_gle.training_frames import Targets, TrainingFrames

TEST_FRAMES = 600


@dataclass(frozen=True)
class HeldOut:
    """Likelihoods on the frames after one segment, nats per 3D frame of standardized increments.

    Attributes:
        orders: of Yule-Walker.
        yule_walker: (order, mode, chain).
        core: default's linear core, (mode, chain).
        model: default as it would generate, networks included where kept, (mode, chain).
        kept: 0-based modes with a network.
    """

    orders: tuple[int, ...]
    yule_walker: Float64
    core: Float64
    model: Float64
    kept: tuple[int, ...]


def pieces_with_test(stream: Stream, n_frames: int, n_test: int = TEST_FRAMES) -> list[slice]:
    """Return the disjoint segments of ``n_frames`` that ``n_test`` uninterrupted frames follow."""
    return [
        piece
        for piece in stream.pieces(n_frames)
        if piece.stop + n_test <= stream.n_frames
        and stream.segments[piece.start] == stream.segments[piece.stop + n_test - 1]
    ]


def held_out(stream: Stream, piece: slice, options: TrainOptions, n_test: int = TEST_FRAMES) -> HeldOut:
    """Fit everything to ``piece`` and judge it on the ``n_test`` frames after it."""
    model = ModeTrainer(options).finish(stream.window(piece))
    history = stream.modes[piece.stop - options.memory : piece.stop + n_test]
    y = torch.as_tensor(history.astype(np.float64) / model.sigma[:, None])
    orders = ladder_up_to(options.memory)
    yule_walker = [linear_nll(_yule_walker_core(stream, piece, p, model), y, model) for p in orders]
    core = linear_nll(model.core, y, model)
    kept = model.networks.modes if model.networks else ()
    return HeldOut(orders, np.stack(yule_walker), core, _with_networks(model, y, core), kept)


def _yule_walker_core(stream: Stream, piece: slice, order: int, model: ModeModel) -> LinearCore:
    fits = fit_yule_walker(stream.modes[piece], stream.segments[piece], order)
    innovation = np.array([fit.innovation_variance for fit in fits]) / model.sigma**2
    return LinearCore(np.stack([fit.coefficients for fit in fits]), (order,) * len(fits), innovation)


def linear_nll(core: LinearCore, y: torch.Tensor, model: ModeModel) -> Float64:
    """Return NLL of y's frames from m on, (mode, chain).

    Args:
        core: of order at most m.
        y: z/σ_z, (time, chain, mode, 3), float64.
        model: gives m and the units.
    """
    residual = (y - predict(core, y))[model.memory :].square().sum(-1).mean(0).numpy().T
    scale = core.innovation_variance * (model.sigma / model.sigma_increment) ** 2
    return 0.5 * residual / core.innovation_variance[:, None] + 1.5 * np.log(2 * np.pi * scale)[:, None]


def _with_networks(model: ModeModel, y: torch.Tensor, core: Float64) -> Float64:
    """Return ``core`` with the NLL of the modes that have a network replaced by theirs."""
    networks = model.networks
    if networks is None:
        return core
    rows = list(networks.modes)
    n_times, n_chains = y.shape[:2]
    judge = torch.arange(model.memory * n_chains, n_times * n_chains)
    nothing = judge[:0]
    frames = TrainingFrames(
        y[:, :, rows].float(), np.zeros(n_times, dtype=np.int64), model.sigma[rows], model.sigma_increment[rows],
        0, Targets(nothing, nothing, judge),
    )  # fmt: skip
    own = subset(model.core, networks.modes)
    data = ResidualData(frames, own, networks.architecture)
    values = over_targets(data, judge, lambda s: sample_nll(networks.tensors, s))
    per_chain = values.double().reshape(len(rows), -1, n_chains).mean(1).numpy()
    offset = 3 * np.log(np.sqrt(own.innovation_variance) * model.sigma[rows] / model.sigma_increment[rows])
    result = core.copy()
    result[rows] = per_chain + offset[:, None]
    return result


def summarize(results: list[HeldOut]) -> list[dict]:
    """Return one row per mode: differences to Yule-Walker of the best order, negative where default is better.

    The best order is that of each mode over the judged frames of all segments together; "worse" counts the segments
    in which default is worse than the best order of that very segment by more than the difference's standard error
    over chains.
    """
    orders = results[0].orders
    yule_walker = np.stack([r.yule_walker for r in results])  # (segment, order, mode, chain)
    best = yule_walker.mean(axis=(0, 3)).argmin(axis=0)
    own_best = yule_walker.mean(axis=3).argmin(axis=1)  # (segment, mode)
    rows = []
    for mode, order in enumerate(best):
        opponent = yule_walker[:, order, mode]
        row = {"mode": mode + 1, "order": int(orders[order]), "yule_walker": float(opponent.mean())}
        for name in ("core", "model"):
            values = np.stack([getattr(r, name)[mode] for r in results])
            row[name] = float(values.mean())
            row[f"{name}_difference"], row[f"{name}_difference_se"] = mean_and_error(values - opponent)
            strict = values - np.stack([yule_walker[i, own_best[i, mode], mode] for i in range(len(results))])
            row[f"{name}_strict"], row[f"{name}_strict_se"] = mean_and_error(strict)
            error = strict.std(axis=1, ddof=1) / np.sqrt(strict.shape[1])
            row[f"{name}_worse"] = int(np.sum(strict.mean(axis=1) > error))
        gain = np.stack([r.core[mode] - r.model[mode] for r in results])
        row["gain"], row["gain_se"] = mean_and_error(gain)
        row["kept"] = sum(mode in r.kept for r in results)
        rows.append(row)
    return rows


def mean_and_error(values: Float64) -> tuple[float, float]:
    """Return the mean of (segment, chain) values and its standard error, every chain of every segment one unit."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def print_likelihood(rows: list[dict], n_segments: int, networks: bool) -> None:
    """Print the table."""
    print(f"\nHeld-out NLL, nats per frame, {n_segments} segments; differences to Yule-Walker of the best order × 10^4")
    print("| mode | best order | Yule-Walker | core - YW | worse in | best order of each segment |", end="")
    print(" network's gain | kept in | default - YW | worse in |" if networks else "")
    print("|---|---|---|---|---|---|" + ("---|---|---|---|" if networks else ""))
    for r in rows:
        print(
            f"| {r['mode']} | {r['order']} | {r['yule_walker']:.4f} "
            f"| {1e4 * r['core_difference']:+.1f} ± {1e4 * r['core_difference_se']:.1f} | {r['core_worse']} "
            f"| {1e4 * r['core_strict']:+.1f} ± {1e4 * r['core_strict_se']:.1f} |", end="",
        )  # fmt: skip
        if networks:
            print(
                f" {1e4 * r['gain']:+.1f} ± {1e4 * r['gain_se']:.1f} | {r['kept']} "
                f"| {1e4 * r['model_difference']:+.1f} ± {1e4 * r['model_difference_se']:.1f} | {r['model_worse']} |",
                end="",
            )
        print()


def benchmark_likelihood(stream: Stream, memory: int, train: int, validation: int, networks: bool) -> list[dict]:
    """Print and return the comparison on all segments of a stream."""
    options = TrainOptions(memory=memory, train_frames=train, val_frames=validation, networks=networks)
    pieces = pieces_with_test(stream, train + validation)
    if not pieces:
        print(f"\n{stream.name}: no {TEST_FRAMES} frames after a segment to judge likelihoods on")
        return []
    rows = summarize([held_out(stream, piece, options) for piece in pieces])
    print_likelihood(rows, len(pieces), networks)
    return rows
