"""``python -m mlgle_lammps.reconstruct RUN``: beads from generated modes, for OVITO, VMD, MDAnalysis and LAMMPS.

Missing fast modes are drawn anew in each frame, so bonds move at random between frames. Chains are generated
independently: contacts between chains are not those of a melt.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import default_rng  # loaded lazily, numpy.random swallows the exception of a signal

from mlgle_lammps.chains.beads import (
    SIZES,
    bead_positions,
    chain_sizes,
    completed_variances,
    draw_fast_modes,
    extrapolated_variances,
    sizes_from_modes,
)
from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_reconstruct
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.bead_files import BEAD_BYTES, SUFFIXES, WRITERS, BeadLayout
from mlgle_lammps.options.generate import ReconstructOptions
from mlgle_lammps.records import Float64, Frames, System
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.journal import require_finite
from mlgle_lammps.store.reader import FramesReader, require_all_directions, require_generated_from
from mlgle_lammps.store.run_folder import OWN_FILES, RunFolder, plain

logger = logging.getLogger("mlgle")
SCHEMA = 1
FRAMES_BY_DEFAULT = 1000
BLOCK_FRAMES = 64
NAMES = {"end_to_end_sq": "<R_ee²>", "gyration_sq": "<Rg²>", "bond_sq": "<b²>"}
CAUTION = (
    "modes drawn as normal numbers keep <b²> but not the distribution of bond lengths and angles; chains are generated "
    "independently, so contacts between them are not those of a melt"
)


class Melt:
    """What MD says: sizes of its chains, their centres at the hand-off, and the variances of the missing modes.

    Attributes:
        system: of the MD, with its number of beads.
        sizes: (chain, size) time means, in the order of SIZES.
        centres: (chain, 3) at the hand-off, from where trajectories were generated.
        fast_variances: of modes k+1..N-1.
        source: where those are from.
    """

    def __init__(self, path: Path, n_modes: int, n_beads: int | None, start_step: int | None = None) -> None:
        """Read modes.h5.

        Args:
            path: the file.
            n_modes: k, of what is generated.
            n_beads: of a chain, where the file does not say.
            start_step: MD step of the hand-off; None takes the last frame with modes for it.

        Raises:
            UserError: it is missing, damaged, has no frame of that step, or does not say the number of beads.
        """
        with FramesReader(path) as reader:
            self.system = _with_beads(reader.system, n_beads, n_modes, path)
            beads, n_frames = self.system.n_beads or 0, reader.n_mode_frames
            if not n_frames:
                raise UserError(f"{path} has no frame with modes")
            start = n_frames - 1 if start_step is None else _frame_of(reader, start_step)
            self.centres = _read(reader, start, start + 1).com[0]
            blocks = [range(start, min(start + BLOCK_FRAMES, n_frames)) for start in range(0, n_frames, BLOCK_FRAMES)]
            squares = np.zeros(n_modes)
            sums = np.zeros((reader.system.n_chains, len(SIZES)))
            for block in blocks:
                chunk = _read(reader, block.start, block.stop)
                modes = chunk.modes[:, :, :n_modes].astype(np.float64)
                squares += np.mean(modes**2, axis=(1, 3)).sum(axis=0)
                sums += sizes_from_modes(modes, np.zeros(beads - 1 - n_modes), beads).sum(axis=0)
        self.fast_variances, self.source = _fast_variances(self.system, squares / n_frames)
        self.sizes = sums / n_frames + sizes_from_modes(np.zeros((n_modes, 3)), self.fast_variances, beads)


def _frame_of(reader: FramesReader, step: int) -> int:
    """Return the frame of an MD step; raise UserError where there is none with modes."""
    frame = int(np.searchsorted(reader.steps, step))
    if frame >= reader.n_mode_frames or reader.steps[frame] != step:
        raise UserError(
            f"{reader.path} has no frame with modes at step {step}, from which the trajectories were generated: put "
            "the files of one run together"
        )
    return frame


def _with_beads(system: System, n_beads: int | None, n_modes: int, path: Path) -> System:
    if system.n_beads is None and n_beads is None:
        raise UserError(f"{path} does not say how many beads a chain has: give --beads")
    if n_beads is not None and system.n_beads not in (None, n_beads):
        raise UserError(f"--beads {n_beads}: the chains of {path} have {system.n_beads}")
    beads = system.n_beads or n_beads or 0
    if n_modes > beads - 1:
        raise UserError(f"--beads {beads}: chains with {n_modes} modes have {n_modes + 1} beads at least")
    return replace(system, n_beads=beads)


def _fast_variances(system: System, recorded: Float64) -> tuple[Float64, str]:
    """Return the variances of modes k+1..N-1 and where they are from."""
    k, n_beads = len(recorded), system.n_beads or 0
    if k == n_beads - 1:
        return np.zeros(0), "none is missing"
    if system.mode_variances is not None:
        scaled = completed_variances(recorded, np.array(system.mode_variances))
        return scaled, "first frame of the MD, scaled to its <b²>"
    return extrapolated_variances(recorded, n_beads), "extrapolated from the fastest recorded modes as in Rouse chains"


def _reconstruct(arguments: Sequence[str]) -> int:
    options = parse_reconstruct(arguments)
    folder = RunFolder.open(options.run)
    for path, how in ((folder.generated, "mlgle generate writes it"), (folder.modes, "the run records it")):
        if not path.is_file():
            raise UserError(f"{path} is missing: {how}")
    path = options.out or folder.path / f"reconstructed.{SUFFIXES[options.format]}"
    _require_free(path, folder, options.overwrite)
    with FramesReader(folder.generated) as reader:
        with FramesReader(folder.modes) as md:
            require_generated_from(md.system, reader)
            start_step = reader.start_step if reader.start_step is not None else _hand_off_step(folder, md)
        require_all_directions(reader)
        melt = Melt(folder.modes, reader.system.n_modes, options.beads, start_step)
        frames = _frames(options, len(reader.steps), folder.generated)
        n_chains = options.trajectories or min(melt.system.n_chains, reader.system.n_chains)
        if n_chains > reader.system.n_chains:
            raise UserError(f"--trajectories {n_chains}: {folder.generated} has {reader.system.n_chains}")
        sizes = _write(path, reader, melt, frames, n_chains, options)
    _report(folder, path, melt, reader.system.n_modes, frames, sizes, options)
    return 0


def _hand_off_step(folder: RunFolder, md: FramesReader) -> int | None:
    """Return the step of the hand-off that result.json tells; None where it does not, or not one of these frames."""
    try:
        step = folder.read_result()["handoff"]["step"]
    except (UserError, KeyError, TypeError):
        return None
    return step if type(step) is int and step in md.steps[: md.n_mode_frames] else None


def _require_free(path: Path, folder: RunFolder, overwrite: bool) -> None:
    """Raise UserError where the file cannot or must not be written."""
    own = path.name in OWN_FILES and not path.name.startswith("reconstructed.")
    if own and path.resolve().parent == folder.path.resolve():
        raise UserError(f"--out {path} is a file of the run itself; choose another")
    if os.path.lexists(path) and not path.is_file():
        raise UserError(f"--out {path} exists and is not a file; choose another")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; give --overwrite to replace it or another --out")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")


def _read(reader: FramesReader, start: int, stop: int) -> Frames:
    """Return frames start..stop - 1; raise UserError where a number in them is not finite."""
    chunk = reader.read(start, stop)
    require_finite(chunk, reader.path, start)
    return chunk


def _frames(options: ReconstructOptions, n_frames: int, path: Path) -> range:
    """Return the frames of generated.h5 that are used."""
    stop = n_frames if options.stop is None else min(options.stop, n_frames)
    if options.start >= stop:
        raise UserError(f"{path} has {n_frames} frames: --start {options.start} and --stop {stop} leave none")
    every = options.every or -(-(stop - options.start) // FRAMES_BY_DEFAULT)
    return range(options.start, stop, every)


def _write(
    path: Path, reader: FramesReader, melt: Melt, frames: range, n_chains: int, options: ReconstructOptions
) -> Float64:
    """Write the file; return the time means of each chain's sizes, (chain, size)."""
    n_beads = melt.system.n_beads or 0
    n_written = 1 if options.format == "data" else len(frames)
    expected = n_written * n_chains * n_beads * BEAD_BYTES[options.format]
    logger.info(
        "%s will take about %.3g MB: %d chains of %d beads, %d frames",
        path, expected / 1e6, n_chains, n_beads, n_written,
    )  # fmt: skip
    if shutil.disk_usage(path.parent).free < expected:
        raise UserError(
            f"{path} needs {expected / 1e9:.2f} GB, more than is free: raise --every or lower --trajectories"
        )
    system = melt.system
    title = f"mlgle reconstruction of {options.run}".replace("\n", " ")
    layout = BeadLayout(n_chains, n_beads, system.box, system.time_unit, system.length_unit, options.mass, title)
    sums = np.zeros((n_chains, len(SIZES)))
    with WRITERS[options.format](path, layout) as writer, Progress("reconstruct", len(frames)) as progress:
        for step, beads in _beads(reader, melt, frames, n_chains, options.seed):
            sums += chain_sizes(beads)
            steps_of_md = step * system.every
            writer.write(steps_of_md, steps_of_md * (system.dt / system.every), beads)
            progress.advance()
    return sums / len(frames)


