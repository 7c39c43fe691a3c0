"""What a τ of NM-MB's centres costs: by number of molecules, and by number of boxes that move together.

    python benchmarks/nm_mb_speed.py RUN [RUN2 ..] [--molecules 64 125 216 512] [--boxes 1 4] [--md-s-per-time 0.07]

RUN is the folder of a `run --surrogate nm-mb` or of a replay of one. LAMMPS's own steps a second are those that the run
measured; what it costs grows as its atoms do.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.surrogates.nm_mb.model import NmMbModel

SECONDS = 8.0


def seconds_per_time(model: NmMbModel, molecules: int, boxes: int) -> float:
    """Return the time of one core that one unit of time of one box takes."""
    motion = model.start_box(1, molecules=molecules, boxes=boxes)
    for _ in motion.advance(2):
        pass
    started, frames = time.process_time(), 0
    while time.process_time() - started < SECONDS:
        for _ in motion.advance(2):
            frames += 2
    return (time.process_time() - started) / (frames * model.dt * boxes)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--molecules", type=int, nargs="+", default=[64, 125, 216, 512])
    parser.add_argument("--boxes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--md-s-per-time", type=float, default=0.0, help="LAMMPS's, in the run's own box; from its log")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("| model | molecules | boxes | s per unit of time and box | LAMMPS's over it |\n|---|---|---|---|---|")
    for path in asked.runs:
        folder = RunFolder(path)
        model = NmMbModel.load(folder.model)
        told = folder.read_result()
        timing, md = told["timing"], asked.md_s_per_time
        md = md or (timing["md_s"] - timing["constrained_s"]) / (told["n_frames"] * told["dt"])
        costs = []
        for molecules in asked.molecules:
            for boxes in asked.boxes:
                cost = seconds_per_time(model, molecules, boxes)
                gain = md * molecules / len(model.last) / cost
                print(f"| {model.preset} | {molecules} | {boxes} | {cost:.3g} | {gain:.2f} |", flush=True)
                if boxes == asked.boxes[0]:
                    costs.append(cost)
        if len(costs) > 1:
            growth = np.polyfit(np.log(asked.molecules), np.log(costs), 1)[0]
            print(f"{model.preset}: cost grows with the number of molecules to the power {growth:.2f}")


if __name__ == "__main__":
    main()
