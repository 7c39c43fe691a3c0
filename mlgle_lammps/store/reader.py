"""Reading ``modes.h5`` and ``generated.h5`` from anywhere: checked, in blocks, no link out of the file followed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.plain import AnyArray, JsonObject, JsonValue
from mlgle_lammps.records import CHAINS, CHANNELS, SAME_DT, Frames, Int64, System
from mlgle_lammps.store.description import system_from_mapping
from mlgle_lammps.store.npz import MAX_COMPRESSION, MAX_ROW_BYTES
from mlgle_lammps.store.writer import LAYOUT, TEXTS, dataset_name

MAX_FRAMES = 10**8
_BROKEN = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError)


class FramesReader:
    """Frames of an H5MD file in blocks, the one reader of them; a context manager.

    Attributes:
        system: what the frames are about; n_chains counts trajectories in generated.h5.
        steps: (time,) int64, strictly increasing.
        segments: (time,) int64, non-decreasing.
        n_mode_frames: frames that have modes; they come first.
        generated: whether the integrator made them, not MD.
        start_step: MD step of the recorded frame that generated trajectories start from; None where the file does not
            say.
    """

    def __init__(self, path: Path) -> None:
        """Open and check ``path``.

        Raises:
            UserError: missing, not HDF5, a dataset missing or of wrong shape or type, sizes that the file cannot
                hold, steps that do not increase.
        """
        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        try:
            self._file = h5py.File(path, "r")
        except _BROKEN as error:
            raise UserError(f"{path} is not a readable HDF5 file: {one_line(error)}") from None
        try:
            self._open()
        except UserError:
            self.close()
            raise
        except _BROKEN as error:
            self.close()
            raise UserError(f"{path} is damaged: {one_line(error)}") from None

    def _open(self) -> None:
        group = self._file.get("mlgle", getlink=True)
        if not isinstance(group, h5py.HardLink) or not isinstance(self._file["mlgle"], h5py.Group):
            raise UserError(f"{self.path} has no group /mlgle; is it a modes.h5?")
        attributes = self._read_attributes()
        self._com = self._dataset("com", 3, "f")
        step = self._dataset("step", 1, "iu")
        n_frames, n_chains = self._com.shape[:2]
        self._modes = self._find_modes(attributes)
        modes = (0, n_chains, 0, 3) if self._modes is None else self._modes.shape
        self.n_mode_frames, n_modes = modes[0], modes[2]
        if (
            step.shape != (n_frames,)
            or self._com.shape[2] != 3
            or modes[1::2] != (n_chains, 3)
            or not self.n_mode_frames <= n_frames
        ):
            raise UserError(
                f"{self.path}: step {step.shape}, com {self._com.shape} and modes {modes} "
                "do not agree on (time, chain, mode, 3)"
            )
        attributes |= {"n_chains": n_chains, "n_modes": n_modes}
        self.system: System = system_from_mapping(attributes, str(self.path))
        self.generated = "integrator_dt" in self._file["mlgle"].attrs
        start = attributes.get("start_step")
        self.start_step: int | None = start if type(start) is int else None
        self._others = self._further_channels()
        steps = step[:]
        if n_frames and steps.max() > np.iinfo(np.int64).max:
            raise UserError(f"{self.path}: step {steps.max()} is beyond what counts steps")
        self.steps: Int64 = steps.astype(np.int64)
        self.segments = self._read_segments(attributes)
        if n_frames and np.any(np.diff(self.steps) <= 0):
            frame = int(np.argmax(np.diff(self.steps) <= 0)) + 1
            raise UserError(
                f"{self.path}: step {self.steps[frame]} of frame {frame} does not follow {self.steps[frame - 1]}"
            )

    def _find_modes(self, attributes: JsonObject) -> h5py.Dataset | None:
        """Return the chains' modes; None where the stream was recorded without."""
        channels = attributes.get("channels", ("com", "modes"))
        without = isinstance(channels, list) and "modes" not in channels
        return None if without else self._dataset("modes", 4, "f")

    def _further_channels(self) -> dict[tuple[str, str], h5py.Dataset]:
        """Return the datasets beside com and modes of the chains."""
        found = {}
        for own in self.system.species:
            for channel in own.channels:
                if own.name == CHAINS and channel in ("com", "modes"):
                    continue
                name = dataset_name(own.name, channel).removeprefix("mlgle/")
                dataset = self._dataset(name, 2 + len(own.shape(channel)) - 1, "f")
                if dataset.shape != (shape := (self._com.shape[0], *own.shape(channel))):
                    raise UserError(f"{self.path}: /mlgle/{name} has shape {dataset.shape}, not {shape}")
                found[own.name, channel] = dataset
        return found

    def _dataset(self, name: str, n_axes: int, kinds: str) -> h5py.Dataset:
        """Return /mlgle/name after checks of what reading it would do."""
        where = f"{self.path}: /mlgle/{name}"
        link = None
        for n in range(name.count("/") + 1):  # the groups on the way, then the dataset
            link = self._file["mlgle"].get("/".join(name.split("/")[: n + 1]), getlink=True)
            if not isinstance(link, h5py.HardLink):
                break
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"{where} is missing" if link is None else f"{where} is a link, which is not followed")
        dataset = self._file["mlgle"][name]
        if not isinstance(dataset, h5py.Dataset) or dataset.ndim != n_axes or dataset.dtype.kind not in kinds:
            raise UserError(f"{where} is not an array of numbers with {n_axes} axes")
        if dataset.is_virtual or dataset.external:
            raise UserError(f"{where} points to other files, which are not followed")
        itemsize = dataset.dtype.itemsize
        declared = math.prod(dataset.shape) * itemsize
        stored = min(dataset.id.get_storage_size(), self.path.stat().st_size)
        if declared > (MAX_COMPRESSION * stored if dataset.compression else stored) or dataset.shape[0] > MAX_FRAMES:
            raise UserError(f"{where} declares {declared} bytes (shape {dataset.shape}), the file holds {stored}")
        unit_bytes = max(math.prod(dataset.shape[1:]), math.prod(dataset.chunks or (0,))) * itemsize
        if unit_bytes > MAX_ROW_BYTES:
            raise UserError(f"{where} of shape {dataset.shape} has frames or chunks of {unit_bytes} bytes")
        return dataset

    def _read_attributes(self) -> JsonObject:
        """Return the attributes that describe the stream; texts from their checked copy where there is one."""
        stored = self._file["mlgle"].attrs
        names = ["dt", "every", "n_beads", "segments", "segment_numbers", "box", "mode_variances", "center_held"]
        names += ["whole_molecules", "ends_alike", "start_step"]
        if "texts" in stored and stored.get_id("texts").dtype.kind == "S":
            found = {name: value for name, value in json.loads(stored["texts"]).items() if name in TEXTS}
        else:
            found, names = {}, names + list(TEXTS)
        if "layout" in stored and stored.get_id("layout").dtype.kind == "S":
            found |= {name: value for name, value in json.loads(stored["layout"]).items() if name in LAYOUT}
        for name in names:
            if name in stored and (name in TEXTS or stored.get_id(name).dtype.kind in "iuf"):
                found[name] = _plain(stored[name])
        return found

    def _read_segments(self, attributes: JsonObject) -> Int64:
        n_frames = len(self.steps)
        starts = np.atleast_1d(attributes.get("segments", np.zeros(min(n_frames, 1), dtype=np.int64)))
        numbers = np.atleast_1d(attributes.get("segment_numbers", np.arange(len(starts))))
        lengths = np.diff(np.append(starts, n_frames))
        whole = n_frames == 0 or starts.dtype.kind == numbers.dtype.kind == "i"
        good = whole and len(numbers) == len(starts) and (len(starts) > 0) == (n_frames > 0)
        if not good or (n_frames and starts[0] != 0) or np.any(lengths <= 0) or np.any(np.diff(numbers) <= 0):
            raise UserError(
                f"{self.path}: the attribute segments does not list where pieces of {n_frames} frames begin"
            )
        return np.repeat(numbers, lengths).astype(np.int64)

    def read(self, start: int, stop: int, with_modes: bool = True) -> Frames:
        """Return frames start..stop-1 with all channels that they have.

        Args:
            start: first frame.
            stop: one after the last frame.
            with_modes: False leaves the chains' modes out. Frames that have none need it.

        Raises:
            UserError: the file is damaged there.
            ValueError: modes of frames that have none.
        """
        if with_modes and stop > self.n_mode_frames and self._modes is not None:
            raise ValueError(f"frame {stop - 1} has no modes; {self.n_mode_frames} frames do")
        channels: dict[str, dict[str, AnyArray]] = {CHAINS: {}}
        try:
            channels[CHAINS]["com"] = self._com[start:stop].astype(np.float64)
            if with_modes and self._modes is not None:
                channels[CHAINS]["modes"] = self._modes[start:stop].astype(np.float32)
            for (species, channel), dataset in self._others.items():
                channels.setdefault(species, {})[channel] = dataset[start:stop].astype(CHANNELS[channel][0])
        except _BROKEN as error:
            raise UserError(f"{self.path} is damaged near frame {start}: {one_line(error)}") from None
        return Frames(self.steps[start:stop], self.segments[start:stop], channels)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> FramesReader:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


