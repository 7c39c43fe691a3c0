"""MD with the service over plain ``lmp``, and what a frame costs MD.

Pairs of runs of one deck, ``lmp`` on one core and the service with one MD rank and a trainer that never rests
(`speed_restless`) on the other; both do the same steps, since the service leaves the trajectory as it is. The time is
LAMMPS's own "Loop time" of a run that follows a first one, so neither start-up nor the import of torch counts. The
share of MD's time that the callback takes is measured in the same runs, and far sharper than the ratio. What the
trainer's work beside it costs MD is measured sharper too: within one run of the service, MD's blocks of steps in turn
with the trainer's process stopped and at work.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from chaos import descendants
from speed_frame_cost import frame_costs
from speed_records import Measurement, Settings, judged, ratio
from speed_restless import PACED

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
LOOP = re.compile(r"Loop time of (\S+) on \d+ procs for (\d+) steps")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
BLOCK = 1 / 6  # of the steps that count: one block with the trainer stopped, or at work
MEMORY, TRAIN, VALIDATION = 4, 8, 4  # so that training begins with the fifth frame
LONGEST = 600.0


@dataclass(frozen=True)
class Deck:
    """A deck and how long it is run.

    Attributes:
        name: for the table.
        data: start structure.
        every: steps between two frames.
        own_every: the same in ordinary use.
        warm: steps of the first run, until the trainer trains.
        steps: of the run that counts.
        at_most: target of the ratio.
        paced: the trainer makes the default schedule's rounds, one a frame, instead of updates without a pause.
    """

    name: str
    data: Path
    every: int
    own_every: int
    warm: int
    steps: int
    at_most: float
    paced: bool = False


@dataclass(frozen=True)
class ServiceRun:
    """What one run of the service showed.

    Attributes:
        loop: seconds of the run that counts.
        callback_share: of the time of all MD.
        callback_per_frame: seconds.
        trainer_busy: CPU time of the trainer over wall time in the run that counts.
    """

    loop: float
    callback_share: float
    callback_per_frame: float
    trainer_busy: float


def run(settings: Settings) -> list[Measurement]:
    """Measure the ratio on a small and a paper-size deck, then the parts of a frame's cost."""
    script = make_deck(settings.scratch)
    small = ROOT / "lammps_inputs" / "melt.data"
    if settings.quick:
        decks = [Deck("small deck (20 × 20 beads)", small, 40, 400, 800, 480, 1.05)]
    else:
        paper = paper_melt(settings.scratch)
        decks = [
            Deck("small deck (20 × 20 beads)", small, 400, 400, 8000, 12_000, 1.05),
            Deck("paper-size deck (100 × 100 beads)", paper, 20, 2000, 180, 300, 1.02),
        ]
    pairs = 1 if settings.quick else max(settings.repeats, 8)
    lines = [line for deck in decks for line in coupled(deck, script, settings.scratch, pairs)]
    return lines + frame_costs(settings)


# ---------------------------------------------------------------------- the ratio


def make_deck(folder: Path) -> Path:
    """Write in.melt with a first run before the one that counts; the log is closed behind it, so it is on disk."""
    text = (ROOT / "lammps_inputs" / "in.melt").read_text()
    assert text.rstrip().endswith("run ${steps}")
    script = folder / "in.bench"
    script.write_text(text.replace("run ${steps}", "run ${warm}\nrun ${steps}\nlog none"))
    return script


def paper_melt(folder: Path) -> Path:
    """Return a melt of 100 × 100 beads from build and push-off; made once for a force field."""
    data = folder / "paper.data"
    made_of = [ROOT / "lammps_inputs" / "in.melt.paper", *(ROOT / "potentials").glob("cis-pb.*")]
    if data.is_file() and data.stat().st_mtime > max(path.stat().st_mtime for path in made_of):
        return data
    raw, script = folder / "raw.data", folder / "in.push"
    sizes = ("--chains", "100", "--beads", "100", "--density", "0.90", "--seed", "1", "--overwrite")
    subprocess.run([sys.executable, "-m", "mlgle_lammps.build", *sizes, str(raw)], check=True, cwd=ROOT)
    before, _, _ = (ROOT / "lammps_inputs" / "in.melt.paper").read_text().partition("#mlgle production")
    script.write_text(f"{before}\nwrite_data {data} nocoeff\n")
    short = {"push_steps": 600, "gentle": 400, "relax": 200}
    lmp = command_of_lmp(script, raw, folder / "push.log", **short)
    subprocess.run([BIN / "mpirun", "-n", "2", *lmp], check=True, cwd=ROOT, env=ENVIRONMENT)
    return data


