"""Turn a text file of knots (r, U) into a table for LAMMPS's ``pair_style table``.

Between the knots runs a cubic spline with zero slope at r = 0 and at the last knot, which is the cutoff. LAMMPS
interpolates F/r linearly in r²; with zero slope at r = 0 it stays finite there, and the table can begin so close to 0
that no pair ever leaves it. Usage, from the repository root:

    python potentials/make_table.py potentials/cis-pb.knots potentials/cis-pb.table
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

FIRST_DISTANCE = 1e-4  # angstrom; LAMMPS stops when a pair comes closer, which is next to impossible
N_POINTS = 2391
KEYWORD = "CIS_PB"


def read_knots(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the knots' distances and energies from a two-column text file.

    Raises:
        ValueError: if the columns are not two, distances do not start at 0 or do not increase, or the last U is not 0.
    """
    columns = np.loadtxt(path, ndmin=2)
    if columns.shape[1] != 2 or len(columns) < 4:
        raise ValueError(f"{path} needs two columns, r and U, and four rows or more; it has shape {columns.shape}")
    distance, energy = columns.T
    if distance[0] != 0 or np.any(np.diff(distance) <= 0):
        raise ValueError(f"{path}: distances must start at 0 and increase")
    if energy[-1] != 0:
        raise ValueError(f"{path}: U at the last knot, the cutoff, must be 0; it is {energy[-1]:g}")
    return distance, energy


def potential(distance: np.ndarray, energy: np.ndarray) -> CubicSpline:
    """Return U(r) as a spline with zero slope at r = 0 and at the cutoff.

    Raises:
        ValueError: if U does not fall all the way from r = 0 to its minimum: beads could be trapped in one another.
    """
    spline = CubicSpline(distance, energy, bc_type=((1, 0.0), (1, 0.0)))
    fine = np.linspace(0.0, distance[-1], 20_001)
    to_minimum = fine[: int(np.argmin(spline(fine)))]
    if np.any(spline(to_minimum[1:], 1) >= 0):
        raise ValueError("the core is not monotonic: U rises somewhere between r = 0 and its minimum; move the knots")
    return spline


def table_text(spline: CubicSpline, cutoff: float, source: str) -> str:
    """Return the table file's text: N_POINTS rows of index, r, U and force -dU/dr."""
    distance = np.linspace(FIRST_DISTANCE, cutoff, N_POINTS)
    energy, force = spline(distance), -spline(distance, 1)
    energy[-1] = force[-1] = 0.0
    lines = [
        f"# Made by make_table.py from {source}; do not edit.  UNITS: real",
        "# index  r/angstrom  U/(kcal/mol)  -dU/dr/(kcal/mol/angstrom)",
        "",
        KEYWORD,
        f"N {N_POINTS} R {FIRST_DISTANCE} {cutoff:g}",
        "",
    ]
    lines += [
        f"{i} {r:.9f} {u:.8f} {f:.8f}" for i, (r, u, f) in enumerate(zip(distance, energy, force, strict=True), 1)
    ]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Write the table; return the exit code."""
    parser = argparse.ArgumentParser(description="Make a LAMMPS pair table from knots by cubic spline.")
    parser.add_argument("knots", type=Path, help="text file with columns r and U")
    parser.add_argument("table", type=Path, help="table file to write")
    arguments = parser.parse_args(argv)
    try:
        distance, energy = read_knots(arguments.knots)
        text = table_text(potential(distance, energy), float(distance[-1]), arguments.knots.name)
        arguments.table.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"make_table: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
