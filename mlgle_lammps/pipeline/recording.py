"""Frames kept as they come, and nothing learned: what `run --surrogate none` leaves."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from mlgle_lammps.options.deck import DeckOptions
from mlgle_lammps.options.learn import NO_SURROGATE
from mlgle_lammps.records import Ending, FrameSource, System
from mlgle_lammps.report.result import extent, opening, timing, versions
from mlgle_lammps.resources.progress import Progress
from mlgle_lammps.store.run_folder import RunFolder

logger = logging.getLogger("mlgle")


def record(source: FrameSource, folder: RunFolder, options: DeckOptions, frames: int | None) -> int:
    """Let a stream come to its end, and leave modes.h5 with all of its channels and a result.json without a D.

    The frames themselves are journalled where they arrive.

    Args:
        source: of the frames.
        folder: whose journal holds them.
        options: of the deck.
        frames: that are asked for; None for those of the deck's production.

    Returns:
        0, also where it was interrupted; 1 where the stream failed. What there was of it is kept in all cases.
    """
    started, n_frames = time.monotonic(), 0
    with Progress("record", frames, "frames") as progress:
        for _ in source:
            n_frames += 1
            progress.advance()
    ending = source.ending()
    if not n_frames and ending.status == "complete":
        message = (
            f"production passed no multiple of `every` ({source.system.every} steps), so no frame was taken: lower it"
        )
        ending = replace(ending, status="failed", message=message)
    folder.assemble_modes(ending)
    complete = ending.status == "complete"
    for line in (*source.system.left_out, *source.system.notes, *ending.notes):
        logger.info("note: %s", line)
    warnings = list(ending.warnings) if complete else [*ending.warnings, f"the run ended early: {ending.message}"]
    for line in warnings:
        logger.warning("warning: %s", line)
    result = _result(source.system, ending, options, n_frames, warnings, time.monotonic() - started)
    folder.write_result(result)
    if complete:
        folder.discard_checkpoints()
    if n_frames:
        logger.info("%d frames of %s recorded in %s", n_frames, source.system.main_name, folder.modes)
    return 1 if ending.status == "failed" else 0


def _result(
    system: System, ending: Ending, options: DeckOptions, n_frames: int, warnings: list[str], seconds: float
) -> dict[str, object]:
    return {
        **opening(system, ending, ending.status == "complete", options.settings),
        "D": None,
        "surrogate": NO_SURROGATE,
        **extent(system, n_frames),
        "every": system.every,
        "k": system.n_modes,
        "species": [
            {
                "name": system.main_name if i == 0 else own.name, "main": i == 0, "molecules": own.n_molecules,
                "beads": own.n_beads, "channels": list(own.channels), "types": list(own.types) or None,
            }
            for i, own in enumerate(system.species)
        ],
        "timing": timing(ending, seconds),
        "warnings": warnings,
        "notes": list(dict.fromkeys([*system.left_out, *system.notes, *ending.notes])),
        "versions": versions(),
    }  # fmt: skip
