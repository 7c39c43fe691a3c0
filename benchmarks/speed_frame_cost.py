"""What a frame costs each MD rank: unwrapping, modes, agreement, reduction, sending; against beads and ranks.

    mpirun -n 3 python benchmarks/speed_frame_cost.py DATA FRAMES OUT    # 2 MD ranks and the one that receives

Beads of a data file at rest, no forces: the service's own `Snapshots` and `Outbox` take frame after frame of them. What
a rank does by itself is CPU time, so that it means something with more ranks than cores too; what it does with others
is wall time, and with more ranks than cores that is mostly waiting to be scheduled.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from speed_records import Measurement, Settings

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PARTS = ("unwrap", "modes", "agree", "reduce", "send")
WHAT = {
    "unwrap": "image flags, box, slots, temperature; CPU time of the slowest rank",
    "modes": "scatter and DCT of the rank's own beads; CPU time of the slowest rank",
    "agree": "one Allreduce of three integers; wall time, first rank",
    "reduce": "Reduce of all modes; wall time, first rank",
    "send": "packing and Isend; wall time, first rank",
}
N_MODES = 12
DECK = """units real
atom_style angle
newton on
read_data {data}
pair_style zero 5.0
pair_coeff * *
bond_style zero
bond_coeff *
angle_style zero
angle_coeff *
comm_modify cutoff 20.0
run 0"""


def frame_costs(settings: Settings) -> list[Measurement]:
    """Return the parts of a frame's cost at 1, 2 and 4 MD ranks, frames of 100 × 100 and of 1000 × 100 beads."""
    sizes = ((20, 20),) if settings.quick else ((100, 100), (1000, 100))
    ranks = (1, 2) if settings.quick else (1, 2, 4)
    cores = len(os.sched_getaffinity(0))
    lines = []
    for chains, beads in sizes:
        data = settings.scratch / f"{chains}x{beads}.data"
        counts = ("--chains", str(chains), "--beads", str(beads), "--density", "0.90", "--overwrite")
        subprocess.run([sys.executable, "-m", "mlgle_lammps.build", *counts, str(data)], check=True, cwd=ROOT)
        for n in ranks:
            times = frames_of(data, n, 40 if settings.quick else 400, settings.scratch)
            crowded = "" if n + 1 <= cores else f"{n} + 1 ranks on {cores} cores: oversubscribed"
            case = f"frame of {chains} × {beads} beads, {n} MD rank{'s' * (n > 1)}"
            for part in (*PARTS, "sum"):
                note = "; ".join(filter(None, (WHAT.get(part, ""), crowded)))
                values = [1e3 * np.median(block) for block in np.array_split(times[part], max(settings.repeats, 2))]
                lines.append(Measurement(case, part, "ms", tuple(map(float, values)), note=note))
    return lines


def frames_of(data: Path, n_ranks: int, n_frames: int, folder: Path) -> dict[str, list[float]]:
    """Return the seconds of each part of each frame."""
    out = folder / "frames.json"
    out.unlink(missing_ok=True)
    words: list[str | Path] = [sys.executable, __file__, data, str(n_frames), out]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    subprocess.run([BIN / "mpirun", "-n", str(n_ranks + 1), *words], check=True, cwd=ROOT, env=environment, timeout=300)
    return json.loads(out.read_text())


def take_frames(world: Any, data: str, n_frames: int) -> dict[str, list[float]]:
    """Take frames on the MD ranks; return the seconds of each part on the first one."""
    from mlgle_lammps.acquire import mpi
    from mlgle_lammps.acquire.snapshot import Snapshots
    from mlgle_lammps.acquire.system import read_system
    from mlgle_lammps.chains.molecule_sums import Block, LocalModeSum
    from mlgle_lammps.records import Ending, Frames
    from mlgle_lammps.stream.links import RankLink
    from mlgle_lammps.stream.transport import Outbox

    comm = world.md_comm
    lmp = mpi.open_lammps(["-log", "none", "-screen", "none"], comm)
    lmp.commands_string(DECK.format(data=data))
    system, chains = read_system(lmp, comm, deck=data, every=1, n_modes=N_MODES)
    snapshots, modes = Snapshots(lmp, comm, [Block(chains.ids, N_MODES)]), LocalModeSum(chains.ids, N_MODES)
    outbox = Outbox(RankLink(world.stream_comm, world.trainer))
    if world.leads_md:
        outbox.hello(system)
    n_local = lmp.extract_setting("nlocal")
    ids, positions = (lmp.numpy.extract_atom(name)[:n_local] for name in ("id", "x"))
    slots, flags = modes.slots(ids), np.zeros(3, dtype=np.int64)
    times = np.zeros((n_frames, len(PARTS)))
    for frame in range(n_frames):
        spent = [time.thread_time()]
        modes(slots, positions)
        spent.append(time.thread_time())
        part, _ = snapshots.local(ids, positions)
        spent.append(time.thread_time())
        comm.Barrier()
        clock = [time.perf_counter()]
        comm.Allreduce(flags, np.empty_like(flags))
        clock.append(time.perf_counter())
        total = snapshots.total(part)
        clock.append(time.perf_counter())
        if total is not None:
            (own,) = total
            outbox.send(Frames.single(frame, 0, own[:, 0].copy(), own[:, 1:].astype(np.float32)))
            outbox.listen()
        clock.append(time.perf_counter())
        of_modes, of_local = np.diff(spent)
        times[frame] = of_local - of_modes, of_modes, *np.diff(clock)
    if world.leads_md:
        outbox.end(Ending())
    outbox.flush(60.0)
    slowest = np.max(comm.allgather(times[:, :2]), axis=0)
    times[:, :2] = slowest
    return {name: times[:, i].tolist() for i, name in enumerate(PARTS)} | {"sum": times.sum(axis=1).tolist()}


def receive(world: Any) -> None:
    """Receive the frames as the service's trainer does."""
    from mlgle_lammps.stream.links import RankLink
    from mlgle_lammps.stream.transport import Inbox

    inbox = Inbox(RankLink(world.stream_comm, 0))
    inbox.wait_for_system()
    inbox.begin()
    for _ in inbox:
        pass
    inbox.close()


def main() -> int:
    """Do this rank's part."""
    data, n_frames, out = sys.argv[1:]
    from mlgle_lammps.acquire import mpi

    world = mpi.start()
    if world.trains:
        receive(world)
    elif (times := take_frames(world, data, int(n_frames))) and world.leads_md:
        Path(out).write_text(json.dumps(times))
    return world.agree_on_exit(0)


if __name__ == "__main__":
    sys.exit(main())
