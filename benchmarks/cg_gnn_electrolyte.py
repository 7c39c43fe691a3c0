"""Tables of a set of electrolytes: D, conductivity, g(r), collisions in time, halves, and what a step costs.

python -m mlgle_lammps.sets lammps_inputs/sequences/electrolytes.toml --out runs/electrolytes
python benchmarks/cg_gnn_electrolyte.py lammps_inputs/sequences/electrolytes.toml runs/electrolytes
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from mlgle_lammps.evaluate.ion_transport import collisions_in_time, ion_transport, read_ions
from mlgle_lammps.evaluate.molecule_sizes import size_difference, sizes_of
from mlgle_lammps.observe.ions import edges_of, species_distribution
from mlgle_lammps.pipeline.molecules import read_runs
from mlgle_lammps.pipeline.set_file import SetFile, read_set
from mlgle_lammps.pipeline.set_tasks import generated_folder, model_folder, run_folder
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import CHAINS, Float64, Frames
from mlgle_lammps.surrogates.catalogue import load_model
from mlgle_lammps.surrogates.cg_gnn.box_model import BoxModel

REACH, BINS = 3.6, 60
STEPS = 200


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    plan = read_set(given.set)
    parity = json.loads((given.out / "parity.json").read_text())
    diffusion(plan, parity)
    structure(plan, given.out)
    halves(plan, given.out)
    sizes(plan, given.out)
    cost(plan, given.out)


def diffusion(plan: SetFile, parity: JsonObject) -> None:
    """Print D of ions and conductivity, model by model."""
    columns = [(name, ion) for name in parity["molecules"] for ion in plan.charges]
    print("| | " + " | ".join(f"{name}, {ion}" for name, ion in columns) + " |")
    rows = {"long MD": parity["molecules"]}
    rows |= {name: own["molecules"] for group in ("models", "baselines") for name, own in parity[group].items()}
    for label, found in rows.items():
        cells = []
        for name, ion in columns:
            D = found[name].get(f"D_{ion}")
            cells.append("none" if D is None else f"{D['value']:.4f} ± {D['se']:.4f}")
        print(f"| {label} | " + " | ".join(cells) + " |")
    for label, found in rows.items():
        cells = [
            f"{name}: {found[name]['conductivity']['value']:.4f} ± {found[name]['conductivity']['se']:.4f}"
            for name in found if "conductivity" in found[name]
        ]  # fmt: skip
        print(f"conductivity, {label}: " + ", ".join(cells))


def g_of(frames: Frames, pair: tuple[str, str], n_boxes: int, box: Float64) -> Float64:
    """Return g(r) of a pair of ions, the mean over boxes side by side."""
    every, found = max(1, len(frames) // 2000), []
    for k in range(n_boxes):
        one, other = (np.array_split(frames.channels[name]["com"][::every], n_boxes, axis=1)[k] for name in pair)
        found.append(species_distribution(one, None if pair[0] == pair[1] else other, box, REACH, BINS).g)
    return np.mean(found, axis=0)


def structure(plan: SetFile, out: Path) -> None:
    """Print first peaks of g(r), its difference from MD's, sizes of chains, and collisions in time."""
    for run in plan.of_part("test"):
        system, md = read_ions(run_folder(out, run), plan.charges)
        box = edges_of(system.box)
        long = ion_transport(system, md, plan.charges)
        names = sorted(plan.charges)
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i:]]

        exact = {pair: g_of(md, pair, 1, box) for pair in pairs}
        print(run.name, "MD: highest g", {"-".join(p): round(float(g.max()), 2) for p, g in exact.items()})
        for model in plan.models:
            made_system, made = read_ions(
                generated_folder(out, model) / "test" / run.name / "generated.h5", plan.charges
            )
            found = {pair: g_of(made, pair, made_system.boxes, box) for pair in pairs}
            highest = {"-".join(p): round(float(g.max()), 2) for p, g in found.items()}
            rms = {"-".join(p): round(float(np.sqrt(np.mean((g - exact[p]) ** 2))), 3) for p, g in found.items()}
            print(f"  {model.name}: highest g {highest}, rms difference up to {REACH} {rms}")
            for pair in pairs:
                near = collisions_in_time(made_system, made, pair, long.closest[pair])
                parts = [float(own.mean()) for own in np.array_split(near, 10)]
                print(
                    f"    closer than {long.closest[pair]:.3f} {'-'.join(pair)}, per ion, by tenths:",
                    np.round(parts, 4),
                )


def halves(plan: SetFile, out: Path) -> None:
    """Print D of both halves of the generated time, and the chains' size."""
    for model in plan.models:
        for run in plan.of_part("test"):
            system, frames = read_ions(generated_folder(out, model) / "test" / run.name / "generated.h5", plan.charges)
            middle = len(frames) // 2
            parts = [ion_transport(system, own, plan.charges) for own in (frames[:middle], frames[middle:])]
            said = []
            for ion in plan.charges:
                D = [own.D[ion] for own in parts]
                said += ["none" if own is None else f"{own.value:.4f} ± {own.se:.4f}" for own in D]
            finite = all(np.isfinite(own["com"]).all() for own in frames.channels.values())
            print(f"{model.name} {run.name}: finite {finite}; halves of D", ", ".join(said))


def sizes(plan: SetFile, out: Path) -> None:
    """Print the chains' squared radius of gyration, its relaxation, and displacements at one step against MD's."""
    for run in plan.of_part("test"):
        md, (_, frames) = sizes_of(run_folder(out, run)), read_ions(run_folder(out, run), plan.charges)
        for model in plan.models:
            path = generated_folder(out, model) / "test" / run.name / "generated.h5"
            found = size_difference(sizes_of(path).squared_radius, md.squared_radius)
            system, made = read_ions(path, plan.charges)
            lag = round(system.dt / md.system.dt)
            steps = {
                name: float(
                    np.square(np.diff(made.channels[name]["com"], axis=0)).mean()
                    / np.square(frames.channels[name]["com"][lag:] - frames.channels[name]["com"][:-lag]).mean()
                )
                for name in (CHAINS, *plan.charges)
            }
            relaxation = found.relaxation_ratio
            said = "none" if relaxation is None else f"{relaxation.value:.2f} ± {relaxation.se:.2f}"
            print(f"{run.name} {model.name}: Rg2 {found.mean.value:.2f} ± {found.mean.se:.2f}, MD "
                  f"{found.md_mean.value:.2f} ± {found.md_mean.se:.2f}, relaxation over MD's {said}; squares of one "
                  f"step over MD's", {name: round(own, 3) for name, own in steps.items()})  # fmt: skip


def cost(plan: SetFile, out: Path) -> None:
    """Print CPU time of a step, of one box and of eight."""
    torch.set_num_threads(1)
    for model in plan.models:
        own = load_model(model_folder(out, model) / "model.safetensors")
        assert isinstance(own, BoxModel)
        for run in plan.of_part("test")[:1]:
            [start] = read_runs([run_folder(out, run)], 8)
            beads = start.frames.channels[CHAINS]["beads"]
            for n_boxes in (1, 8):
                motion = own.start(
                    start.frames, 1, n_trajectories=n_boxes * beads.shape[1], system=start.system, threads=1
                )  # fmt: skip
                list(motion.advance(20))
                began = time.process_time()
                list(motion.advance(STEPS))
                each = (time.process_time() - began) / STEPS / n_boxes
                label = f"{model.name}, {n_boxes} boxes"
                print(f"{label}: {1e3 * each:.2f} ms a step and box, {1e3 * each / own.dt:.2f} ms per {own.time_unit}")


if __name__ == "__main__":
    main()
