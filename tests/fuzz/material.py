"""Sound inputs to mutate: a Rouse stream in all its forms, a run learned from it, a trajectory, a deck."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzz.processes import launched
from mlgle_lammps.chains.beads import bead_positions
from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.records import Frames, ModeReport, System, joined
from mlgle_lammps.store.run_folder import RunFolder
from mlgle_lammps.store.writer import FramesWriter
from mlgle_lammps.surrogates.ml_gle import equivariant
from mlgle_lammps.surrogates.ml_gle.equivariant import Networks
from mlgle_lammps.surrogates.ml_gle.linear_core import core_from_reflection
from mlgle_lammps.surrogates.ml_gle.mode_model import ModeModel
from mlgle_lammps.surrogates.ml_gle.model import MlGleModel
from mlgle_lammps.surrogates.ml_gle.published import network
from mlgle_lammps.surrogates.ml_gle.published.model import PublishedModes

CHAINS, BEADS, MODES, FRAMES, DT, BOX = 12, 6, 3, 40, 4.0, 6.0
SOURCE = RouseSource(CHAINS, BEADS, BEADS - 1, FRAMES, DT, seed=2, every=10)
SHORT = (
    "--memory", 4, "--train-frames", 36, "--val-frames", 4, "--modes", MODES, "--generate-steps", 128,
    "--ensemble", 4, "--threads", 1,
)  # fmt: skip
"""Options with which a sound input takes seconds: too few frames to validate networks, so none is trained."""


def frames(n_modes: int = MODES) -> list[Frames]:
    """Return the frames of the stream."""
    return [f.first_modes(n_modes) for f in SOURCE]


def system(n_modes: int = MODES) -> System:
    """Return what the stream is about."""
    return replace(SOURCE.system, n_modes=n_modes, box=(BOX, BOX, BOX, 0.0, 0.0, 0.0))


def write_h5(path: Path) -> Path:
    """Write the stream as modes.h5, two segments of it."""
    with FramesWriter(path, system()) as writer:
        for number, f in enumerate(frames()):
            writer.append(replace(f, segments=f.segments + (number >= 5)))
    return path


def write_npz(path: Path) -> Path:
    """Write the stream as .npz."""
    whole = joined(frames())
    np.savez(path, com=whole.com, modes=whole.modes, dt=DT, n_beads=BEADS, time_unit="tau", length_unit="sigma")
    return path


def write_killed_run(folder: Path) -> Path:
    """Leave what a killed run leaves: a journal of several chunks."""
    run = RunFolder.create(folder)
    journal = run.open_journal(system())
    for number, frame in enumerate(frames()):
        journal.append(frame)
        if number % 12 == 11:
            journal.close()
    journal.flush()
    return folder


def beads() -> np.ndarray:
    """Return unwrapped positions, (time, chain, bead, 3)."""
    whole = joined(frames(BEADS - 1))
    return bead_positions(whole.com, whole.modes.astype(float), BEADS)


def data_text(positions: np.ndarray, box: float = BOX) -> str:
    """Return a LAMMPS data file of chains in a periodic box, atom style bond.

    Args:
        positions: unwrapped, (chain, bead, 3).
        box: its edge.
    """
    n_chains, n_beads, _ = positions.shape
    n, images = n_chains * n_beads, np.floor(positions / box).astype(int)
    inside = positions - images * box
    lines = ["Rouse chains", "", f"{n} atoms", f"{n_chains * (n_beads - 1)} bonds", "1 atom types", "1 bond types"]
    lines += ["", *(f"0 {box:g} {axis}lo {axis}hi" for axis in "xyz"), "", "Masses", "", "1 1", "", "Atoms # bond", ""]
    for chain, bead in np.ndindex(n_chains, n_beads):
        x, i = inside[chain, bead], images[chain, bead]
        place = " ".join(f"{v:.6f}" for v in x) + " " + " ".join(map(str, i))
        lines.append(f"{chain * n_beads + bead + 1} {chain + 1} 1 {place}")
    lines += ["", "Bonds", ""]
    pairs = [(c * n_beads + b + 1, c * n_beads + b + 2) for c in range(n_chains) for b in range(n_beads - 1)]
    lines += [f"{number} 1 {a} {b}" for number, (a, b) in enumerate(pairs, start=1)]
    return "\n".join(lines) + "\n"


def dump_text() -> str:
    """Return the trajectory as a LAMMPS text dump, wrapped, with image flags."""
    lines = []
    for frame, positions in zip(frames(), beads().reshape(FRAMES, -1, 3), strict=True):
        images = np.floor(positions / BOX).astype(int)
        lines += ["ITEM: TIMESTEP", str(frame.last_step), "ITEM: NUMBER OF ATOMS", str(len(positions))]
        lines += ["ITEM: BOX BOUNDS pp pp pp", *[f"0 {BOX:g}"] * 3, "ITEM: ATOMS id x y z ix iy iz"]
        for i, (x, image) in enumerate(zip(positions - images * BOX, images, strict=True), start=1):
            lines.append(" ".join([str(i), *(f"{v:.6f}" for v in x), *map(str, image)]))
    return "\n".join(lines) + "\n"


def write_trajectory(folder: Path) -> Path:
    """Write traj.dump and its topology chains.data into a new folder."""
    folder.mkdir()
    (folder / "traj.dump").write_text(dump_text())
    (folder / "chains.data").write_text(data_text(beads()[0]))
    return folder


DECK = """\
# Rouse chains with a soft repulsion from a table, Langevin dynamics at high friction
variable    T index 1.0
variable    seed index 4711
variable    steps index 12000
variable    soft equal 1.0*v_T
units       lj
atom_style  bond
read_data   ${deckdir}/chains.data
include     ${deckdir}/in.forces
comm_modify vel yes cutoff 2.9
neighbor    0.4 bin
velocity    all create ${T} ${seed} dist gaussian
fix         move all nve
fix         bath all langevin ${T} ${T} 0.2 ${seed}
timestep    0.02
thermo      1000
if "${T} > 5" then "print 'hot'" else "print 'cold'"
run         500
reset_timestep 0

