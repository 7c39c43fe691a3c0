"""A run's frames in a file small enough to keep with the code: modes as 16-bit integers, one scale for each.

    python benchmarks/compact_stream.py RUN OUT.npz
    python -m mlgle_lammps.replay OUT.npz                    # learns from it as from the run

Rounding moves a mode by at most 2^-16 of its largest value.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from mlgle_lammps import read_stream

LARGEST = np.iinfo(np.int16).max


def main() -> None:
    """Write the frames of a run."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    stream = read_stream(run)
    scale = np.abs(stream.modes).max(axis=(0, 1, 3)).astype(np.float64) / LARGEST
    system = stream.system
    described: dict[str, Any] = {
        "segments": stream.frames.segments,
        "dt": system.dt,
        "time_unit": system.time_unit,
        "length_unit": system.length_unit,
    }
    if system.n_beads is not None:
        described["n_beads"] = system.n_beads
    modes = np.round(stream.modes / scale[:, None]).astype(np.int16)
    np.savez_compressed(out, com=stream.com.astype(np.float32), modes_q=modes, scale=scale, **described)
    print(f"{out}: {len(stream)} frames of {system.n_chains} molecules, {out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
