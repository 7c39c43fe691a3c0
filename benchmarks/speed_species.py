"""What several species cost: the sums of a frame on the MD side, the learner's work for it, and its memory.

    python benchmarks/speed_species.py [--atoms 10000] [--frames 200]

Processor seconds, so that a busy machine does not change them. One species: as many atoms in linear chains.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import time
from collections.abc import Callable, Iterator

import numpy as np

from mlgle_lammps.chains.molecule_sums import MoleculeSums
from mlgle_lammps.chains.topology import Chains, find_chains, followed
from mlgle_lammps.records import CHAINS, Frames, Species
from mlgle_lammps.statistics.species_moments import SpeciesMoments
from mlgle_lammps.stream.ring_buffer import RingBuffer

N_MODES, MEMORY, HELD = 12, 128, 1600
Edges = list[tuple[int, int]]


def path(n: int) -> Edges:
    """Return a linear chain."""
    return list(itertools.pairwise(range(n)))


def star(n_arms: int, n: int) -> Edges:
    """Return a star."""
    arms = [[0, *range(1 + a * n, 1 + (a + 1) * n)] for a in range(n_arms)]
    return [pair for arm in arms for pair in itertools.pairwise(arm)]


def kinds(n_atoms: int) -> list[tuple[int, int, Edges, str]]:
    """Return (molecules, beads, bonds, type) of twelve species that share the atoms about equally."""
    share = n_atoms // 12
    shapes = [
        (50, path(50)), (40, path(40)), (25, path(25)), (20, path(20)), (10, path(10)), (33, star(4, 8)),
        (31, star(3, 10)), (50, [*path(50), (0, 49)]), (26, [*path(20), *((3 * i, 20 + i) for i in range(6))]),
        (3, path(3)), (1, []), (1, []),
    ]  # fmt: skip
    return [(max(2, share // n), n, edges, str(i + 1)) for i, (n, edges) in enumerate(shapes)]


def melt(of: list[tuple[int, int, Edges, str]]) -> tuple[Chains, int]:
    """Return the molecules of a melt, with the seconds that finding them took."""
    bonds, types, lone, atom = [], [], [], 1
    for count, n, edges, kind in of:
        for _ in range(count):
            bonds += [(atom + i, atom + j) for i, j in edges]
            lone += [] if edges else [atom]
            types += [kind] * n
            atom += n
    names = np.array(["", *types], dtype=object)
    pairs = np.array(bonds)
    found = find_chains(pairs, types_of=lambda ids: names[ids].tolist(), lone=np.array(lone, dtype=np.int64))
    return followed(found, N_MODES, pairs, lambda ids: np.ones(len(ids)), ("com", "modes")), atom - 1


def seconds(work: Callable[[], object], n: int) -> float:
    """Return the processor seconds of one call, least of three rounds."""
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(n):
            work()
        rounds.append((time.process_time() - start) / n)
    return min(rounds)


def frames_of(chains: Chains, sums: MoleculeSums, n_atoms: int, n: int) -> Iterator[Frames]:
    """Yield frames of beads that walk."""
    random = np.random.default_rng(1)
    positions = random.uniform(0, 20, (n_atoms, 3))
    slots = sums.slots(np.arange(1, n_atoms + 1))
    for step in range(n):
        positions += random.normal(0, 0.1, positions.shape)
        channels = chains.channels(sums.split(sums(slots, positions)))
        yield Frames(np.array([step]), np.zeros(1, dtype=np.int64), channels)


def measure(label: str, of: list[tuple[int, int, Edges, str]], n_frames: int) -> None:
    """Print one row."""
    start = time.process_time()
    chains, n_atoms = melt(of)
    found = time.process_time() - start
    assert chains.main is not None
    sums = MoleculeSums(chains.blocks)
    ids, positions = np.arange(1, n_atoms + 1), np.random.default_rng(2).uniform(0, 20, (n_atoms, 3))
    of_frame = seconds(lambda: chains.channels(sums.split(sums(sums.slots(ids), positions))), 50)
    species: list[Species] = [chains.main.species, *(own.species for own in chains.others)]
    species[0] = Species(**{**vars(species[0]), "name": CHAINS})
    moments = SpeciesMoments(species, {own.name: own.n_modes for own in species}, MEMORY)
    ring = RingBuffer(HELD, species)
    every = list(frames_of(chains, sums, n_atoms, n_frames))
    start = time.process_time()
    for frame in every:
        moments.add(frame)
        ring.append(frame)
    of_learner = (time.process_time() - start) / n_frames
    held = sum(values.nbytes for _, _, values in ring._held.arrays())
    size = sum(values.nbytes for _, _, values in every[0].arrays())
    print(
        f"| {label} | {n_atoms} | {len(species)} | {found:.2f} | {1e3 * of_frame:.2f} | {size / 1e3:.0f} | "
        f"{1e3 * of_learner:.1f} | {held / 1e6:.0f} | {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--atoms", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=200)
    values = parser.parse_args()
    print("| melt | atoms | species | found in / s | frame / ms | frame / kB | learner / ms | ring / MB | peak / MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    measure("linear chains × 50", [(values.atoms // 50, 50, path(50), "1")], values.frames)
    measure("twelve species", kinds(values.atoms), values.frames)


if __name__ == "__main__":
    main()
