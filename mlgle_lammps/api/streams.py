"""Streams of frames in memory: read from recordings and trajectories, or made of arrays; and D fitted to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from mlgle_lammps.diffusion.forms import FitForm
from mlgle_lammps.directions import Directions
from mlgle_lammps.errors import UserError
from mlgle_lammps.formats.h5md_particles import has_mode_stream
from mlgle_lammps.formats.imd import address_of, is_address
from mlgle_lammps.formats.single_frames import matching_paths
from mlgle_lammps.formats.tensor import is_torch_file
from mlgle_lammps.options.trajectory import TENSOR_OPTIONS, TrajectoryOptions
from mlgle_lammps.records import Ending, Float32, Float64, Frames, FrameSource, GleFit, Int64, System, joined
from mlgle_lammps.store.joining import join_recordings
from mlgle_lammps.store.recorded import RecordedSource
from mlgle_lammps.store.recording import Recording
from mlgle_lammps.store.run_folder import RunFolder

LEAST_MEMORY = 3
"""Lags that a fit of D needs."""


@dataclass(frozen=True)
class Stream:
    """Frames in memory and what they are about (a FrameSource, which can be iterated again and again).

    Attributes:
        system: what they are about: units, Δt, beads.
        frames: all of them, ``frames.com`` (time, chain, 3) and ``frames.modes`` (time, chain, mode, 3) among them.
    """

    system: System
    frames: Frames

    @property
    def com(self) -> Float64:
        """Centres of mass, (time, chain, 3), length."""
        return self.frames.com

    @property
    def modes(self) -> Float32:
        """Modes 1..k, (time, chain, mode, 3), length."""
        return self.frames.modes

    @property
    def time(self) -> Float64:
        """Time of each frame since the first, (time,)."""
        result: Float64 = (self.frames.steps - self.frames.steps[0]) * (self.system.dt / self.system.every)
        return result

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def __iter__(self) -> Iterator[Frames]:
        """Yield the frames one by one."""
        return iter(self.frames)

    def fit_diffusion(self, *, memory: int = 128, form: FitForm = "default", directions: str | None = None) -> GleFit:
        """Return what `fit_diffusion` does, of these frames and with all that the stream says of its molecules.

        Args:
            memory: m, the longest lag in frames.
            form: "default" or "published".
            directions: that the chains are free in, such as "xy"; None for those that the stream says.

        Raises:
            UserError: fewer frames than three lags need, or directions that are none.
        """
        from mlgle_lammps.chains.spectrum import spectrum_of
        from mlgle_lammps.diffusion.gle_fit import fit_gle
        from mlgle_lammps.statistics.species_moments import SpeciesMoments

        if memory < LEAST_MEMORY:
            raise UserError(f"`memory` is {memory}; give {LEAST_MEMORY} lags or more")
        system = self.system
        free = system.directions if directions is None else Directions.named(directions)
        modes = {name: own["modes"].shape[2] if "modes" in own else 0 for name, own in self.frames.channels.items()}
        moments = SpeciesMoments(system.species, modes, memory, system.center_held, free.n)
        moments.add(self.frames.along(free))
        try:
            return fit_gle(moments.moments(), system.dt, form, spectrum_of(system))
        except ValueError as error:
            raise UserError(str(error)) from None

    def hand_off(self) -> None:
        """Hear that the model has its frames; nothing follows from it here."""

    def broken(self) -> bool:
        """Whether the stream is known to have been interrupted: never."""
        return False

    def ending(self) -> Ending:
        """Tell how the stream ended: with its last frame."""
        return Ending(step=self.frames.last_step)


def stream_of_arrays(
    com: ArrayLike,
    modes: ArrayLike,
    dt: float,
    *,
    segments: ArrayLike | None = None,
    n_beads: int | None = None,
    time_unit: str = "time",
    length_unit: str = "length",
) -> Stream:
    """Return a stream of centres of mass and modes of one's own.

    Args:
        com: (time, chain, 3) unwrapped centres of mass, length.
        modes: (time, chain, mode, 3) z_1..z_k as ``chain_modes`` gives them, length.
        dt: time between two frames.
        segments: (time,) non-decreasing number of each uninterrupted piece; None for one piece.
        n_beads: N, beads per chain; None where unknown.
        time_unit: name of the unit of ``dt``.
        length_unit: name of the unit of positions.

    Raises:
        UserError: arrays of other shapes, numbers that are not finite, a ``dt`` that is not above 0, or as many modes
            as beads.
    """
    centres, inner = np.asarray(com, dtype=np.float64), np.asarray(modes, dtype=np.float32)
    if centres.ndim != 3 or inner.ndim != 4 or centres.shape[2] != 3 or inner.shape[3] != 3:
        raise UserError(
            f"com {centres.shape} and modes {inner.shape}: give (time, chain, 3) and (time, chain, mode, 3)"
        )
    if centres.shape[:2] != inner.shape[:2]:
        raise UserError(f"com {centres.shape} and modes {inner.shape} are not of equally many frames and chains")
    if not (np.isfinite(centres).all() and np.isfinite(inner).all()):
        raise UserError("com or modes hold numbers that are not finite")
    if not 0 < dt < np.inf:
        raise UserError(f"dt is {dt:g}; give a time above 0")
    if n_beads is not None and inner.shape[2] >= n_beads:
        raise UserError(f"n_beads is {n_beads}, and modes {inner.shape} has {inner.shape[2]}: N beads have N - 1 modes")
    pieces: Int64 = np.zeros(len(centres), np.int64) if segments is None else np.asarray(segments, dtype=np.int64)
    if pieces.shape != (len(centres),) or np.any(np.diff(pieces) < 0):
        raise UserError(f"segments {pieces.shape}: give one number per frame, none below the one before")
    system = System(
        centres.shape[1], n_beads, inner.shape[2], float(dt), time_unit=time_unit, length_unit=length_unit,
        source="arrays",
    )  # fmt: skip
    return Stream(system, Frames.of_chains(np.arange(len(centres)), pieces, centres, inner))


def read_stream(*paths: str | Path, n_modes: int = 12, **trajectory: object) -> Stream:
    """Read recorded streams or trajectories of one melt into the memory.

    Args:
        paths: run folders, modes.h5, generated.h5 or .npz files; or trajectories (LAMMPS dump, H5MD, DCD, XTC ..); or
            imd://host:port of a running simulation, which is followed to its end.
        n_modes: k wanted; less where the files have fewer.
        trajectory: fields of ``TrajectoryOptions``: topology, select, dt, timestep, units, skip, stride ...

    Raises:
        UserError: a file that is missing, damaged, not a stream, or of another melt.
    """
    topology = trajectory.pop("topology", None)
    given = {"topology": Path(str(topology))} if topology is not None else {}
    unknown = sorted(set(trajectory) - {entry.name for entry in fields(TrajectoryOptions)})
    if unknown:
        raise UserError(f"read_stream has no argument {unknown[0]}")
    options = TrajectoryOptions(**given, **trajectory)  # type: ignore[arg-type]
    source = open_source([stream_path(path) for path in paths], options, n_modes)
    return Stream(source.system, joined(list(source)))


def open_source(
    paths: Sequence[Path], options: TrajectoryOptions, n_modes: int, needed: int = 2, limit: int | None = None
) -> FrameSource:
    """Return the frames that the paths name: of files, or of a running simulation.

    Args:
        paths: as `stream_path` gives them.
        options: of trajectories.
        n_modes: k wanted.
        needed: frames that an uninterrupted piece of a trajectory must have to be of use.
        limit: frames after which a running simulation is let go; None for as many as come.

    Raises:
        UserError: as of `open_streams`; or a simulation that does not fit, or together with files.
    """
    live = [path for path in paths if is_address(path)]
    if not live:
        return RecordedSource(open_streams(paths, options, n_modes, needed), n_modes=n_modes, species=options.species)
    if len(paths) > 1:
        raise UserError(f"{live[0]} is a running simulation: learn from it alone, and pool its recording later")
    from mlgle_lammps.formats.live import open_imd

    return open_imd(address_of(live[0]), options, n_modes, limit)


def stream_path(text: str | Path) -> Path:
    """Return a stream's path, or the address of a running simulation; raise UserError where it is not one."""
    return address_of(text) if is_address(text) else Path(text)


