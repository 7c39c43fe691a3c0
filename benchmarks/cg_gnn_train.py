"""CG-GNN on decks of many sequences: several presets and seeds within a time budget, roll-outs of unseen sequences.

    python benchmarks/cg_gnn_train.py --pack compact.npz --train DIR --test DIR      # run folders -> one small file
    python benchmarks/cg_gnn_train.py --data compact.npz --device cuda --budget-s 300 --out runs/cg

Needs torch, numpy, scipy, h5py and safetensors alone (no LAMMPS, no MPI) once the data are packed. Each job (preset and
seed) is a process of its own; `parity.json` compares <Rg²> of unseen sequences with long MD, for each of them and for
the baselines: MD of the training length and of twice that, a fit on the composition.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mlgle_lammps.errors import RunFailure
from mlgle_lammps.surrogates.cg_gnn.coarse_runs import CoarseRun
from mlgle_lammps.surrogates.cg_gnn.energy import EnergySize
from mlgle_lammps.surrogates.cg_gnn.equivariant import EquivariantSize
from mlgle_lammps.surrogates.cg_gnn.grouping import group_beads
from mlgle_lammps.surrogates.cg_gnn.model import CgGnnModel
from mlgle_lammps.surrogates.cg_gnn.molecules import Molecule, MoleculeSet
from mlgle_lammps.surrogates.cg_gnn.options import SMALL_PLAN, CgGnnOptions
from mlgle_lammps.surrogates.cg_gnn.trainer import train_coarse
from mlgle_lammps.surrogates.cg_gnn.training import TrainingPlan
from mlgle_lammps.surrogates.cg_gnn.walks import Walk

KEPT_TEST_FRAMES = 200
SETTLING = 2000.0
LONG = 100.0
"""Training lengths that a roll-out lasts, at most."""

PLAN = TrainingPlan(updates=6000, horizon_updates=800, horizon=8, batch=256)
JOBS = {
    "default": CgGnnOptions(),
    "default step 100": CgGnnOptions(step=100.0, energy=EnergySize(substeps=20)),
    "blind": CgGnnOptions(energy=EnergySize(by_types=False)),
    "equal noise": CgGnnOptions(energy=EnergySize(by_mode=False)),
    "one substep": CgGnnOptions(energy=EnergySize(substeps=1)),
    "network": CgGnnOptions(preset="network", plan=PLAN),
    "pair core": CgGnnOptions(preset="network", plan=replace(PLAN, updates=0, horizon_updates=0)),
    "network one step alone": CgGnnOptions(preset="network", plan=replace(PLAN, horizon_updates=0)),
    "network no embedding": CgGnnOptions(preset="network", plan=PLAN, equivariant=EquivariantSize(embedded=False)),
    "published-small": CgGnnOptions(preset="published-small", step=5.0, plan=replace(SMALL_PLAN, updates=20_000)),
    "published-small step 20": CgGnnOptions(preset="published-small", plan=replace(SMALL_PLAN, updates=20_000)),
    "published": CgGnnOptions(
        preset="published", step=5.0, plan=replace(SMALL_PLAN, updates=500_000, batch=64, rate=2e-4, last_rate=2e-5)
    ),
}
"""By name; `deterministic` comes with the published ones, their noise left out."""
QUEUE = (
    "published:1,default:1,network:1,network:2,network:3,published-small:1,published-small:2,published-small:3,"
    "published-small step 20:1,blind:1,equal noise:1,default step 100:1"
)


def say(line: str) -> None:
    """Print a line with the time, at once."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


# -- data ----------------------------------------------------------------------------------------------------------


