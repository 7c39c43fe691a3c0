"""Write data.small: 10 chains of 10 beads, ids shuffled, in a box of 5."""

import itertools
import sys
from pathlib import Path

import numpy as np


def write(path, kind="linear", n_chains=10, n_beads=10, box=5.0, seed=7):
    """Write a LAMMPS data file; ``kind``: linear, ring, branched, none (no bonds) or unequal."""
    generator = np.random.default_rng(seed)
    ids = generator.permutation(np.arange(1, n_chains * n_beads + 1)).reshape(n_chains, n_beads)
    steps = generator.normal(size=(n_chains, n_beads, 3))
    steps *= 0.9 / np.linalg.norm(steps, axis=2, keepdims=True)
    positions = generator.uniform(0, box, (n_chains, 1, 3)) + steps.cumsum(axis=1)
    bonds = [(a, b) for row in ids for a, b in itertools.pairwise(row)]
    if kind == "ring":
        bonds.append((ids[3, 0], ids[3, -1]))
    elif kind == "branched":
        bonds[bonds.index((ids[3, 0], ids[3, 1]))] = (ids[3, 0], ids[3, 5])
    elif kind == "unequal":
        bonds.remove((ids[3, 0], ids[3, 1]))
    elif kind == "none":
        bonds = []
    images = np.floor(positions / box).astype(int)
    positions = positions - images * box
    lines = ["test system", "", f"{ids.size} atoms", f"{len(bonds)} bonds", "1 atom types", "1 bond types"]
    lines += ["4 extra bond per atom", "8 extra special per atom", ""]
    lines += [f"0 {box} {axis}lo {axis}hi" for axis in "xyz"] + ["", "Masses", "", "1 1.0", "", "Atoms # bond", ""]
    for (chain, bead), atom in np.ndenumerate(ids):
        x, y, z = positions[chain, bead]
        lines.append(f"{atom} {chain + 1} 1 {x:.10f} {y:.10f} {z:.10f} " + " ".join(map(str, images[chain, bead])))
    if bonds:
        lines += ["", "Bonds", ""] + [f"{i} 1 {a} {b}" for i, (a, b) in enumerate(bonds, start=1)]
    Path(path).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write(*sys.argv[1:])
