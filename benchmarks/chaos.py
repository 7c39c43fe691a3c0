"""Kill runs at random moments, go on with them, and compare their D with that of runs that nobody killed.

    python benchmarks/chaos.py --runs 50 --unbroken 20 --out runs/chaos

Each run is the Rouse melt of ``lammps_inputs/in.rouse`` under a seed of its own, at 2 or 3 ranks in turn. One SIGKILL
goes to one of its processes (launcher, its proxy, an MD rank, the trainer) at a random moment between start and usual
end, then ``--resume`` goes on. Checked: the others end within 10 s, the journal misses no frame older than its
heartbeat, the run finishes, steps are strictly increasing, and D of killed and unbroken runs agrees (Welch's t-test)
with each other and with the exact D.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from mlgle_lammps.store.journal import chunk_paths, read_journal
from mlgle_lammps.store.reader import FramesReader

EXACT_D = 0.05
HEARTBEAT = 5.5  # seconds between two writes of a journal, and some for the write
SOON = 10.0
EVERY = 140
OPTIONS = (
    "--every", str(EVERY), "--memory", "16", "--modes", "2", "--train-frames", "200", "--val-frames", "60",
    "--generate-steps", "200", "--ensemble", "10", "--checkpoint-every", "40", "--threads", "1",
)  # fmt: skip
MPIRUN = Path(sys.executable).parent / "mpirun"


@dataclass
class Outcome:
    """What became of one run."""

    seed: int
    ranks: int
    killed: str = ""
    at_s: float = 0.0
    frames_kept: int = 0
    ended_s: float = 0.0
    segments: int = 0
    D: float | None = None
    seconds: float = 0.0
    trouble: str = ""


def make_deck(folder: Path) -> Path:
    """Write the Rouse deck with a log line every 1000 steps, which tells how far MD has come."""
    text = Path("lammps_inputs/in.rouse").read_text()
    assert "thermo 10000" in text
    deck = folder / "in.chaos"
    deck.write_text(text.replace("thermo 10000", "thermo 1000\nthermo_modify flush yes"))
    return deck


def start(ranks: int, *arguments: object) -> subprocess.Popen[str]:
    """Launch the service."""
    command = [MPIRUN, "-n", ranks, sys.executable, "-m", "mlgle_lammps.run", *arguments]
    return subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def descendants(pid: int) -> list[int]:
    """Return a process and all below it."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.name))
    found = [pid]
    for process in found:
        found += children.get(process, [])
    return found


def alive(pid: int) -> bool:
    """Return whether a process runs (zombies do not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def describe(pid: int) -> str:
    """Return what a process is, for the table."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return "rank" if any(b"mlgle_lammps.run" in word for word in words[1:4]) else Path(words[0].decode()).name


def logged_step(log: Path) -> int:
    """Return the last step in LAMMPS's log, 0 where there is none."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return 0
    steps = [int(words[0]) for line in lines[-40:] if len(words := line.split()) == 2 and words[0].isdigit()]
    return max(steps, default=0)


def kill_one(outcome: Outcome, process: subprocess.Popen[str], out: Path, after: float, dice: random.Random) -> bool:
    """Kill a random process of a run after so many seconds; return False where the run was faster."""
    began, seen = time.monotonic(), [(0.0, 0)]
    while (now := time.monotonic() - began) < after:
        if process.poll() is not None:
            return False
        seen.append((now, logged_step(out / "log.lammps")))
        time.sleep(min(0.2, max(after - now, 0.01)))
    tree = descendants(process.pid)
    victim = dice.choice(tree)
    try:
        outcome.killed, outcome.at_s = describe(victim), after
        os.kill(victim, signal.SIGKILL)
    except OSError:
        return False
    killed = time.monotonic()
    while any(map(alive, tree)) and time.monotonic() - killed < 3 * SOON:
        process.poll()
        time.sleep(0.05)
    outcome.ended_s = time.monotonic() - killed
    for pid in filter(alive, tree):
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    check_journal(outcome, out, max(step for when, step in seen if when <= max(0.0, after - HEARTBEAT)))
    return True


def check_journal(outcome: Outcome, out: Path, produced: int) -> None:
    """Note trouble where the journal lacks a frame up to step ``produced``."""
    kept = [0]
    if chunk_paths(out / "checkpoint"):
        kept = np.concatenate([chunk.steps for chunk in read_journal(out / "checkpoint")]).tolist()
        outcome.frames_kept = len(kept)
    elif (out / "modes.h5").is_file():
        return
    if outcome.ended_s > SOON:
        outcome.trouble = f"others ended after {outcome.ended_s:.1f} s"
    if kept[-1] < produced - EVERY:
        outcome.trouble = f"the journal ends at step {kept[-1]}, and step {produced} was a heartbeat ago"


def finish(outcome: Outcome, process: subprocess.Popen[str], out: Path) -> None:
    """Wait for a run's end and look at what it left."""
    try:
        _, error = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        outcome.trouble = "hung"
        return
    if process.returncode or "Traceback" in error:
        outcome.trouble = f"exit {process.returncode}: {error.strip().splitlines()[-1:]}"
        return
    result = json.loads((out / "result.json").read_text())
    with FramesReader(out / "modes.h5") as reader:
        steps = np.asarray(reader.steps)
        outcome.segments = len(np.unique(reader.read(0, len(steps)).segments))
    if result["status"] != "complete" or len(steps) != 260 or not np.all(np.diff(steps) > 0):
        outcome.trouble = f"{result['status']}, {len(steps)} frames"
    outcome.D = result["D"]["value"]