def fit_diffusion(
    com: ArrayLike,
    modes: ArrayLike,
    dt: float,
    *,
    segments: ArrayLike | None = None,
    n_beads: int | None = None,
    memory: int = 128,
    form: FitForm = "default",
    directions: str | None = None,
) -> GleFit:
    """Return α², β² and D = α²/2 of chains with its 95% interval, fitted to displacements up to t_max (JCP eq. 26-27).

    Chains are linear, alike at both ends, and free in x, y and z unless ``directions`` says otherwise; of a stream that
    knows more of its molecules take ``Stream.fit_diffusion``.

    Args:
        com: (time, chain, 3) unwrapped centres of mass, length.
        modes: (time, chain, mode, 3), length.
        dt: time between two frames.
        segments: (time,) numbers of uninterrupted pieces; None for one.
        n_beads: N; where it is known, modes beyond k are added.
        memory: m, the longest lag in frames.
        form: "default" or "published".
        directions: that the chains are free in, such as "xy" in a film; None for all.

    Returns:
        The fit; D per dimension, length²/time.

    Raises:
        UserError: arrays of other shapes, as many modes as beads, fewer frames than three lags need, or directions
            that are none.

    Limit: for Rouse chains D is kT/(Nζ) and β² is 0.
    """
    stream = stream_of_arrays(com, modes, dt, segments=segments, n_beads=n_beads)
    return stream.fit_diffusion(memory=memory, form=form, directions=directions)


