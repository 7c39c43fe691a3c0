"""Frozen records which the stages exchange.

Axis order is always (time, chain, mode, xyz). Lengths and times are in the deck's units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlgle_lammps.directions import ALL_FREE, Directions
from mlgle_lammps.plain import AnyArray, JsonObject

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


UNITS = {
    "lj": ("tau", "sigma"),
    "real": ("fs", "Angstrom"),
    "metal": ("ps", "Angstrom"),
    "si": ("s", "m"),
    "cgs": ("s", "cm"),
    "electron": ("fs", "Bohr"),
    "micro": ("us", "um"),
    "nano": ("ns", "nm"),
}
"""LAMMPS unit style -> (time, length), as in the documentation of `units`."""
PICOSECONDS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "us": 1e6, "s": 1e12}
ANGSTROMS = {"pm": 0.01, "Angstrom": 1.0, "nm": 10.0, "um": 1e4, "cm": 1e8, "m": 1e10, "Bohr": 0.529177210903}
"""How long the units are whose length is known; those of "lj" are the deck's own."""
SAME_DT = 1e-6
"""Relative difference of two Δt that are one; files keep them in single precision, or as written."""
FEW_CHAINS = "1 chain: its motion cannot be told from a drift of the box; at least 2 chains are needed"


CHAINS = "chains"
"""The main species: the molecules whose D is asked for. Others stand beside it under names of their own."""
CHANNELS: dict[str, tuple[type[np.float32] | type[np.float64], tuple[str | int, ...]]] = {
    "com": (np.float64, ()),
    "modes": (np.float32, ("n_modes",)),
    "beads": (np.float32, ("n_beads",)),
    "momenta": (np.float64, ()),
    "forces": (np.float64, ()),
    "stress": (np.float64, (3,)),
    "rg2": (np.float32, ()),
}
"""What a frame can hold of each molecule: type, and the axes between (time, molecule) and xyz; all in the deck's units.

``com`` is z_0, raw and unwrapped, the drift not removed; ``modes`` are z_1..z_k, rounded before anything uses them;
``beads`` are relative to ``com`` and not wrapped; ``stress`` is of a species of one molecule, the whole system;
``rg2`` is the squared radius of gyration, a number in place of xyz.
"""
NUMBERS = ("rg2",)
"""Channels of one number in place of xyz."""


@dataclass(frozen=True)
class Species:
    """Molecules of one kind.

    Attributes:
        name: of the species, unique in a stream.
        n_molecules: how many there are.
        n_beads: of each; None where the recording does not say.
        n_modes: k, modes 1..k of each.
        channels: what a frame holds of them, by the names of ``CHANNELS``.
        edges: bonds between beads, numbered in their canonical order; none for linear chains and single atoms.
        eigenvalues: λ_1..λ_{N-1} of the bonds' Laplacian, ascending; none where there are no ``edges``.
        types: of the beads in their order; none where they are not known, or differ from molecule to molecule.
        masses: of each molecule, one number where all weigh the same; none where they are not known.
        whole_molecules: as in System.
        ends_alike: as in System.
    """

    name: str
    n_molecules: int
    n_beads: int | None = None
    n_modes: int = 0
    channels: tuple[str, ...] = ("com", "modes")
    edges: tuple[tuple[int, int], ...] = ()
    eigenvalues: tuple[float, ...] = ()
    types: tuple[str, ...] = ()
    masses: tuple[float, ...] = ()
    whole_molecules: bool = False
    ends_alike: bool = True

    def shape(self, channel: str) -> tuple[int, ...]:
        """Return the shape of one frame of a channel, (molecule, .., 3) or 1; raise ValueError where it has none."""
        axes = [getattr(self, axis) if isinstance(axis, str) else axis for axis in CHANNELS[channel][1]]
        if None in axes:
            raise ValueError(f"{self.name}: {channel} of molecules whose beads are not counted")
        return (self.n_molecules, *axes, 1 if channel in NUMBERS else 3)


