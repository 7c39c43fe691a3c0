"""Moments of a long run as a reference for D: what is kept of it where its frames are too many to keep.

    python benchmarks/reference_moments.py RUN OUT.npz

reads the stream of a run's folder (or a modes.h5) once and writes MSDs of the centres and of the modes at logarithmic
lags, their counts, variances, the design effect, and D by the slope of the MSD from lags where diffusion is normal
(`diffusion.slope`). All per component; drift of the system's centre removed.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.records import Float32
from mlgle_lammps.statistics.correlation import autocorrelation, mode_statistics
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments
from mlgle_lammps.store.recorded import RecordedSource

LONGEST_LAG = 4096
WINDOW = 8192
"""Frames from which the relaxation time of mode 1 is taken."""


def main() -> None:
    """Write the moments of a run."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    source = RecordedSource([run])
    source.hand_off()
    system = source.system
    longest = int(sys.argv[3]) if len(sys.argv) > 3 else LONGEST_LAG
    accumulator = MomentAccumulator(system.n_chains, system.n_modes, longest, 4, system.center_held)
    modes: list[Float32] = []
    segments: list[int] = []
    for frame in source:
        accumulator.add(frame)
        if len(modes) < WINDOW:
            modes.append(frame.modes[0])
            segments.append(frame.last_segment)
    moments = accumulator.moments()
    found = mode_statistics(autocorrelation(np.stack(modes), np.array(segments), len(modes) // 4), system.dt)
    slowest = found.relaxation_time[0] or 0.0
    D = normal_diffusion(moments, system.dt, slowest / system.dt)
    kept = {field.name: np.asarray(getattr(moments, field.name)) for field in fields(Moments)}
    del kept["msd_com_chain"]
    numbers = {"dt": system.dt, "n_beads": system.n_beads or 0, "relaxation_time": slowest}
    if D is not None:
        numbers |= {"D": D.value, "D_se": D.se}
    np.savez_compressed(out, **kept, **{name: np.asarray(value) for name, value in numbers.items()})  # type: ignore[arg-type]
    print(f"{moments.n_frames} frames, tau_1 = {slowest:g}, D = {D}; wrote {out} ({out.stat().st_size / 1e3:.0f} kB)")


if __name__ == "__main__":
    main()