def command_of_lmp(script: Path, data: Path, log: Path, **variables: int) -> list[str]:
    """Return the command line of plain LAMMPS."""
    return [
        str(BIN / "lmp"), "-in", str(script), "-log", str(log), "-screen", "none", *variables_of(data, **variables)
    ]  # fmt: skip


def variables_of(data: Path, **variables: int) -> list[str]:
    """Return the deck's variables as arguments."""
    given = {"data": data, "potentials": ROOT / "potentials", "deckdir": ROOT / "lammps_inputs", **variables}
    return [word for name, value in given.items() for word in ("-var", name, str(value))]


def coupled(deck: Deck, script: Path, folder: Path, pairs: int) -> list[Measurement]:
    """Return the ratio of paired runs and what else they showed."""
    plain: list[float] = []
    served: list[ServiceRun] = []
    for pair in range(pairs):
        if pair % 2 == 0:
            plain.append(plain_run(deck, script, folder))
            served.append(service_run(deck, script, folder))
        else:
            served.append(service_run(deck, script, folder))
            plain.append(plain_run(deck, script, folder))
    note = (
        f"Loop time of {deck.steps} steps in {pairs} pairs; frames every {deck.every} steps "
        f"(of the deck itself: {deck.own_every}); the trainer makes updates without a pause"
    )
    beside = contention(deck, folder, 2 * pairs)
    share = tuple(100 * s.callback_share for s in served)
    own = tuple(100 * s.callback_per_frame / (deck.own_every * s.loop / deck.steps) for s in served)
    both = tuple(ratio * (1 + np.median(own) / 100) for ratio in beside)
    limit = 100 * (deck.at_most - 1)
    return [
        Measurement(deck.name, "MD alone", "steps/s", tuple(deck.steps / t for t in plain)),
        ratio(deck.name, "MD with the service over lmp", [s.loop for s in served], plain, None, deck.at_most, note),
        judged(deck.name, "callback's share of MD", "%", share, None, limit, f"frames every {deck.every} steps"),
        judged(deck.name, "the same at the deck's own stride", "%", own, None, limit, f"every {deck.own_every} steps"),
        Measurement(
            deck.name, "MD beside the trainer at work over MD beside it stopped", "×", beside,
            note=f"blocks of {round(BLOCK * deck.steps)} steps in pairs within one run of the service",
        ),
        judged(
            deck.name, "that, and the callback at the deck's own stride", "×", both, None, deck.at_most,
            "the sharper estimate of MD with the service over lmp",
        ),
        Measurement(deck.name, "callback per frame", "ms", tuple(1e3 * s.callback_per_frame for s in served)),
        Measurement(
            deck.name, "trainer's CPU time over wall time", "", tuple(s.trainer_busy for s in served),
            note="in the run that counts",
        ),
    ]  # fmt: skip


def plain_run(deck: Deck, script: Path, folder: Path) -> float:
    """Return the loop time of plain LAMMPS."""
    log = folder / "plain.log"
    lmp = command_of_lmp(script, deck.data, log, relax=0, warm=deck.warm, steps=deck.steps)
    subprocess.run([BIN / "mpirun", "-n", "1", *lmp], check=True, cwd=ROOT, env=ENVIRONMENT)
    return last_loop(log, deck.steps)


def last_loop(log: Path, steps: int) -> float:
    """Return the last loop time in a log; RuntimeError where it is not of so many steps."""
    found = LOOP.findall(log.read_text())
    if not found or int(found[-1][1]) != steps:
        raise RuntimeError(f"{log}: no loop of {steps} steps, but {found[-1:]}")
    return float(found[-1][0])


def service_run(deck: Deck, script: Path, folder: Path) -> ServiceRun:
    """Run the service to the end of MD and return what it showed."""
    n_frames, times = serve(deck, script, folder, deck.steps, {"steps": deck.steps})
    ending = json.loads((folder / "service" / "checkpoint" / "ending.json").read_text())
    loop = last_loop(folder / "service" / "log.lammps", deck.steps)
    wall, cpu = np.array(times).T
    began = np.interp(wall[-1] - loop, wall, cpu)
    return ServiceRun(
        loop, ending["callback_s"] / ending["md_s"], ending["callback_s"] / n_frames, float(cpu[-1] - began) / loop
    )


