"""Do networks gain where there is something to gain, and are they silent elsewhere? Processes of exact likelihood."""

from __future__ import annotations

import numpy as np
from accuracy_likelihood import TEST_FRAMES, held_out, mean_and_error
from accuracy_streams import RouseMelt, Stream
from nonlinear_process import changing_variance, linear, shell, simulate

from mlgle_lammps.surrogates.ml_gle.mode_trainer import TrainOptions

PROCESSES = {"changing variance": changing_variance(), "shell": shell(), "linear": linear()}
N_CHAINS = 40


def benchmark_nonlinear(seeds: int, memory: int, train: int, validation: int) -> list[dict]:
    """Print and return NLL of exact density, default, its core and the best Yule-Walker for every process."""
    options = TrainOptions(memory=memory, train_frames=train, val_frames=validation)
    n_frames = train + validation
    collected: dict[str, dict[str, list]] = {n: {"exact": [], "yule_walker": [], "core": [], "model": [], "kept": []}
                                             for n in PROCESSES}  # fmt: skip
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        pairs = [simulate(step, n_frames + TEST_FRAMES, N_CHAINS, generator) for step in PROCESSES.values()]
        stream = _stream(np.stack([y for y, _ in pairs], axis=2))
        found = held_out(stream, slice(0, n_frames), options)
        increments = np.diff(stream.modes[:train].astype(np.float64), axis=0)
        offset = -3 * np.log(np.sqrt(np.mean(increments**2, axis=(0, 1, 3))))
        for mode, (name, (_, nll)) in enumerate(zip(PROCESSES, pairs, strict=True)):
            best = found.yule_walker[:, mode].mean(axis=1).argmin()
            row = collected[name]
            row["exact"].append(nll[n_frames:].mean(axis=0) + offset[mode])
            row["yule_walker"].append(found.yule_walker[best, mode])
            row["core"].append(found.core[mode])
            row["model"].append(found.model[mode])
            row["kept"].append(mode in found.kept)
    rows = [_row(name, {k: np.array(v) for k, v in values.items()}) for name, values in collected.items()]
    _print(rows, seeds)
    return rows


def _stream(modes: np.ndarray) -> Stream:
    n_frames, n_chains = modes.shape[:2]
    com = np.zeros((n_frames, n_chains, 3))
    return Stream("processes", 1.0, None, np.zeros(n_frames, dtype=np.int64), com, modes.astype(np.float32))


def _row(name: str, values: dict[str, np.ndarray]) -> dict:
    row: dict = {"process": name, "exact": float(values["exact"].mean()), "kept": int(values["kept"].sum())}
    for model in ("yule_walker", "core", "model"):
        row[model], row[f"{model}_se"] = mean_and_error(values[model] - values["exact"])
    row["gain"], row["gain_se"] = mean_and_error(values["yule_walker"] - values["model"])
    row["share"] = row["gain"] / row["yule_walker"]
    return row


def _print(rows: list[dict], seeds: int) -> None:
    print(f"\nProcesses of exact likelihood, {seeds} seeds: NLL above the exact one, 10^-4 nats per frame")
    print("| process | best Yule-Walker | default's core | default | gain over Yule-Walker | share | kept |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        cells = " | ".join(f"{1e4 * r[m]:+.1f} ± {1e4 * r[f'{m}_se']:.1f}" for m in ("yule_walker", "core", "model"))
        print(
            f"| {r['process']} | {cells} | {1e4 * r['gain']:+.1f} ± {1e4 * r['gain_se']:.1f} "
            f"| {100 * r['share']:.0f}% | {r['kept']}/{seeds} |"
        )


def benchmark_silence(seeds: int, memory: int, train: int, validation: int, n_modes: int) -> dict:
    """Print and return how often a network is kept on Rouse melts, where all is linear, and what that costs."""
    options = TrainOptions(memory=memory, train_frames=train, val_frames=validation)
    kept, losses = 0, []
    for stream in RouseMelt().streams(seeds, train + validation + TEST_FRAMES, n_modes):
        found = held_out(stream, slice(0, train + validation), options)
        kept += len(found.kept)
        losses.append(found.model - found.core)
    loss, error = mean_and_error(np.array(losses))
    print(f"\nRouse melts: a network kept for {kept} of {seeds * n_modes} modes; ", end="")
    print(f"NLL lost by it {1e4 * loss:+.3f} ± {1e4 * error:.3f} × 10^-4 nats per frame, mean of all modes")
    return {"kept": kept, "modes": seeds * n_modes, "loss": loss, "loss_se": error}