@dataclass(frozen=True)
class System:
    """What a stream is about; constant over a run.

    Attributes:
        n_chains: chains whose modes are streamed: molecules of the main species.
        n_beads: beads per chain, None where the recording does not say.
        n_modes: k, the number of modes 1..k.
        dt: time between two frames, in ``time_unit``.
        every: MD steps between two frames (1 where unknown).
        units: the deck's LAMMPS unit style ("real", "lj", ...) or "unknown".
        time_unit: for instance "fs", "tau".
        length_unit: for instance "Angstrom", "sigma".
        source: one line for people: deck or file name.
        notes: what was changed or left out while reading the system, one line each.
        box: lx, ly, lz, xy, xz, yz of a fully periodic box; None where unknown or not periodic.
        mode_variances: variance per component of all modes 1..N-1 over the chains of the first frame; None where
            unknown. It says what the modes that are not streamed add to bead positions.
        center_held: fixes hold the system's centre of mass in place, which would diffuse without them.
        whole_molecules: centres are summed over all atoms of the molecules by mass, where that is not the mean of
            the chains' beads.
        ends_alike: turning a chain end for end gives the same chain, by the types along it; True where unknown.
        channels: what a frame holds of the chains.
        others: further species.
        left_out: which molecules were chosen and which are in none of the numbers, one line; empty where none are.
        directions: that the chains are free in by what is known before a frame has come.
        name: of the main species, for people; "" for linear chains alone.
        edges: of the main species, as in Species; likewise the following.
        eigenvalues: likewise.
        types: likewise.
        masses: likewise.
        boxes: copies of the system side by side, whose molecules stand one box after another; n_chains counts all.
    """

    n_chains: int
    n_beads: int | None
    n_modes: int
    dt: float
    every: int = 1
    units: str = "unknown"
    time_unit: str = "time"
    length_unit: str = "length"
    source: str = ""
    notes: tuple[str, ...] = ()
    box: tuple[float, ...] | None = None
    mode_variances: tuple[float, ...] | None = None
    center_held: bool = False
    whole_molecules: bool = False
    ends_alike: bool = True
    channels: tuple[str, ...] = ("com", "modes")
    others: tuple[Species, ...] = ()
    left_out: tuple[str, ...] = ()
    directions: Directions = ALL_FREE
    name: str = ""
    edges: tuple[tuple[int, int], ...] = ()
    eigenvalues: tuple[float, ...] = ()
    types: tuple[str, ...] = ()
    masses: tuple[float, ...] = ()
    boxes: int = 1

    @property
    def species(self) -> tuple[Species, ...]:
        """All species, the main one first, under the name that its channels have in frames."""
        main = Species(
            CHAINS, self.n_chains, self.n_beads, self.n_modes, self.channels, self.edges, self.eigenvalues, self.types,
            self.masses, self.whole_molecules, self.ends_alike,
        )  # fmt: skip
        return (main, *self.others)

    @property
    def main_name(self) -> str:
        """Name of the main species for people."""
        return self.name or ("chains" if self.n_beads is None else f"linear {self.n_beads}")

    @property
    def bonds(self) -> tuple[tuple[int, int], ...]:
        """Bonds of the main molecules, those of a linear chain where none are named."""
        return self.edges or tuple((n, n + 1) for n in range((self.n_beads or 1) - 1))

    @property
    def linear(self) -> bool:
        """Whether the main species are linear chains."""
        return not self.edges