#mlgle production
run         ${steps}
"""
FORCES = """\
bond_style  harmonic
bond_coeff  1 1.5 0.0
special_bonds lj 0 0 1
pair_style  table linear 40
pair_coeff  * * ${deckdir}/soft.table SOFT 1.0
"""
DECK_OPTIONS = (
    "--every", 200, "--memory", 5, "--train-frames", 36, "--val-frames", 4, "--modes", MODES, "--generate-steps", 128,
    "--ensemble", 4, "--threads", 1,
)  # fmt: skip


def table_text(n: int = 40, cutoff: float = 1.0, strength: float = 0.5) -> str:
    """Return a pair table of E = A (1 - r/c)² from r = 0.0001 on."""
    r = np.linspace(1e-4, cutoff, n)
    energy, force = strength * (1 - r / cutoff) ** 2, 2 * strength / cutoff * (1 - r / cutoff)
    rows = [f"{i} {a:.6f} {e:.8f} {f:.8f}" for i, (a, e, f) in enumerate(zip(r, energy, force, strict=True), 1)]
    return "\n".join(["# soft", "", "SOFT", f"N {n} R {r[0]:.6f} {cutoff:.6f}", "", *rows]) + "\n"


def deck_files() -> dict[str, str]:
    """Return the files of the sound deck by name."""
    start = RouseSource(20, BEADS, BEADS - 1, 1, 1.0, seed=5)
    frame = next(iter(start))
    centres = frame.com[0] + 7 * np.random.default_rng(6).uniform(size=frame.com[0].shape)
    positions = bead_positions(centres, frame.modes[0].astype(float), BEADS)
    return {"in.deck": DECK, "in.forces": FORCES, "chains.data": data_text(positions, 7.0), "soft.table": table_text()}


def copy_run(run: Path, folder: Path) -> Path:
    """Return a copy of a finished run's folder."""
    return Path(shutil.copytree(run, folder))