def require_generated_from(md: System, generated: FramesReader) -> None:
    """Raise UserError where a generated.h5 cannot be made from the chains of ``md``.

    Args:
        md: what the run's modes.h5 is about.
        generated: the file.
    """
    made = generated.system
    step = made.dt / made.every  # of the integrator, which is MD's time between frames
    same = generated.generated and made.n_modes <= md.n_modes and math.isclose(step, md.dt, rel_tol=SAME_DT)
    if not same or (made.n_beads, made.length_unit) != (md.n_beads, md.length_unit):
        raise UserError(
            f"{generated.path} ({made.n_modes} modes, {made.n_beads} beads, steps of {step:g}) was not generated from "
            f"{md.source} ({md.n_modes} modes, {md.n_beads} beads, frames each {md.dt:g}): run mlgle generate"
        )


def require_all_directions(generated: FramesReader) -> None:
    """Raise UserError where trajectories were generated along some of x, y and z alone: beads have all three."""
    directions = generated.system.directions
    if directions.n < 3:
        raise UserError(
            f"{generated.path} was generated along {directions.free} alone, so that beads, which have x, y and z, "
            f"cannot be made of it; {directions.sentence()}"
        )


def _plain(value: object) -> JsonValue:
    """Return an attribute as Python numbers, text or lists of them."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
