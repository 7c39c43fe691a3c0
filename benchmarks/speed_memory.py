"""Memory of the process that learns: against chains, and over 10^5 frames.

    python benchmarks/speed_memory.py {chains|converged|full-md} OUT CHAINS MODES FRAMES   # one child, a JSON line

Every figure is of a process of its own: peak resident memory as the system counts it. Frames come from a source that
holds one frame; they take the pipeline's own way: journal, moments, ring buffer, fits, training, modes.h5.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from speed_records import Measurement, Settings, judged

from mlgle_lammps.records import Ending, Frames, System

GIB = 2**30
ROOM = 8 * GIB
FLAT = 10e6
"""Bytes that resident memory may grow by over the last nine tenths of the frames."""
SAMPLES = 400


class SteadySource:
    """Frames of AR(1) modes and a walking centre, made one by one (a FrameSource); resident memory is noted."""

    def __init__(self, n_chains: int, n_modes: int, n_frames: int, n_beads: int = 100) -> None:
        self._system = System(n_chains, n_beads, n_modes, 1.0, source=f"{n_chains} synthetic chains")
        self._n_frames = n_frames
        self.resident: list[tuple[int, int]] = []

    @property
    def system(self) -> System:
        """What the frames are about."""
        return self._system

    def __iter__(self) -> Iterator[Frames]:
        """Yield the frames."""
        generator = np.random.default_rng(1)
        n_chains, n_modes = self._system.n_chains, self._system.n_modes
        rate = (np.arange(n_modes, dtype=np.float32)[:, None] + 1) ** 2 / 100
        a = np.exp(-rate)
        kick = np.sqrt(1 - a * a)
        modes = generator.standard_normal((n_chains, n_modes, 3), dtype=np.float32)
        com = np.zeros((n_chains, 3))
        every = max(1, self._n_frames // SAMPLES)
        for t in range(self._n_frames):
            yield Frames.single(t, 0, com.copy(), modes.copy())
            if t % every == 0:
                self.resident.append((t, resident()))
            com += 0.1 * generator.standard_normal(com.shape)
            modes *= a
            modes += kick * generator.standard_normal(modes.shape, dtype=np.float32)

    def hand_off(self) -> None:
        """Frames go on as before."""

    def broken(self) -> bool:
        """Nothing can break."""
        return False

    def ending(self) -> Ending:
        """Tell that the stream is complete."""
        return Ending(step=self._n_frames - 1)


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def child(way: str, out: Path, n_chains: int, n_modes: int, n_frames: int) -> dict[str, object]:
    """Learn from synthetic frames in this process; return peak, samples of resident memory and seconds.

    Args:
        way: "chains" (all frames for training, then trained to the end), "converged" (frames go on through the ring
            buffer) or "full-md" (most frames after the hand-off).
        out: result folder.
        n_chains: P.
        n_modes: k.
        n_frames: frames in all.
    """
    from mlgle_lammps.commands.replay import Journalled
    from mlgle_lammps.options.learn import LearnOptions
    from mlgle_lammps.pipeline import online
    from mlgle_lammps.pipeline.learning import learn
    from mlgle_lammps.store.run_folder import RunFolder

    if way == "chains":
        online.FRAMES_BETWEEN_FITS = 3.0  # online rounds at few lengths: the last and the final training are largest
        n_val = n_frames * 3 // 8
        sizes = {"memory": min(128, n_frames // 4), "train_frames": n_frames - n_val, "val_frames": n_val}
        how: dict[str, object] = {"generate_steps": 0}
    else:
        sizes = {"memory": 16, "train_frames": 200, "val_frames": 100}
        how = {"generate_steps": 0, "handoff": "train", "full_md": n_frames - 300}
        if way == "converged":
            how = {"generate_steps": 0, "handoff": "converged", "target_ci": 1e-6}
    options = LearnOptions(out=out, overwrite=True, modes=n_modes, threads=1, **sizes, **how)  # type: ignore[arg-type]
    source = SteadySource(n_chains, n_modes, n_frames)
    folder = RunFolder.create(out, True)
    start = time.perf_counter()
    code = learn(Journalled(source, folder), options, folder)
    if code:
        raise RuntimeError(f"the pipeline ended with {code}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak": peak, "resident": source.resident, "seconds": time.perf_counter() - start}


def in_child(way: str, settings: Settings, n_chains: int, n_modes: int, n_frames: int) -> dict[str, Any]:
    """Return what `child` says in a process of its own."""
    words = [way, str(settings.scratch / way), str(n_chains), str(n_modes), str(n_frames)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{n_chains} chains, {way}: {done.stderr.strip().splitlines()[-1:]} ({done.returncode})")
    return json.loads(done.stdout.splitlines()[-1])


def memory_lines(settings: Settings) -> list[Measurement]:
    """Return the growth over frames, and the peaks against chains."""
    ways = {"converged": "through the ring buffer", "full-md": "after the hand-off"}
    if settings.quick:
        return flat(ways["full-md"], in_child("full-md", settings, 4, 1, 1000)["resident"])
    lines = [line for way in ways for line in flat(ways[way], in_child(way, settings, 10, 3, 100_000)["resident"])]
    return lines + against_chains(settings, (100, 1000, 10_000))


def flat(what: str, samples: Sequence[Sequence[int]]) -> list[Measurement]:
    """Return growth and slope of resident memory over the last nine tenths of the frames."""
    frames, taken = np.array(samples, dtype=float).T
    late = frames >= frames[-1] / 10
    fit = stats.linregress(frames[late], taken[late])
    growth = float(np.median(taken[-len(taken) // 20 :]) - np.median(taken[late][: max(1, len(taken) // 20)]))
    case = f"{frames[-1] + 1:.0f} frames {what}"
    note = f"slope {fit.slope:.2f} ± {fit.stderr:.2f} bytes per frame"
    return [
        judged(case, "growth of memory", "MB", (growth / 1e6,), at_most=FLAT / 1e6, note=note),
        Measurement(case, "resident at the end", "MB", (float(taken[-1]) / 1e6,)),
    ]


def against_chains(settings: Settings, sizes: Sequence[int]) -> list[Measurement]:
    """Return the peak of a whole run, training included, against chains; the largest held against 8 GiB."""
    n_frames, n_modes = 1600, 12
    lines, peaks = [], []
    for n in sizes:
        result = in_child("chains", settings, n, n_modes, n_frames)
        shutil.rmtree(settings.scratch / "chains")  # gigabytes
        case = f"{n} chains, {n_frames} frames, k {n_modes}"
        peaks.append(result["peak"])
        limit = ROOM / GIB if n == max(sizes) else None
        lines += [
            judged(case, "peak memory, streamed, fitted and trained", "GiB", (peaks[-1] / GIB,), at_most=limit),
            Measurement(case, "wall time of that", "s", (result["seconds"],)),
        ]
    more = (peaks[-1] - peaks[-2]) / (sizes[-1] - sizes[-2])
    ring = n_frames * (24 + 12 * n_modes)
    note = f"the ring buffer takes {ring / 1e3:.0f}"
    return [
        *lines,
        Measurement(f"from {sizes[-2]} to {sizes[-1]} chains", "memory per chain", "kB", (more / 1e3,), note=note),
    ]


def main() -> int:
    """Be one child."""
    way, out, *sizes = sys.argv[1:]
    print(json.dumps(child(way, Path(out), *map(int, sizes))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