def _beads(reader: FramesReader, melt: Melt, frames: range, n_chains: int, seed: int) -> Iterator[tuple[int, Float64]]:
    """Yield integrator step and beads (chain, bead, 3) of each frame; chains go on from the MD chains' centres."""
    generator = default_rng(seed)
    start = melt.centres[np.arange(n_chains) % len(melt.centres)]
    for number in frames:
        chunk = _read(reader, number, number + 1)
        fast = draw_fast_modes(melt.fast_variances, (n_chains,), generator)
        modes = np.concatenate([chunk.modes[0, :n_chains].astype(np.float64), fast], axis=1)
        yield int(chunk.steps[0]), bead_positions(start + chunk.com[0, :n_chains], modes, melt.system.n_beads or 0)


def compare_sizes(reconstructed: Float64, md: Float64) -> dict[str, Any]:
    """Return each size with its standard error over chains, and the ratio of the two.

    Args:
        reconstructed: (chain, size) time means of independent chains.
        md: the same of MD.
    """
    table = {}
    for column, name in enumerate(SIZES):
        (a, a_se), (b, b_se) = (_mean_and_error(sizes[:, column]) for sizes in (reconstructed, md))
        ratio_se = None if a_se is None or b_se is None else a / b * float(np.hypot(a_se / a, b_se / b))
        table[name] = {
            "reconstructed": {"value": a, "se": a_se},
            "md": {"value": b, "se": b_se},
            "ratio": a / b,
            "ratio_se": ratio_se,
        }
    return table