def contention(deck: Deck, folder: Path, pairs: int) -> tuple[float, ...]:
    """Return MD's time beside the trainer at work over its time beside the trainer stopped, in pairs of blocks."""
    steps = round(BLOCK * deck.steps)
    stop, go = (f"shell kill -{name} `cat {folder / 'trainer.pid'}`\nrun {steps}" for name in ("STOP", "CONT"))
    blocks = "\n".join(f"{stop}\n{go}" if pair % 2 == 0 else f"{go}\n{stop}" for pair in range(pairs))
    text = (folder / "in.bench").read_text()
    script = folder / "in.blocks"
    script.write_text(text.replace("run ${steps}", f"{blocks}\nshell kill -CONT `cat {folder / 'trainer.pid'}`"))
    serve(deck, script, folder, 2 * pairs * steps, {})
    found = LOOP.findall((folder / "service" / "log.lammps").read_text())[-2 * pairs :]
    if len(found) != 2 * pairs or {int(n) for _, n in found} != {steps}:
        raise RuntimeError(f"{folder}: not {2 * pairs} loops of {steps} steps, but {found}")
    times = [float(time) for time, _ in found]
    return tuple(times[i + 1] / times[i] if i % 4 == 0 else times[i] / times[i + 1] for i in range(0, 2 * pairs, 2))


def serve(
    deck: Deck, script: Path, folder: Path, steps: int, variables: dict[str, int]
) -> tuple[int, list[tuple[float, float]]]:
    """Run the service to the end of MD, then kill it: its trainer would never end.

    Args:
        deck: data and strides.
        script: the deck itself.
        folder: where the run's folder and the trainer's process number go.
        steps: after the first run.
        variables: of the deck, more of them.

    Returns:
        Frames, and (wall, CPU) seconds of the trainer on the way.
    """
    out, pid = folder / "service", folder / "trainer.pid"
    shutil.rmtree(out, ignore_errors=True)
    n_frames = (deck.warm + steps) // deck.every + 1
    train = n_frames - VALIDATION if deck.paced else TRAIN
    options = {
        "every": deck.every, "memory": MEMORY, "val-frames": VALIDATION,
        "train-frames": train, "full-md": n_frames - train - VALIDATION,
        "generate-steps": 0, "checkpoint-every": 0, "out": out,
    }  # fmt: skip
    process = subprocess.Popen(
        [
            BIN / "mpirun", "-n", "2", sys.executable, ROOT / "benchmarks" / "speed_restless.py", script,
            *variables_of(deck.data, relax=0, warm=deck.warm, **variables),
            *(word for name, value in options.items() for word in (f"--{name}", str(value))),
        ],
        cwd=ROOT, env={**ENVIRONMENT, **({PACED: "1"} if deck.paced else {})},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        times = watch_trainer(process, out / "checkpoint" / "ending.json", pid)
    finally:
        error = end(process)
    if not times:
        raise RuntimeError(f"the service ended early: {error.strip().splitlines()[-4:]}")
    return n_frames, times


def watch_trainer(process: subprocess.Popen[str], ending: Path, number: Path) -> list[tuple[float, float]]:
    """Return (wall, CPU) seconds of the trainer's rank until MD has ended; nothing where the service ended first.

    Its process number goes into the file ``number``.
    """
    started, trainer = time.time(), 0
    times: list[tuple[float, float]] = []
    while process.poll() is None and time.time() - started < LONGEST:
        if not trainer:
            trainer = next((pid for pid in descendants(process.pid) if is_trainer(pid)), 0)
            number.write_text(str(trainer))
        elif seconds := cpu_seconds(trainer):
            times.append((time.time(), seconds))
        if ending.is_file() and ending.stat().st_mtime >= started:
            return times
        time.sleep(0.1)
    return []


def is_trainer(pid: int) -> bool:
    """Tell whether a process is the second rank."""
    try:
        return b"PMI_RANK=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, 0 where it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def end(process: subprocess.Popen[str]) -> str:
    """Kill a launcher and its ranks; return what they said."""
    for pid in reversed(descendants(process.pid)):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue
    return process.communicate()[1]