@dataclass(frozen=True)
class Frames:
    """Consecutive frames, one or many: the one record of frames between all stages, whoever made them.

    Attributes:
        steps: (time,) int64, MD or integrator steps, strictly increasing within a stream.
        segments: (time,) int64, number of the uninterrupted piece; no lag pair or window crosses two.
        channels: species to channel to its values (time, molecule, .., 3), see ``CHANNELS``. A channel that is not
            there was not recorded.
    """

    steps: Int64
    segments: Int64
    channels: Mapping[str, Mapping[str, AnyArray]]

    @classmethod
    def of_chains(cls, steps: Int64, segments: Int64, com: Float64, modes: Float32 | None) -> Frames:
        """Return frames of the main species: com (time, chain, 3) and modes (time, chain, mode, 3), None without."""
        own: dict[str, AnyArray] = {"com": com} if modes is None else {"com": com, "modes": modes}
        return cls(steps, segments, {CHAINS: own})

    @classmethod
    def single(cls, step: int, segment: int, com: Float64, modes: Float32 | None) -> Frames:
        """Return one frame: com (chain, 3) and modes (chain, mode, 3)."""
        numbers = np.array([[step], [segment]], dtype=np.int64)
        return cls.of_chains(numbers[0], numbers[1], com[np.newaxis], None if modes is None else modes[np.newaxis])

    @property
    def com(self) -> Float64:
        """Centres of the chains, (time, chain, 3)."""
        return self.channels[CHAINS]["com"]

    @property
    def modes(self) -> Float32:
        """Modes of the chains, (time, chain, mode, 3); no mode where none were recorded."""
        own = self.channels[CHAINS]
        return (
            own["modes"]
            if "modes" in own
            else np.zeros((*own["com"].shape[:2], 0, own["com"].shape[-1]), dtype=np.float32)
        )

    @property
    def last_step(self) -> int:
        """The last frame's step."""
        return int(self.steps[-1])

    @property
    def last_segment(self) -> int:
        """The last frame's segment."""
        return int(self.segments[-1])

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.steps)

    def __getitem__(self, where: slice | Int64) -> Frames:
        """Return some of the frames, as views where a slice is given."""
        return Frames(self.steps[where], self.segments[where], self._each(lambda values: values[where]))

    def molecules(self, where: slice) -> Frames:
        """Return the frames of some of the chains alone, as views."""
        own = {name: values[:, where] for name, values in self.channels[CHAINS].items()}
        return Frames(self.steps, self.segments, {CHAINS: own})

    def first_modes(self, n_modes: int) -> Frames:
        """Return the frames with modes 1..n_modes of the chains, as views; without modes where that is none."""
        own = dict(self.channels[CHAINS])
        if (modes := own.pop("modes", None)) is not None and n_modes:
            own["modes"] = modes[:, :, :n_modes]
        return Frames(self.steps, self.segments, {**self.channels, CHAINS: own})

    def along(self, directions: Directions) -> Frames:
        """Return the frames with the columns of the free directions alone, (.., d) for (.., 3), as views."""
        return self if directions.n == 3 else self._changed(lambda values: values[..., directions.columns])

    def embedded(self, directions: Directions) -> Frames:
        """Return frames of d columns with three, zero in closed directions."""
        return self if self.com.shape[-1] == 3 else self._changed(directions.embedded)

    def thinned(self, every: int) -> Frames:
        """Return the frames whose steps are multiples of ``every``, as views; steps follow one another."""
        return self[-int(self.steps[0]) % every :: every]

    def copy(self) -> Frames:
        """Return frames that share nothing with these."""
        return Frames(self.steps.copy(), self.segments.copy(), self._each(np.copy))

    def __iter__(self) -> Iterator[Frames]:
        """Yield the frames one by one, as views."""
        for i in range(len(self)):
            yield self[i : i + 1]

    def arrays(self) -> Iterator[tuple[str, str, AnyArray]]:
        """Yield species, channel and values of all channels."""
        for species, own in self.channels.items():
            for channel, values in own.items():
                yield species, channel, values

    def same_bits(self, other: Frames) -> bool:
        """Return whether all of ``other`` is as here to the last bit."""
        ours, theirs = ({(s, c): v for s, c, v in frames.arrays()} for frames in (self, other))
        numbers = ((self.steps, other.steps), (self.segments, other.segments))
        pairs = [*numbers, *((ours[key], theirs.get(key)) for key in ours)]
        return ours.keys() == theirs.keys() and all(
            b is not None and a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs
        )

    def _changed(self, change: Callable[[AnyArray], AnyArray]) -> Frames:
        return Frames(self.steps, self.segments, self._each(change))

    def _each(self, change: Callable[[AnyArray], AnyArray]) -> dict[str, dict[str, AnyArray]]:
        return {
            species: {channel: change(values) for channel, values in own.items()}
            for species, own in self.channels.items()
        }


def joined(blocks: Sequence[Frames]) -> Frames:
    """Return blocks that follow one another as one; raise ValueError where they hold different channels."""
    if len({tuple((s, c) for s, c, _ in block.arrays()) for block in blocks}) != 1:
        raise ValueError("blocks of frames with different channels, or none at all")
    channels = {
        species: {channel: np.concatenate([block.channels[species][channel] for block in blocks]) for channel in own}
        for species, own in blocks[0].channels.items()
    }
    steps, segments = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("steps", "segments"))
    return Frames(steps, segments, channels)


