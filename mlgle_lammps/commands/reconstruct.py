"""``python -m mlgle_lammps.reconstruct RUN``: beads from generated modes, for OVITO, VMD, MDAnalysis and LAMMPS."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlgle_lammps.chains.beads import SIZES, chain_sizes
from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_reconstruct
from mlgle_lammps.errors import UserError
from mlgle_lammps.evaluate.reconstruction import Melt, compare_sizes, generated_beads
from mlgle_lammps.formats.bead_files import BEAD_BYTES, SUFFIXES, WRITERS, BeadLayout
from mlgle_lammps.options.generate import ReconstructOptions
from mlgle_lammps.records import Float64
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.store.atomic import write_bytes_atomically
from mlgle_lammps.store.reader import FramesReader, require_all_directions, require_generated_from
from mlgle_lammps.store.run_folder import OWN_FILES, RunFolder, plain

logger = logging.getLogger("mlgle")
SCHEMA = 1
FRAMES_BY_DEFAULT = 1000
NAMES = {"end_to_end_sq": "<R_ee²>", "gyration_sq": "<Rg²>", "bond_sq": "<b²>"}
CAUTION = (
    "modes drawn as normal numbers keep <b²> but not the distribution of bond lengths and angles; chains are generated "
    "independently, so contacts between them are not those of a melt"
)


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
    layout = BeadLayout(
        n_chains, n_beads, system.box, system.time_unit, system.length_unit, options.mass, title, system.edges
    )
    sums = np.zeros((n_chains, len(SIZES)))
    with WRITERS[options.format](path, layout) as writer, Progress("reconstruct", len(frames)) as progress:
        for step, beads in generated_beads(reader, melt, frames, n_chains, options.seed):
            sums += chain_sizes(beads, system.edges)
            steps_of_md = step * system.every
            writer.write(steps_of_md, steps_of_md * (system.dt / system.every), beads)
            progress.advance()
    return sums / len(frames)


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