def pack(target: Path, train: Path, test: Path, every: float, beads_per_group: int) -> None:
    """Write run folders as one file: super-beads and Rg² every so often, static graphs."""
    from mlgle_lammps.records import joined
    from mlgle_lammps.store.recording import open_recording
    from mlgle_lammps.surrogates.cg_gnn.coarse_runs import BeadRun

    arrays: dict[str, np.ndarray] = {}
    entries: list[dict[str, object]] = []
    for split, folder in (("train", train), ("test", test)):
        for path in sorted(p for p in folder.iterdir() if (p / "modes.h5").exists()):
            recording = open_recording(path)
            system = recording.system
            lag = max(round(every / system.dt), 1)
            frames = joined([block.copy() for block in recording.read()])[::lag]
            run = CoarseRun.of(
                BeadRun(replace(system, dt=system.dt * lag), frames, path.name), beads_per_group, "blocks"
            )
            key = f"{len(entries)}"
            n = len(run.positions) if split == "train" else KEPT_TEST_FRAMES
            arrays[f"positions {key}"] = run.positions[:n].astype(np.float32)
            arrays[f"centres {key}"] = (run.centres[:n] - run.centres[:1]).astype(np.float32)
            arrays[f"rg2 {key}"] = run.square_radii.astype(np.float32)
            arrays[f"segments {key}"] = run.segments
            entries.append({"name": path.name, "split": split, "dt": run.dt, "types": list(run.molecule.types)})
            say(f"{split} {path.name}: {len(run.positions)} frames, <Rg2> {run.square_radii.mean():.2f}")
    about = {"runs": entries, "beads_per_group": beads_per_group}
    np.savez_compressed(target, about=json.dumps(about), **arrays)  # type: ignore[arg-type]
    say(f"{target}: {target.stat().st_size / 1e6:.1f} MB")


def load(path: Path) -> tuple[list[CoarseRun], list[CoarseRun], dict[str, np.ndarray]]:
    """Return training runs, test runs (their first frames) and the whole Rg² of each run by name."""
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
        runs: dict[str, list[CoarseRun]] = {"train": [], "test": []}
        radii = {}
        for number, entry in enumerate(about["runs"]):
            types = tuple(entry["types"])
            edges = tuple((n, n + 1) for n in range(len(types) - 1))
            molecule = Molecule(types, edges, group_beads(len(types), edges, about["beads_per_group"], "blocks"))
            positions = file[f"positions {number}"].astype(np.float32)
            n = len(positions)
            run = CoarseRun(
                molecule, positions, file[f"centres {number}"].astype(np.float64),
                file[f"rg2 {number}"][:n].astype(np.float64), file[f"segments {number}"][:n], entry["dt"],
                entry["name"],
            )  # fmt: skip
            runs[entry["split"]].append(run)
            radii[f"{entry['split']} {entry['name']}"] = file[f"rg2 {number}"].astype(np.float64)
    return runs["train"], runs["test"], radii


# -- one job -------------------------------------------------------------------------------------------------------


class TimedShare:
    """Share of a training phase by the clock or by updates, whichever is further."""

    def __init__(self, phase_s: list[float]) -> None:
        self._left, self._began, self._length = list(phase_s), 0.0, 1.0

    def __call__(self, done: int, updates: int) -> float:
        """Return the share of the phase that is over."""
        if done == 0:
            self._began, self._length = time.monotonic(), self._left.pop(0) if self._left else 1.0
        return max(done / updates, (time.monotonic() - self._began) / self._length)


def work(arguments: argparse.Namespace) -> None:
    """Train one job, roll out, write its numbers."""
    torch.set_num_threads(1)
    began = time.monotonic()
    name, seed = arguments.job.rsplit(":", 1)
    train, test, _ = load(arguments.data)
    test = [] if arguments.train_only else test
    options = replace(JOBS[name], seed=int(seed), members=1, device=arguments.device)
    budget = arguments.budget_s
    both = options.training_plan.horizon_updates > 0
    share = TimedShare([0.3 * budget, 0.25 * budget] if both else [0.6 * budget])
    if arguments.updates:
        plan = replace(options.training_plan, updates=arguments.updates, batch=arguments.batch)
        if both:
            plan = replace(plan, horizon_updates=arguments.horizon_updates)
        options = replace(options, plan=plan)
    label = f"[{arguments.job}]"
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.job.replace(" ", "-").replace(":", "-")
    stored = arguments.out / f"{stem}.safetensors"
    if arguments.reuse and stored.exists():
        model = CgGnnModel.load(stored)
    else:
        model = train_coarse(train, options, report=lambda line: say(f"{label} {line}"), share_of=share)
        if arguments.save_models:
            model.save(stored)
    if not test:
        return
    trained_s = time.monotonic() - began
    say(f"{label} trained in {trained_s:.0f} s ({time.process_time():.0f} s of CPU); {model.notes[0]}")
    length = max(len(run.segments) for run in train) * train[0].dt
    deadline = began + 0.95 * budget
    results = {}
    kinds = [(name, False), *([(f"deterministic {name}", True)] if name.startswith("published-small") else [])]
    for place, (kind, noiseless) in enumerate(kinds):
        until = time.monotonic() + (deadline - time.monotonic()) / (len(kinds) - place)
        wanted = arguments.time or LONG * length
        results[kind] = roll_out(model, test, arguments, arguments.trajectories, wanted, noiseless, until, label)
        results[kind] |= {
            "training_s": trained_s, "said": list(model.notes), "seed": int(seed), "training_length": length,
        }  # fmt: skip
    if arguments.long_trajectories:
        results[name]["long"] = roll_out(
            model, test, arguments, arguments.long_trajectories, LONG * length, False, deadline, label
        )
    (arguments.out / f"{stem}.job.json").write_text(json.dumps(results))


