"""Write copolymers.toml: sequences of four types, whose sizes hang on more than how many beads there are of each.

    python lammps_inputs/sequences/make_copolymers.py > lammps_inputs/sequences/copolymers.toml

Each type has a quarter of the beads, give or take ``SPREAD``. It has a block length of its own, drawn
evenly in its logarithm between one bead and ``LONGEST``; its beads are cut into blocks of about that length, and the
blocks of all types are shuffled. So sticky beads stand alone in one sequence and in one large block in the next.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

TYPES = "ABCD"
LONGEST = 20.0
SPREAD = 0.17
"""Shares of types differ from a quarter by so much at most; a fit on shares alone would explain everything if they
differed much more, and sizes would hardly differ if they did much less."""

HEAD = """# Copolymers of four types of beads, written by make_copolymers.py (which says how they are drawn).
#
#     python -m mlgle_lammps.sets lammps_inputs/sequences/copolymers.toml --out runs/sequences

deck = "in.copolymer"
every = 500                  # frames 5 tau apart
quantity = "rg2"
surrogate = "cg-gnn"

[parts.train]
frames = 1001                # 5000 tau

[parts.test]
frames = 6001                # 30000 tau

[parts.longer]
frames = 6001                # 30000 tau

[generate]
time = 500000                # tau, of each trajectory: a hundred times what models learn from
ensemble = 4
save_every = 2               # steps of 20 tau

[models.default]
seeds = [1, 2, 3]
options = "--preset default"

[models.network]
seeds = [1]
options = "--preset network --members 1"
time = 50000
parts = ["test"]

[models.published-small]
seeds = [1]
options = "--preset published-small --members 1"
time = 50000
parts = ["test"]

[models.deterministic]
seeds = [1]
options = "--preset deterministic --members 1"
time = 50000
parts = ["test"]
"""


def sequence(random: np.random.Generator, n_beads: int) -> str:
    """Return one sequence of ``n_beads`` letters."""
    counts = np.zeros(len(TYPES), dtype=int)
    while counts.sum() != n_beads:
        counts = np.rint(n_beads * (1 / len(TYPES) + SPREAD * random.uniform(-1, 1, len(TYPES)))).astype(int)
    blocks = []
    for kind, count in zip(TYPES, counts.tolist(), strict=True):
        length, left = LONGEST ** random.uniform(), count
        while left:
            size = min(left, 1 + int(random.poisson(length - 1)))
            blocks.append(kind * size)
            left -= size
    random.shuffle(blocks)
    return "".join(blocks)


def main() -> None:
    """Print the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--train", type=int, default=40)
    parser.add_argument("--test", type=int, default=24)
    parser.add_argument("--longer", type=int, default=4)
    parser.add_argument("--beads", type=int, default=100)
    parser.add_argument("--longer-beads", type=int, default=200)
    options = parser.parse_args()
    random = np.random.default_rng(options.seed)
    text = HEAD
    for part, count, n_beads in (
        ("train", options.train, options.beads),
        ("test", options.test, options.beads),
        ("longer", options.longer, options.longer_beads),
    ):
        for i in range(count):
            letters = " ".join(sequence(random, n_beads))
            text += f'\n[[runs]]\nname = "{part}-{i:02d}"\npart = "{part}"\n'
            text += f'variables = {{ sequence = "{letters}", seed = {1000 + i} }}\n'
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