def _mean_and_error(values: Float64) -> tuple[float, float | None]:
    n = len(values)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None


def _report(
    folder: RunFolder, path: Path, melt: Melt, n_modes: int, frames: range, sizes: Float64, options: ReconstructOptions
) -> None:
    """Write reconstruct.json and tell the numbers."""
    system = melt.system
    table = compare_sizes(sizes, melt.sizes)
    warnings = [CAUTION] if len(melt.fast_variances) else []
    if len(melt.fast_variances) and system.mode_variances is None:
        warnings.append(f"fast modes are {melt.source}: <b²> is right for flexible chains only")
    if system.box is None:
        warnings.append("the box is not recorded: beads are not wrapped")
    kept = {
        "schema": SCHEMA, "file": str(path), "format": options.format, "chains": len(sizes), "frames": len(frames),
        "frames_between": frames.step, "n_beads": system.n_beads, "modes_generated": n_modes,
        "modes_drawn": len(melt.fast_variances), "fast_mode_source": melt.source, "seed": options.seed,
        "length_unit": system.length_unit, "sizes": table, "warnings": warnings,
    }  # fmt: skip
    write_bytes_atomically(folder.reconstruction, (json.dumps(plain(kept), indent=1) + "\n").encode())
    for name, row in table.items():
        a, b = row["reconstructed"], row["md"]
        logger.info(
            "%-8s reconstructed %.5g ± %.2g, MD %.5g ± %.2g %s², ratio %.3f ± %.3f",
            NAMES[name], a["value"], a["se"] or np.nan, b["value"], b["se"] or np.nan, system.length_unit,
            row["ratio"], row["ratio_se"] or np.nan,
        )  # fmt: skip
    for line in warnings:
        logger.info("note: %s", line)
    logger.info("wrote %s", path)
    _remake_report(folder)


def _remake_report(folder: RunFolder) -> None:
    """Show the sizes in the run's report where there is one; the beads are written whether it can be or not."""
    from mlgle_lammps.report.report import remake_run_report

    try:
        page = remake_run_report(folder)
    except UserError as error:
        logger.warning("warning: report.html does not show these sizes: %s", error)
        return
    if page is not None:
        logger.info("sizes are in %s", page)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("reconstruct", _reconstruct, arguments)