def roll_out(
    model: CgGnnModel, test: list[CoarseRun], arguments: argparse.Namespace, n: int, duration: float, noiseless: bool,
    until: float, label: str,
) -> dict[str, Any]:  # fmt: skip
    """Return Rg² of all test sequences: mean, spread, relaxation, halves, whether all stayed finite, and speed."""
    device = torch.device(arguments.device)
    dynamics = model.moved_to(device, torch.float32)[0]
    wanted = max(int(duration / model.dt), 100)
    found = {}
    for group in _alike(test):
        molecules = MoleculeSet.of([run.molecule for run in group], model.types, device)
        history = torch.tensor(_turned_starts(group, dynamics.memory, model.dt, n, arguments.seed), device=device)
        which = torch.arange(len(group), device=device).repeat_interleave(n)
        walk = Walk(dynamics, molecules, which, history, None if noiseless else 7, model.extent)
        radii, began, finite = [], time.monotonic(), True
        mine = began + len(group) / len(test) * (until - began)
        try:
            while walk.n_steps < wanted and (walk.n_steps < 64 or time.monotonic() < mine):
                radii.append(walk.advance(64, keep_places=False).square_radii.float().cpu().numpy())
        except RunFailure as failure:
            say(f"{label} {failure}")
            finite = False
        took = time.monotonic() - began
        series = np.concatenate(radii) if radii else np.ones((1, len(which)), dtype=np.float32)
        series = series.reshape(len(series), len(group), n)
        for place, run in enumerate(group):
            found[run.name] = statistics(series[:, place].astype(np.float64), model.dt) | {
                "finite": finite, "steps": len(series), "ms_per_step": 1e3 * took / max(len(series), 1),
                "time": len(series) * model.dt,
            }  # fmt: skip
        say(f"{label} {len(series)} steps of {len(which)} molecules in {took:.0f} s")
    return {"sequences": found, "step": model.dt, "batch": n * len(test)}


def _turned_starts(group: list[CoarseRun], memory: int, dt: float, n: int, seed: int) -> np.ndarray:
    """Return the first recorded frames of each run n times, turned, (run n, memory, S, 3) float32."""
    frames = np.arange(memory) * round(dt / group[0].dt)
    starts = np.stack([run.positions[frames, 0] + _moved(run, frames) for run in group])
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(group) * n, 3, 3)))[0]
    turn = turn * np.sign(np.linalg.det(turn))[:, None, None]
    history = np.repeat(starts, n, axis=0)
    return (history.reshape(len(history), -1, 3) @ turn).reshape(history.shape).astype(np.float32)


def _alike(runs: list[CoarseRun]) -> list[list[CoarseRun]]:
    by: dict[int, list[CoarseRun]] = defaultdict(list)
    for run in runs:
        by[run.molecule.n_groups].append(run)
    return list(by.values())


def _moved(run: CoarseRun, frames: np.ndarray) -> np.ndarray:
    return (run.centres[frames, 0] - run.centres[frames[-1], 0])[:, None]


