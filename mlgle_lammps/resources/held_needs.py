"""What production and constrained runs will need of memory, disk and time: said before they start."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlgle_lammps.options.learn import LAG_SHARE, LearnOptions
from mlgle_lammps.records import Int64, System
from mlgle_lammps.resources.needs import LEAST_FREE, LIBRARIES, frame_bytes
from mlgle_lammps.resources.progress import format_seconds
from mlgle_lammps.resources.room import available_memory, free_disk, readable_bytes
from mlgle_lammps.statistics.force_correlation import spread_lags
from mlgle_lammps.store.constrained_file import correlation_bytes

FORCES_PER_FRAME = 5
"""Samples of the forces in the time between two frames, where nobody says how many: what stars have."""
COPIES = 5
"""Of the forces while they are correlated: samples, their array, fluctuations, two halves' spectra (measured)."""
STATE_BYTES = 170
"""Of an atom, in a dump file of its state."""
FRAME_COPIES = 3
"""Of the frames where they are learned from."""


@dataclass(frozen=True)
class HeldNeeds:
    """What a run with constrained runs needs, in bytes.

    Attributes:
        steps: of MD: production, and all constrained runs.
        held_steps: those of the constrained runs.
        pairs: molecules that are correlated with one another, in each configuration.
        stream: modes.h5; its journal takes as much beside it until that is written.
        correlations: of all configurations, on disk.
        states: the melts that constrained runs start from, until the run is complete.
        forces: memory of the first MD rank in a constrained run.
        learning: memory of the process that learns, libraries included, the surrogate's own work not.
    """

    steps: int
    held_steps: int
    pairs: int
    stream: float
    correlations: float
    states: float
    forces: float
    learning: float


def held_needs(system: System, options: LearnOptions) -> HeldNeeds:
    """Return what a run on ``system`` needs; pairs are counted as if centres lay at random."""
    n, configurations = system.n_chains, options.configurations
    edges = (system.box or (1.0, 1.0, 1.0))[:3]
    reach = options.pair_range or min(edges) / 2
    pairs = round(n * (n - 1) / 2 * min(4 / 3 * math.pi * reach**3 / math.prod(edges), 1.0))
    one = float(correlation_bytes(n, pairs, len(held_lags(system, options))))
    samples = options.constrained_steps // _force_every(system, options) * n * 24.0
    stream = float(options.production_frames * frame_bytes(system))
    held = configurations * options.constrained_steps
    return HeldNeeds(
        steps=options.production_frames * system.every + held,
        held_steps=held,
        pairs=pairs,
        stream=stream,
        correlations=configurations * one,
        states=float(configurations * n * (system.n_beads or 1) * STATE_BYTES),
        forces=COPIES * samples + 2 * one,
        learning=LIBRARIES + FRAME_COPIES * stream + 2 * configurations * one,
    )


def held_lags(system: System, options: LearnOptions) -> Int64:
    """Return the lags, in samples of the forces, at which correlations will be kept."""
    longest = options.longest_lag or options.constrained_steps // LAG_SHARE
    return spread_lags(max(longest // _force_every(system, options), 1))


def _force_every(system: System, options: LearnOptions) -> int:
    return options.force_every or max(system.every // FORCES_PER_FRAME, 1)


def held_refusal(system: System, options: LearnOptions) -> str:
    """Return why a run cannot be done, "" where memory and disk can hold it."""
    needs, out = held_needs(system, options), options.out
    room, disk = available_memory(), free_disk(out)
    for what, wanted, remedy in (
        ("holding centres", needs.forces, "lower `constrained_steps`, `longest_lag` or `pair_range`, or raise "
         "`force_every`"),
        ("learning", needs.learning - room.taken, "lower `frames`, `configurations`, `longest_lag` or `pair_range`"),
    ):  # fmt: skip
        if wanted > room.free:
            return (
                f"{what} needs about {readable_bytes(wanted)} of memory, and {readable_bytes(room.free)} are "
                f"{room.limit}: {remedy}"
            )
    present = sum(path.stat().st_size for path in out.glob("checkpoint/stream-*.npz"))
    wanted = 2 * needs.stream - present + needs.correlations + needs.states + LEAST_FREE
    if wanted > disk:
        return (
            f"frames, correlations and states of the melt take {readable_bytes(wanted)} on disk, and "
            f"{readable_bytes(disk)} are free at {out}: choose another `out`, or lower `frames`, `longest_lag` or "
            "`pair_range`"
        )
    return ""


def held_announcement(system: System, options: LearnOptions) -> list[str]:
    """Return what a run needs, for its log."""
    needs, room = held_needs(system, options), available_memory()
    return [
        f"needs {readable_bytes(needs.learning)} of memory where it learns and {readable_bytes(needs.forces)} where "
        f"centres are held ({readable_bytes(room.free)} are {room.limit}), and "
        f"{readable_bytes(2 * needs.stream + needs.correlations + needs.states)} on disk "
        f"({readable_bytes(free_disk(options.out))} are free)"
    ]


def held_check_lines(
    system: System, options: LearnOptions, seconds_per_step: float, held_seconds_per_step: float
) -> list[str]:
    """Return the lines of ``run --check``.

    Args:
        system: of the frames.
        options: of the run.
        seconds_per_step: of plain MD.
        held_seconds_per_step: the same with centres held.
    """
    needs, room = held_needs(system, options), available_memory()
    production = options.production_frames * system.every
    whole = production * seconds_per_step + needs.held_steps * held_seconds_per_step
    spacing = options.production_frames // max(options.configurations, 1) * system.dt
    lines = [
        f"{system.source}: {system.n_chains} molecules of {system.n_beads} beads, units {system.units}",
        *(f"warning: {line}" for line in system.left_out),
        *(f"note: {note}" for note in system.notes),
        f"production: {options.production_frames} frames of centres and momenta, every {system.every} steps = "
        f"{system.dt:g} {system.time_unit}: {production} steps at {1 / seconds_per_step:.0f} steps/s: "
        f"{format_seconds(production * seconds_per_step)}",
        f"constrained runs: {options.configurations} of {options.constrained_steps} steps, from states {spacing:g} "
        f"{system.time_unit} apart: {needs.held_steps} steps at {1 / held_seconds_per_step:.0f} steps/s "
        f"({held_seconds_per_step / seconds_per_step:.2f} times a plain step): "
        f"{format_seconds(needs.held_steps * held_seconds_per_step)}",
        f"MD in all: {needs.steps} steps, {format_seconds(whole)}",
        f"correlations of {needs.pairs} pairs within range in each configuration: {readable_bytes(needs.correlations)} "
        "on disk, kept",
        f"frames: {readable_bytes(needs.stream)} on disk (modes.h5), twice that while it is put together; states of "
        f"the melt: {readable_bytes(needs.states)} until the run is complete; "
        f"{readable_bytes(free_disk(options.out))} are free",
        f"memory where centres are held: {readable_bytes(needs.forces)}; where it learns, before the surrogate's own "
        f"work: {readable_bytes(needs.learning)}; {readable_bytes(room.free)} are {room.limit}",
    ]
    why = held_refusal(system, options)
    return [*lines, f"this will be refused: {why}"] if why else lines
