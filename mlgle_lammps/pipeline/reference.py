"""Frames after the hand-off, for D by full MD; its number never enters D."""

from __future__ import annotations

from collections.abc import Iterator

from mlgle_lammps.diffusion.slope import normal_diffusion, species_slopes
from mlgle_lammps.pipeline.run import Run
from mlgle_lammps.records import Frames
from mlgle_lammps.report.stages import Reference
from mlgle_lammps.resources.progress import Progress


def take_reference(run: Run, frames: Iterator[Frames], slowest: float) -> Reference | None:
    """Take the frames of ``--full-md`` and return what they say; None where there are hardly any.

    Args:
        run: after its hand-off.
        frames: what the source still yields.
        slowest: relaxation time of mode 1, time_unit, beyond which diffusion is normal.
    """
    directions = run.findings.directions
    wanted, system = run.setup.options.full_md, run.setup.system
    accumulator = species_slopes(system.species, wanted, system.center_held, directions.n)
    with Progress("full MD", wanted) as progress:
        for _, frame in zip(range(wanted), frames, strict=False):
            accumulator.add(frame.along(directions))
            progress.advance()
    if accumulator.n_frames < wanted:
        run.findings.warn(
            f"the stream ended after {accumulator.n_frames} of {wanted} frames of --full-md: record more frames "
            "for a better D_full_md"
        )
    if accumulator.n_frames < 2:
        return None
    moments = accumulator.moments()
    D = normal_diffusion(moments, system.dt, slowest / system.dt)
    if D is None:
        run.findings.warn(
            f"{accumulator.n_frames} frames of full MD show no normal diffusion long enough to fit: raise --full-md"
        )
    return Reference(moments, D)