def statistics(series: np.ndarray, dt: float) -> dict[str, float]:
    """Return mean, its error over trajectories, spread, relaxation time and halves of Rg² (time, trajectory)."""
    after = series[min(int(SETTLING / dt), len(series) // 5) :]
    if len(after) < 4:
        return dict.fromkeys(("mean", "se", "spread", "relaxation", "first_half", "second_half"), float("nan"))
    means = after.mean(axis=0)
    halves = [part.mean() for part in np.array_split(after, 2)]
    return {
        "mean": float(after.mean()), "se": float(means.std() / max(len(means) - 1, 1) ** 0.5),
        "spread": float(after.std()), "relaxation": relaxation(after, dt, after.mean()),
        "first_half": float(halves[0]), "second_half": float(halves[1]),
    }  # fmt: skip


def relaxation(series: np.ndarray, dt: float, mean: float) -> float:
    """Return where the autocorrelation of Rg² (time, trajectory) falls to 1/e, between steps linearly."""
    most = 4000
    rest = series[:most] - mean
    n = len(rest)
    spectrum = np.fft.rfft(rest, 2 * n, axis=0)
    products = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:n].mean(axis=1) / np.arange(n, 0, -1)
    if products[0] <= 0:
        return float("nan")
    scaled = products[: max(n // 3, 2)] / products[0]
    below = np.flatnonzero(scaled < np.exp(-1))
    if not len(below):
        return float("nan")
    last = below[0] - 1
    return float(dt * (last + (scaled[last] - np.exp(-1)) / (scaled[last] - scaled[below[0]])))


# -- parity --------------------------------------------------------------------------------------------------------


def references(test: list[CoarseRun], radii: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return mean, its error from blocks, spread and relaxation time of each test run's MD."""
    found = {}
    for run in test:
        series = radii[f"test {run.name}"].reshape(-1, run.positions.shape[1])
        blocks = np.array([part.mean() for part in np.array_split(series, 12)])
        found[run.name] = statistics(series, run.dt) | {
            "mean": float(series.mean()), "se": float(blocks.std(ddof=1) / 12**0.5), "spread": float(series.std()),
            "relaxation": relaxation(series, run.dt, series.mean()),
        }  # fmt: skip
    return found


def parity(made: np.ndarray, there: np.ndarray) -> dict[str, float]:
    """Return r² (of the identity), mean absolute error and mean relative deviation."""
    rest = made - there
    return {
        "r2": float(1 - (rest**2).sum() / ((there - there.mean()) ** 2).sum()), "mae": float(np.abs(rest).mean()),
        "bias": float((rest / there).mean()),
    }  # fmt: skip


def composition_fit(compositions: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the coefficients of log <Rg²> on the shares of the types."""
    return np.linalg.lstsq(compositions, np.log(means), rcond=None)[0]


def baselines(
    train: list[CoarseRun], test: list[CoarseRun], radii: dict[str, np.ndarray], reference: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Return the parity of short MD and of fits on the composition."""
    there = np.array([reference[run.name]["mean"] for run in test])
    types = sorted({kind for run in [*train, *test] for kind in run.molecule.types})
    shares = {id(run): run.molecule.composition(types) for run in [*train, *test]}
    known = np.array([shares[id(run)] for run in train])
    means = np.array([radii[f"train {run.name}"].mean() for run in train])
    own = np.array([shares[id(run)] for run in test])
    found = {"composition fit": parity(np.exp(own @ composition_fit(known, means)), there)}
    out = []
    for left in range(len(test)):
        kept = np.arange(len(test)) != left
        out.append(np.exp(own[left] @ composition_fit(own[kept], there[kept])))
    found["composition fit of long MD, leave one out"] = parity(np.array(out), there)
    length = max(len(run.segments) for run in train)
    for times in (1, 2):
        n = times * length
        tries = []
        for shift in range(min(len(radii[f"test {run.name}"]) // n for run in test)):
            short = [radii[f"test {run.name}"].reshape(-1, 1)[shift * n : (shift + 1) * n].mean() for run in test]
            tries.append(parity(np.array(short), there))
        if tries:
            found[f"MD of {times} training length"] = {
                key: float(np.mean([own[key] for own in tries])) for key in tries[0]
            }
    return found


def finite_any(values: np.ndarray) -> bool:
    """Return whether any value is finite."""
    return bool(np.isfinite(values).any())


def judged(result: dict[str, Any], reference: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Return the parity of one job's roll-outs."""
    names = list(reference)
    made = result["sequences"]
    there = np.array([reference[name]["mean"] for name in names])
    found: dict[str, Any] = parity(np.array([made[name]["mean"] for name in names]), there)
    ratios = {
        key: np.array([made[name][key] / reference[name][key] for name in names]) for key in ("spread", "relaxation")
    }
    halves = np.array([made[name]["second_half"] / made[name]["first_half"] - 1 for name in names])
    error = np.array([reference[name]["se"] for name in names])
    if "long" in result:
        long = result["long"]["sequences"]
        later = np.array([long[name]["second_half"] / long[name]["first_half"] - 1 for name in names])
        found["long"] = {
            "halves": float(np.abs(later).max()), "finite": all(long[name]["finite"] for name in names),
            "training_lengths": min(long[name]["time"] for name in names) / result["training_length"],
            "ratio": float(np.mean([long[name]["mean"] / made[name]["mean"] for name in names])),
        }  # fmt: skip
    return found | {
        "fluctuation_ratio": float(ratios["spread"].mean()),
        "relaxation_ratio": float(np.nanmean(ratios["relaxation"])) if finite_any(ratios["relaxation"]) else None,
        "halves": float(np.abs(halves).max()), "finite": all(made[name]["finite"] for name in names),
        "training_lengths": min(made[name]["time"] for name in names) / result["training_length"],
        "ms_per_step": made[names[0]]["ms_per_step"], "batch": result["batch"], "step": result["step"],
        "training_s": result["training_s"], "reference_error": float(np.sqrt((error**2).mean())),
        "best_r2": float(1 - (error**2).sum() / ((there - there.mean()) ** 2).sum()),
    }  # fmt: skip


def gather(
    out: Path, train: list[CoarseRun], test: list[CoarseRun], radii: dict[str, np.ndarray]
) -> dict[str, Any]:  # fmt: skip
    """Return all jobs' parity, each preset's mean over seeds, and the baselines."""
    reference = references(test, radii)
    jobs: dict[str, list[dict]] = defaultdict(list)
    details = {}
    for path in sorted(out.glob("*.job.json")):
        for name, result in json.loads(path.read_text()).items():
            jobs[name].append(judged(result, reference) | {"seed": result["seed"]})
            details[f"{name}:{result['seed']}"] = result["sequences"]
    models = {}
    for name, seeds in jobs.items():
        mean = {
            key: float(np.mean([np.nan if own[key] is None else own[key] for own in seeds]))
            for key in seeds[0]
            if key not in ("seed", "long")
        }
        models[name] = mean | {"seeds": seeds}
    return {
        "models": models, "baselines": baselines(train, test, radii, reference), "reference": reference,
        "n_train": len(train), "n_test": len(test), "sequences": details,
    }  # fmt: skip


def table(found: dict) -> str:
    """Return the parity as lines of text."""
    keys = ("r2", "mae", "bias", "fluctuation_ratio", "relaxation_ratio", "halves", "training_lengths", "ms_per_step")
    lines = [f"{'':44s}" + " ".join(f"{key[:12]:>12s}" for key in keys)]
    for name, own in [*found["baselines"].items(), *found["models"].items()]:
        lines.append(f"{name:44s}" + " ".join(f"{own.get(key, float('nan')):12.3f}" for key in keys))
    return "\n".join(lines)


def draw(found: dict, target: Path) -> None:
    """Draw <Rg²> of unseen sequences against long MD, one panel a model, error bars both ways."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    reference = found["reference"]
    names = list(reference)
    there = np.array([reference[name]["mean"] for name in names])
    error = np.array([reference[name]["se"] for name in names])
    models = [
        name for name in found["models"] if found["models"][name]["finite"] and found["models"][name]["mae"] < 100
    ]
    figure, axes = pyplot.subplots(1, len(models), figsize=(3.2 * len(models), 3.4), squeeze=False)
    for axis, model in zip(axes[0], models, strict=True):
        seeds = [own["seed"] for own in found["models"][model]["seeds"]]
        made = np.array([[found["sequences"][f"{model}:{seed}"][name]["mean"] for name in names] for seed in seeds])
        own = np.array([[found["sequences"][f"{model}:{seed}"][name]["se"] for name in names] for seed in seeds])
        spread = made.std(axis=0, ddof=1) / len(seeds) ** 0.5 if len(seeds) > 1 else 0.0
        bars = np.sqrt((own**2).mean(axis=0) / len(seeds) + spread**2)
        axis.errorbar(there, made.mean(axis=0), bars, error, fmt="o", ms=4, lw=1)
        ends = [0.9 * min(there.min(), made.min()), 1.05 * max(there.max(), made.max())]
        axis.plot(ends, ends, "k--", lw=0.8)
        axis.set_title(f"{model}\nr² {found['models'][model]['r2']:.2f}", fontsize=9)
        axis.set_xlabel("<Rg²> of long MD, σ²")
    axes[0, 0].set_ylabel("<Rg²> generated, σ²")
    figure.tight_layout()
    figure.savefig(target, dpi=110)


# -- all jobs ------------------------------------------------------------------------------------------------------


def direct(arguments: argparse.Namespace) -> None:
    """Run all jobs, some at a time, each within its share of the budget; write parity.json."""
    began = time.monotonic()
    arguments.out.mkdir(parents=True, exist_ok=True)
    queue = [job.strip() for job in arguments.jobs.split(",")]
    rounds = -(-len(queue) // arguments.parallel)
    each = (arguments.budget_s - 20) / rounds
    running: list[subprocess.Popen] = []
    for place, job in enumerate(queue):
        while len(running) >= arguments.parallel:
            running = [own for own in running if own.poll() is None]
            time.sleep(0.2)
        command = [
            sys.executable, __file__, "--data", str(arguments.data), "--job", job, "--device", arguments.device,
            "--budget-s", str(each), "--out", str(arguments.out), "--trajectories", str(arguments.trajectories),
            "--time", str(arguments.time), "--long-trajectories", str(arguments.long_trajectories),
            "--updates", str(arguments.updates), "--horizon-updates", str(arguments.horizon_updates),
            "--batch", str(arguments.batch),
            "--seed", str(arguments.seed), *(["--save-models"] if arguments.save_models else []),
        ]  # fmt: skip
        say(f"start {job} ({place + 1} of {len(queue)}), {each:.0f} s")
        running.append(subprocess.Popen(command))
    deadline = began + arguments.budget_s
    while any(own.poll() is None for own in running) and time.monotonic() < deadline:
        time.sleep(0.2)
    for own in running:
        if own.poll() is None:
            say("a job is over its time and is ended")
            own.kill()
    found = gather(arguments.out, *load(arguments.data))
    found["wall_s"] = time.monotonic() - began
    found["device"] = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    (arguments.out / "parity.json").write_text(json.dumps(found, indent=1))
    print(table(found), flush=True)


def main() -> None:
    """Parse the command line and do what it asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pack", type=Path)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--beads-per-group", type=int, default=10)
    parser.add_argument("--job", help="one job alone: PRESET:SEED")
    parser.add_argument("--jobs", default=QUEUE, help=f"of {', '.join(JOBS)}; each with :SEED")
    parser.add_argument("--parallel", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--budget-s", type=float, default=300.0)
    parser.add_argument("--trajectories", type=int, default=100, help="of each sequence")
    parser.add_argument("--time", type=float, default=0.0, help="that roll-outs last, 0 for 100 training lengths")
    parser.add_argument("--long-trajectories", type=int, default=0, help="also as many of 100 training lengths")
    parser.add_argument("--updates", type=int, default=0, help="instead of the job's own")
    parser.add_argument("--horizon-updates", type=int, default=0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save-models", action="store_true")
    parser.add_argument("--reuse", action="store_true", help="take models that are saved already")
    parser.add_argument("--train-only", action="store_true", help="with --save-models: no roll-outs")
    parser.add_argument("--gather", action="store_true", help="jobs are done: only write parity.json")
    parser.add_argument("--plot", type=Path, help="with --gather: a picture of the parity")
    parser.add_argument("--out", type=Path, default=Path("runs/cg-gnn"))
    arguments = parser.parse_args()
    if arguments.pack:
        pack(arguments.pack, arguments.train, arguments.test, arguments.every, arguments.beads_per_group)
    elif arguments.job:
        work(arguments)
    elif arguments.gather:
        found = gather(arguments.out, *load(arguments.data))
        (arguments.out / "parity.json").write_text(json.dumps(found, indent=1))
        if arguments.plot:
            draw(found, arguments.plot)
        print(table(found), flush=True)
    else:
        direct(arguments)


if __name__ == "__main__":
    main()