def chain_modes(positions: ArrayLike, n_modes: int) -> Float64:
    """Return z_0..z_k of unwrapped chains.

    Args:
        positions: (..., bead, 3), unwrapped, in length units.
        n_modes: k, below the number N of beads.

    Returns:
        (..., k+1, 3); [..., 0, :] is the centroid. A chain with all beads in one point has z_j = 0 for j ≥ 1.

    Raises:
        UserError: an array of another shape, or as many modes as beads.
    """
    from mlgle_lammps.chains import modes

    beads = np.asarray(positions, dtype=np.float64)
    if beads.ndim < 2 or beads.shape[-1] != 3:
        raise UserError(f"positions {beads.shape}: give (.., bead, 3)")
    if not 0 <= n_modes < beads.shape[-2]:
        raise UserError(f"n_modes is {n_modes}; {beads.shape[-2]} beads have modes 0 to {beads.shape[-2] - 1}")
    return modes.chain_modes(beads, n_modes)


class Journalled:
    """A source whose frames are journalled as they pass, as those of a live run are (a FrameSource)."""

    def __init__(self, source: FrameSource, folder: RunFolder) -> None:
        self._source = source
        self._journal = folder.open_journal(source.system)

    @property
    def system(self) -> System:
        """What the frames are about."""
        return self._source.system

    def __iter__(self) -> Iterator[Frames]:
        """Yield the frames, each journalled first."""
        for frame in self._source:
            self._journal.append(frame)
            yield frame

    def hand_off(self) -> None:
        """Pass it on."""
        self._source.hand_off()

    def broken(self) -> bool:
        """Whether the source is."""
        return self._source.broken()

    def ending(self) -> Ending:
        """Close the journal and return the source's ending."""
        self._journal.close()
        return self._source.ending()


def open_streams(
    paths: Sequence[Path], options: TrajectoryOptions, n_modes: int, needed: int = 2
) -> list[Path | Recording]:
    """Return what the paths hold: recorded streams by their paths, trajectories and tensors as open recordings.

    What is of one run is joined: the same frames once, parts one after the other.

    Args:
        paths: files, folders, or patterns of file names; trajectories of one frame each are one together.
        options: of trajectories.
        n_modes: k wanted.
        needed: frames that an uninterrupted piece of a trajectory must have to be of use.

    Raises:
        UserError: a trajectory without topology, one that cannot be read, or options that mean nothing to the files.
    """
    opened: list[Path | Recording] = []
    trajectories: list[Path] = []
    for path in (found for given in paths for found in matching_paths(given)):
        if is_torch_file(path):
            from mlgle_lammps.formats.trajectory import open_tensor

            opened.append(open_tensor(path, options))
        elif path.is_file() and path.suffix != ".npz" and not has_mode_stream(path):
            trajectories.append(path)
        else:
            opened.append(path)
    others = bool(opened)
    if trajectories:
        from mlgle_lammps.formats.trajectory import open_trajectories

        opened.extend(open_trajectories(trajectories, options, n_modes, needed))
    if not trajectories:
        _require_of_use(options, opened, paths[0])
    return join_recordings(opened) if others and len(opened) > 1 else opened


def _require_of_use(options: TrajectoryOptions, opened: Sequence[Path | Recording], first: Path) -> None:
    """Raise UserError naming options that only trajectories have a use for, where there are none."""
    tensor = next((entry.path for entry in opened if isinstance(entry, Recording)), None)
    of_use = ("species",) if tensor is None else ("species", *TENSOR_OPTIONS)
    if given := ", ".join(name for name in options.given if name.strip("`") not in of_use):
        what = f"{first} is a recorded stream or missing" if tensor is None else f"{tensor} is a tensor of modes"
        raise UserError(f"{given}: for trajectories only, and {what}")