def run_once(seed: int, folder: Path, deck: Path, usual: float | None) -> Outcome:
    """Run once; with a usual duration given, kill a process on the way and go on."""
    dice = random.Random(seed)
    outcome = Outcome(seed, 2 + seed % 2)
    out = folder / f"{'broken' if usual else 'unbroken'}-{seed}"
    arguments = (deck, "-var", "seed", seed, "-var", "data", "lammps_inputs/rouse.data", *OPTIONS, "--out", out)
    began = time.monotonic()
    process = start(outcome.ranks, *arguments, "--overwrite")
    if usual is not None:
        while not kill_one(outcome, process, out, dice.uniform(0.0, usual), dice):
            process = start(outcome.ranks, *arguments, "--overwrite")
        again = ("--resume", out) if (out / "checkpoint" / "run.json").is_file() else (*arguments, "--overwrite")
        process = start(outcome.ranks, *again)
    finish(outcome, process, out)
    outcome.seconds = time.monotonic() - began
    return outcome


def verdict(broken: list[Outcome], unbroken: list[Outcome]) -> dict[str, Any]:
    """Return the figures that matter."""
    one, other = ([o.D for o in outcomes if o.D is not None] for outcomes in (broken, unbroken))
    mean, error = np.mean(one), np.std(one, ddof=1) / np.sqrt(len(one))
    return {
        "runs": len(broken),
        "finished": sum(o.D is not None and not o.trouble for o in broken),
        "troubles": [f"seed {o.seed}: {o.trouble}" for o in (*broken, *unbroken) if o.trouble],
        "killed": {name: sum(o.killed == name for o in broken) for name in sorted({o.killed for o in broken})},
        "longest_end_s": max(o.ended_s for o in broken),
        "D_broken": [float(mean), float(error)],
        "D_unbroken": [float(np.mean(other)), float(np.std(other, ddof=1) / np.sqrt(len(other)))],
        "welch_p": float(stats.ttest_ind(one, other, equal_var=False).pvalue),
        "exact_z": float((mean - EXACT_D) / error),
    }


def main() -> int:
    """Run all; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--unbroken", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("runs/chaos"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    deck = make_deck(options.out)
    first, n_all = options.seed, options.unbroken + options.runs
    began = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(run_once, first + i, options.out, deck, None) for i in range(options.unbroken)]
        unbroken = [job.result() for job in jobs]
        usual = float(np.median([outcome.seconds for outcome in unbroken]))
        print(f"{len(unbroken)} unbroken runs of {usual:.1f} s", flush=True)
        seeds = range(first + options.unbroken, first + n_all)
        broken = []
        for outcome in pool.map(lambda seed: run_once(seed, options.out, deck, usual), seeds):
            broken.append(outcome)
            print(
                f"{len(broken)}/{options.runs}: {outcome.ranks} ranks, {outcome.killed or '?'} killed at "
                f"{outcome.at_s:.1f} s with {outcome.frames_kept} frames, the others ended in {outcome.ended_s:.1f} s, "
                f"{outcome.segments} segments, D = {outcome.D} {outcome.trouble}",
                flush=True,
            )
    summary = verdict(broken, unbroken) | {"seconds": time.monotonic() - began}
    text = json.dumps({"summary": summary, "runs": [asdict(o) for o in (*unbroken, *broken)]}, indent=1)
    (options.out / "chaos.json").write_text(text + "\n")
    print(json.dumps(summary, indent=1))
    wrong = summary["troubles"] or summary["finished"] != options.runs
    return 1 if wrong or min(summary["welch_p"], 2 * stats.norm.sf(abs(summary["exact_z"]))) < 1e-3 else 0


if __name__ == "__main__":
    sys.exit(main())
