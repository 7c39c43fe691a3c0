"""Recorded streams as frame sources: modes.h5, a run's folder (also a killed one's), an .npz, or a trajectory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mlgle_lammps.chains.laplacian import modes_taken
from mlgle_lammps.errors import UserError
from mlgle_lammps.records import CHAINS, FEW_CHAINS, SAME_DT, Ending, Frames, System
from mlgle_lammps.store.recording import Recording, check_beginning, checked_blocks, open_recording


class RecordedSource:
    """Yield the frames of one or more recordings, bit for bit as recorded (a FrameSource).

    Several recordings of the same melt follow one another as further segments; their steps are shifted, and brought to
    the first one's stride, so that steps increase. Frames come as they were recorded; those that have only centres of
    mass, as files of before have them behind a hand-off, are left out until ``hand_off`` has been called. Call
    ``hand_off`` between two frames, from the thread that iterates, so that it takes effect with the next one. Iterate
    once.
    """

    def __init__(
        self,
        paths: Sequence[Path | Recording],
        n_modes: int | None = None,
        limit: int | None = None,
        species: str | None = None,
    ) -> None:
        """Open and check the recordings.

        Args:
            paths: modes.h5 files, run folders or .npz files; or recordings that are open already.
            n_modes: k wanted; None takes what all recordings have. Lowered, with a note, where they have fewer.
            limit: yield at most so many frames.
            species: name of the species that is the main one; None for that of the recordings.

        Raises:
            UserError: a file that is missing, damaged or not a stream, or recordings that do not belong together.
        """
        if not paths:
            raise UserError("no recorded stream was given")
        self._recordings = [with_main(_opened(path), species) for path in paths]
        self._system = _common_system(self._recordings, n_modes)
        self._limit = limit
        self._handed_off = False
        self._goes_on = False
        self._skipped = self._last_step = 0

    @property
    def system(self) -> System:
        """What the frames are about, common to all recordings."""
        return self._system

    def hand_off(self) -> None:
        """From the next frame on, yield also frames without modes."""
        self._handed_off = True

    def broken(self) -> bool:
        """Return False: damage in a recording is raised where it is met."""
        return False

    def ending(self) -> Ending:
        """Tell how the stream ended: always complete; the message says what was not used."""
        n = self._skipped
        return Ending(
            step=self._last_step,
            message=f"the recording goes on after the {self._limit} frames that were used" if self._goes_on else "",
            warnings=(
                *((f"{n} recorded frames have no modes and came before the hand-off: left out",) if n else ()),
                *(line for recording in self._recordings for line in recording.warnings()),
            ),
        )

    def __iter__(self) -> Iterator[Frames]:
        """Yield the frames in order.

        Raises:
            UserError: damage, a value that is not finite, or a gap, with file and frame.
        """
        for n_frames, frame in enumerate(self._frames()):
            if n_frames == self._limit:
                self._goes_on = True
                break
            self._last_step = frame.last_step
            yield frame

    def _frames(self) -> Iterator[Frames]:
        """Yield the frames of all recordings, with steps and segments made to follow one another."""
        every = self._system.every
        step = segment = 0
        for number, recording in enumerate(self._recordings):
            shift: _Shift | None = None
            for chunk in checked_blocks(recording):
                if number > 0:
                    shift = shift or _Shift(chunk, recording.system.every, step + every, every, segment + 1)
                    chunk = shift.apply(chunk)
                step, segment = int(chunk.steps[-1]), int(chunk.segments[-1])
                yield from self._unpack(chunk)

    def _unpack(self, block: Frames) -> Iterator[Frames]:
        """Yield the frames of a block as copies; those without modes only after the hand-off."""
        with_modes = block.modes.shape[2] > 0 or "modes" not in self._system.channels
        for frame in self._common_channels(block).first_modes(self._system.n_modes):
            if not with_modes and not self._handed_off:
                self._skipped += 1
                continue
            yield frame.copy()

    def _common_channels(self, block: Frames) -> Frames:
        """Return a block without the channels that other recordings lack."""
        wanted = {own.name: own.channels for own in self._system.species}
        kept = {
            name: {channel: values for channel, values in own.items() if channel in wanted[name]}
            for name, own in block.channels.items()
            if name in wanted
        }
        return replace(block, channels=kept)


def with_main(recording: Recording, name: str | None) -> Recording:
    """Return a recording whose main species is that of the name; the one that it had stands among the others.

    Raises:
        UserError: there is no such species, or it has no modes.
    """
    system = recording.system
    if name is None or name in (system.main_name, CHAINS):
        return recording
    found = next((own for own in system.others if own.name == name), None)
    if found is None or "modes" not in found.channels:
        listed = [system.main_name, *(own.name for own in system.others if "modes" in own.channels)]
        missing = "is not recorded" if found is None else "was recorded without modes"
        raise UserError(f"`species` {name}: {missing} in {recording.path}; there are {', '.join(map(repr, listed))}")
    former = replace(system.species[0], name=system.main_name)
    swapped = replace(
        system, n_chains=found.n_molecules, n_beads=found.n_beads, n_modes=found.n_modes, channels=found.channels,
        name=found.name, edges=found.edges, eigenvalues=found.eigenvalues, types=found.types, masses=found.masses,
        mode_variances=None, whole_molecules=found.whole_molecules, ends_alike=found.ends_alike,
        others=(former, *(own for own in system.others if own is not found)),
        left_out=(f"D is of {found.n_molecules} molecules '{name}', the main species (--species {name})",),
    )  # fmt: skip

    def read() -> Iterator[Frames]:
        for block in recording.read():
            channels = {CHAINS: block.channels[name], former.name: block.channels[CHAINS]}
            channels |= {key: own for key, own in block.channels.items() if key not in (name, CHAINS)}
            yield replace(block, channels=channels)

    return replace(recording, system=swapped, read=read)


def _opened(given: Path | Recording) -> Recording:
    """Return the recording, its beginning checked."""
    if not isinstance(given, Recording):
        return open_recording(Path(given))
    check_beginning(given)
    return given


class _Shift:
    """Move a recording's steps and segments behind those of the one before."""

    def __init__(self, first: Frames, every: int, base_step: int, base_every: int, base_segment: int) -> None:
        self._step, self._segment, self._every = int(first.steps[0]), int(first.segments[0]), every
        self._base_step, self._base_every, self._base_segment = base_step, base_every, base_segment

    def apply(self, chunk: Frames) -> Frames:
        """Return the chunk with its steps counted on from the base, in the base's stride."""
        frames_on = -(-(chunk.steps - self._step) // self._every)
        return replace(
            chunk,
            steps=self._base_step + frames_on * self._base_every,
            segments=self._base_segment + chunk.segments - self._segment,
        )


def _common_system(recordings: Sequence[Recording], n_modes: int | None) -> System:
    """Return the system that all recordings are of; raise UserError naming two that differ."""
    first = recordings[0].system
    for recording in recordings:
        if n_modes and not ("modes" in recording.system.channels and recording.system.n_modes):
            held = ", ".join(name for name in recording.system.channels if name != "modes")
            raise UserError(
                f"{recording.path}: the frames have no modes, only {held}: they were recorded for another `surrogate`"
            )
    if first.n_chains < 2:
        raise UserError(f"{recordings[0].path}: {FEW_CHAINS}")
    unnamed = {"n_beads": None, "units": "unknown", "time_unit": "time", "length_unit": "length"}
    common = {name: getattr(first, name) for name in unnamed}
    for recording in recordings[1:]:
        other = recording.system
        for name in ("n_chains", "edges"):
            if getattr(other, name) != getattr(first, name):
                raise UserError(_disagreement(recordings[0], recording, name))
        if abs(other.dt - first.dt) > SAME_DT * first.dt:
            raise UserError(_disagreement(recordings[0], recording, "dt"))
        for name, unknown in unnamed.items():
            value = getattr(other, name)
            if common[name] == unknown:
                common[name] = value
            elif value not in (unknown, common[name]):
                raise UserError(_disagreement(recordings[0], recording, name))
    systems = [recording.system for recording in recordings]
    common["channels"] = tuple(name for name in first.channels if all(name in other.channels for other in systems))
    closed = {axis: why for other in systems for axis, why in other.directions.reasons}
    common["directions"] = first.directions.closing(closed)
    common["others"] = tuple(own for own in first.others if all(own in other.others for other in systems))
    dropped = {own.name for other in systems for own in other.others} - {own.name for own in common["others"]}
    available = min(recording.system.n_modes for recording in recordings)
    notes = [note for recording in recordings for note in recording.system.notes]
    if n_modes is not None and n_modes > available:
        notes.append(f"modes lowered from {n_modes} to {available}: the recording has no more")
    if dropped:
        names = ", ".join(map(repr, sorted(dropped)))
        notes.append(f"{names}: not the same in all recordings that are pooled (molecules, modes), and left out")
    own = replace(first.species[0], n_modes=available)
    return replace(
        first,
        n_modes=available if n_modes is None else modes_taken(n_modes, own),
        source=", ".join(recording.system.source for recording in recordings),
        notes=tuple(dict.fromkeys(notes)),
        left_out=tuple(dict.fromkeys(line for system in systems for line in system.left_out)),
        **common,
    )


def _disagreement(first: Recording, other: Recording, name: str) -> str:
    return (
        f"{other.path} has {name} {getattr(other.system, name)}, {first.path} has {getattr(first.system, name)}: "
        "only recordings of the same melt can be pooled"
    )