def boxes_of(frames: Frames, boxes: int) -> list[Frames]:
    """Return the frames of each of several boxes whose molecules stand one box after another, as views."""
    size = frames.com.shape[1] // boxes
    return [frames.molecules(slice(k * size, (k + 1) * size)) for k in range(boxes)]


@dataclass(frozen=True)
class Ending:
    """How a stream ended.

    Attributes:
        status: "complete", "interrupted" (signal) or "failed".
        message: one line: why, where it is not "complete".
        step: last MD step.
        md_s: wall seconds spent in production MD (0 for recordings).
        callback_s: of these, seconds inside the frame callback.
        waits: how often MD had to wait for a free message buffer.
        warnings: one line each.
        notes: what was done and is no cause for worry, one line each.
    """

    status: str = "complete"
    message: str = ""
    step: int = 0
    md_s: float = 0.0
    callback_s: float = 0.0
    waits: int = 0
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class FrameSource(Protocol):
    """Anything that yields frames: live driver, recorded stream, analytic Rouse melt."""

    @property
    def system(self) -> System:
        """What the frames are about."""
        ...

    def __iter__(self) -> Iterator[Frames]:
        """Yield frames one by one in order, blocking where they are not there yet; stop when the stream ends."""
        ...

    def hand_off(self) -> None:
        """Hear that the model has its frames: MD may stop."""
        ...

    def broken(self) -> bool:
        """Whether the stream is known to have been interrupted or to have failed: finish soon, train no more."""
        ...

    def ending(self) -> Ending:
        """Tell how the stream ended, waiting for its end where frames remain."""
        ...


@dataclass(frozen=True)
class Estimate:
    """A number with its error.

    Attributes:
        value: the estimate.
        se: its standard error.
        ci95: 95% confidence interval (lo, hi).
        method: how it was obtained, one line.
    """

    value: float
    se: float
    ci95: tuple[float, float]
    method: str

    def scaled(self, factor: float) -> Estimate:
        """Return the estimate in other units, ``factor`` of them to one of these."""
        low, high = self.ci95
        return Estimate(self.value * factor, self.se * factor, (low * factor, high * factor), self.method)


@dataclass(frozen=True)
class GleFit:
    """Outcome of the fit MSD_X = α² t + β² Σ_p MSD_zp (JCP eq. 26-27), per dimension, time in frames·dt.

    Attributes:
        alpha_sq: α², length²/time.
        beta_sq: β², free in the default form: may be negative, and the generator takes max(β², 0).
        D: α²/2 per dimension with its interval.
        lags: lags used, in frames.
        chi2: residuals against their covariance.
        dof: degrees of freedom of chi2.
        p: p-value of chi2.
        n_frames: frames used.
        modes: streamed modes in the sum, counted from 1.
        beyond: λ_k/λ_p of each mode p > k in the sum, by which it is smaller and faster than mode k.
        short: (lag, MSD_X less the curve, length²) up to the first lag used, where modes beyond k are in the sum.
        beta_sq_se: standard error of β²; NaN where the form has none.
    """

    alpha_sq: float
    beta_sq: float
    D: Estimate
    lags: tuple[int, ...]
    chi2: float
    dof: int
    p: float
    n_frames: int
    modes: tuple[int, ...] = ()
    beyond: tuple[float, ...] = ()
    short: tuple[tuple[int, float], ...] = ()
    beta_sq_se: float = float("nan")


@dataclass(frozen=True)
class ModeReport:
    """Per-mode outcome of training.

    Attributes:
        mode: 1..k.
        model: name of what generates this mode, e.g. "AR(64)", "AR(64)+network", "published MLP".
        val_nll: held-out negative log-likelihood, nats per 3D frame of standardized increments, full Gaussian.
        core_nll: the same for the linear core alone (NaN for the published network).
        details: anything worth keeping in result.json (JSON types only).
    """

    mode: int
    model: str
    val_nll: float
    core_nll: float
    details: JsonObject
