"""Hold centres in LAMMPS on however many ranks there are: a toy whose constrained forces are known exactly.

Usage: hold_centres.py FOLDER. Copies of three molecules of three beads, unequal masses, tied by springs of no length
within and between the molecules, drawn from equilibrium at kT with the centres given. Which beads make a molecule is
said by hand here, since all of a copy are tied together.
"""

import sys
from pathlib import Path

import numpy as np

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.configurations import ConstrainedPlan, HeldMelt
from mlgle_lammps.acquire.constraint import CentreConstraint
from mlgle_lammps.acquire.melt_state import put_back, take_state, write_state
from mlgle_lammps.store.constrained_file import ConstrainedFacts, write_constrained

COPIES, PITCH = 6, 9.0  # 6³ copies
KT, DT, STEPS = 2.5, 0.01, 800
MASSES = np.array([1.0, 2.0, 1.5, 1.0, 1.0, 3.0, 2.0, 1.0, 1.0])
SPRINGS = (
    (0, 1, 8.0), (1, 2, 6.0), (3, 4, 9.0), (4, 5, 5.0), (3, 5, 4.0), (6, 7, 7.0), (7, 8, 10.0),  # within
    (2, 3, 3.0), (5, 6, 2.0), (0, 7, 2.5),  # between
)  # fmt: skip
MOLECULES = np.arange(9).reshape(3, 3)


def hessian():
    """Per component, energy ½ xᵀ H x: a spring of stiffness k holds k/2 · r²."""
    H = np.zeros((9, 9))
    for a, b, k in SPRINGS:
        H[[a, b], [a, b]] += k
        H[a, b] -= k
        H[b, a] -= k
    return H


def sums():
    """(3, 9) which beads belong to which molecule."""
    return (np.arange(9) // 3 == np.arange(3)[:, None]).astype(float)


def internal_modes():
    """Return ω² (6,) and directions (9, 6), in mass-weighted coordinates, of beads whose centres do not move."""
    root, S = np.sqrt(MASSES), sums()
    held = (S * root).T / np.sqrt(S @ MASSES)
    inside = np.linalg.svd(held)[0][:, 3:]
    values, vectors = np.linalg.eigh(inside.T @ (hessian() / np.outer(root, root)) @ inside)
    return values, inside @ vectors


def equilibrium(n_copies, rng):
    """Return positions and velocities (copy, 9, 3) of beads from equilibrium, with centres at random places."""
    omega_sq, modes = internal_modes()
    root = np.sqrt(MASSES)
    centres = rng.normal(size=(n_copies, 3, 3))
    rigid = np.repeat(centres, 3, axis=1)
    pull = np.einsum("ij,cjx->cix", hessian(), rigid) / root[:, None]
    shifts = -np.einsum("im,cix->cmx", modes, pull) / omega_sq[:, None]
    amplitudes = shifts + rng.normal(size=(n_copies, 6, 3)) * np.sqrt(KT / omega_sq)[:, None]
    positions = rigid + np.einsum("im,cmx->cix", modes, amplitudes) / root[:, None]
    velocities = rng.normal(size=(n_copies, 9, 3)) * np.sqrt(KT / MASSES)[:, None]  # the centres' part goes later
    return positions, velocities


def data_text(positions, box):
    n_copies = len(positions)
    lines = ["toy", "", f"{9 * n_copies} atoms", "9 atom types", f"{len(SPRINGS) * n_copies} bonds"]
    lines += [f"{len(SPRINGS)} bond types", *(f"0 {box} {x}lo {x}hi" for x in "xyz"), "", "Masses", ""]
    lines += [f"{i + 1} {m}" for i, m in enumerate(MASSES)]
    lines += ["", "Atoms # bond", ""]
    wrapped = positions % box
    images = np.floor(positions / box).astype(int)
    for c in range(n_copies):
        for b in range(9):
            place = " ".join(map(repr, wrapped[c, b].tolist()))
            lines.append(f"{9 * c + b + 1} 7 {b + 1} {place} {' '.join(map(str, images[c, b]))}")
    lines += ["", "Bonds", ""]
    for c in range(n_copies):
        for s, (a, b, _) in enumerate(SPRINGS):
            lines.append(f"{c * len(SPRINGS) + s + 1} {s + 1} {9 * c + a + 1} {9 * c + b + 1}")
    return "\n".join(lines) + "\n"


def open_toy(comm, folder, seed=11):
    rng = np.random.default_rng(seed)
    n_copies, box = COPIES**3, COPIES * PITCH
    corners = PITCH * np.stack(np.meshgrid(*[np.arange(COPIES)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    positions, velocities = equilibrium(n_copies, rng)
    positions = positions + corners
    if comm.rank == 0:
        (folder / "toy.data").write_text(data_text(positions, box))
    comm.bcast(None, root=0)
    lmp = mpi.open_lammps(["-screen", "none", "-log", "none"], comm)
    coefficients = "\n".join(f"bond_coeff {s + 1} {k / 2} 0.0" for s, (_, _, k) in enumerate(SPRINGS))
    lmp.commands_string(
        f"units lj\natom_style bond\natom_modify map yes\npair_style zero 1.0\nread_data {folder / 'toy.data'}\n"
        f"pair_coeff * *\nbond_style harmonic\n{coefficients}\ncomm_modify cutoff 16.0\nneighbor 1.0 bin\n"
        f"timestep {DT}\nfix move all nve\nspecial_bonds lj 1 1 1"
    )
    n = lmp.extract_setting("nlocal")
    ids = lmp.numpy.extract_atom("id")[:n]
    lmp.numpy.extract_atom("v")[:n] = velocities.reshape(-1, 3)[ids - 1]
    return lmp, positions, velocities


def main(folder):
    comm = mpi.start().comm
    lmp, positions, velocities = open_toy(comm, folder)
    molecules = [9 * c + own + 1 for c in range(COPIES**3) for own in MOLECULES]
    masses = np.tile(MASSES, COPIES**3)
    state = take_state(lmp, comm, in_callback=False)
    dump = folder / "toy.dump"
    if comm.rank == 0:
        assert state is not None
        write_state(dump, state, lmp)
    comm.bcast(None, root=0)
    lmp.command("velocity all set 0 0 0")
    lmp.command("displace_atoms all move 13.0 -7.0 2.0")  # put_back has to undo this

    held = CentreConstraint(lmp, comm, molecules, masses)
    put_back(lmp, str(dump), 0)
    held.still()
    held.install()
    held.sample(3, 100)
    lmp.command("run 300 post no")
    forces = held.forces()
    held.remove()

    melt = HeldMelt(lmp, comm, molecules, masses, lmp.commands_string)
    stride = melt.force_stride(str(dump), 0, 150)
    plan = ConstrainedPlan(STEPS, 4, 240, PITCH / 2)
    record = melt.run(str(dump), 0, plan)
    stopped = HeldMelt(lmp, comm, molecules, masses, lmp.commands_string, lambda: comm.rank == comm.size - 1)
    nothing = stopped.run(str(dump), 0, plan)
    again = melt.run(str(dump), 0, ConstrainedPlan(STEPS // 4, 4, 60, PITCH / 2))
    if comm.rank == 0:
        np.savez(
            folder / "toy.npz", positions=positions, velocities=velocities, forces=forces, stride=stride,
            stopped=nothing is None, seconds=held.seconds,
        )  # fmt: skip
        assert record is not None
        assert again is not None
        write_constrained(folder / "toy.h5", [record, again], ConstrainedFacts())
    lmp.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