def result_of(folder: Path) -> dict:
    """Return a run's result."""
    return json.loads((folder / "result.json").read_text())


MEMORY = 8


def write_model_run(folder: Path, preset: str = "default", with_networks: bool = True) -> Path:
    """Leave a run of which only modes.h5 and a model with random networks are there, enough for ``generate``."""
    run = RunFolder.create(folder)
    write_h5(run.modes)
    model(preset, with_networks).save(run.model)
    return folder


def write_model_pt(folder: Path, preset: str = "default", with_networks: bool = True) -> Path:
    """Leave such a run as the code of before did, its model in model.pt."""
    if not folder.exists():
        write_h5(RunFolder.create(folder).modes)
    torch.save(plain_of_before(model(preset, with_networks)), folder / "model.pt")
    return folder


def plain_of_before(made: MlGleModel) -> dict[str, Any]:
    """Return what model.pt held."""
    plain = {"lags": [], "windows": [], "network_modes": list(range(made.n_modes)), **made.dynamics.to_plain()}
    if "orders" not in plain:  # of a linear core that was fitted and generated nothing
        k = made.n_modes
        plain |= {"orders": [2] * k, "coefficients": torch.full((k, 2), 0.4, dtype=torch.float64),
                  "innovation_variance": torch.ones(k, dtype=torch.float64)}  # fmt: skip
    plain["reports"] = [vars(report) for report in made.reports]
    return plain | {
        "format": "mlgle surrogate", "schema": 1, "preset": made.preset, "alpha": made.alpha, "beta_sq": made.beta_sq,
        "dt": made.dt, "time_unit": made.time_unit, "length_unit": made.length_unit,
        "history": torch.tensor(made.history),
    }  # fmt: skip


def model(preset: str = "default", with_networks: bool = True, memory: int = MEMORY) -> MlGleModel:
    """Return a model whose networks, if any, have random weights."""
    generator = torch.Generator().manual_seed(3)
    sigma = np.array([0.3, 0.15, 0.1])
    reports = tuple(ModeReport(j + 1, "AR(2)", 1.0, 1.0, {"order": 2}) for j in range(MODES))
    history = joined(frames()).modes[-memory:]
    dynamics: ModeModel | PublishedModes
    if preset == "paper":  # random networks let modes drift off
        weights = network.initial_weights(memory, MODES, generator)
        dynamics = PublishedModes(memory, sigma, 0.02 * sigma, weights, reports, ("a note",))
    else:
        networks = None
        if with_networks:
            architecture = equivariant.Architecture.within(memory)
            weights = equivariant.initial_weights(architecture, 2, generator)
            tensors = {name: w + 0.2 * torch.randn(w.shape, generator=generator) for name, w in weights.items()}
            networks = Networks((0, 2), architecture, tensors | equivariant.neutral_scales(architecture, 2))
        core = core_from_reflection(np.full((MODES, 2), 0.4), (2,) * MODES, np.ones(MODES))
        dynamics = ModeModel(memory, sigma, 0.4 * sigma, core, networks, reports, ("a note",))
    return MlGleModel(dynamics, 0.3, 0.5, DT, "tau", "sigma", history)


def write_finished_run(folder: Path) -> Path:
    """Leave what a finished replay leaves; a sound stream goes through the whole of it, in a process of its own."""
    folder.mkdir(parents=True)
    write_npz(folder / "s.npz")
    done = launched("replay", ("s.npz", *SHORT, "--out", "run"), folder)
    if done.code != 0:
        raise RuntimeError(done.stderr[-1000:])
    return folder / "run"
