"""Frozen records which the stages exchange; no stage imports another.

Axis order is always (time, chain, mode, xyz). Lengths and times are in the deck's units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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
FEW_CHAINS = "1 chain: its motion cannot be told from a drift of the box; at least 2 chains are needed"


@dataclass(frozen=True)
class System:
    """What a stream is about; constant over a run.

    Attributes:
        n_chains: chains whose modes are streamed.
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


@dataclass(frozen=True)
class Frame:
    """One snapshot of all chains.

    Attributes:
        step: the MD step (strictly increasing within a stream).
        segment: number of the uninterrupted piece; no lag pair or window crosses two.
        com: z_0, raw centres of mass, unwrapped, drift not removed; (chain, 3) float64.
        modes: z_1..z_k; (chain, mode, 3) float32, rounded before anything uses them.
    """

    step: int
    segment: int
    com: Float64
    modes: Float32


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

    def __iter__(self) -> Iterator[Frame]:
        """Yield frames in order, blocking where they are not there yet; stop when the stream ends."""
        ...

    def hand_off(self) -> None:
        """Hear that the model has its frames: from here on only centres of mass are needed, and MD may stop."""
        ...

    def broken(self) -> bool:
        """Whether the stream is known to have been interrupted or to have failed: finish soon, train no more."""
        ...

    def ending(self) -> Ending:
        """Tell how the stream ended, waiting for its end where frames remain."""
        ...


@dataclass(frozen=True)
class Window:
    """Consecutive frames as arrays, copied out of the ring buffer.

    Attributes:
        steps: (time,) int64.
        segments: (time,) int64, non-decreasing.
        com: (time, chain, 3) float64, raw.
        modes: (time, chain, mode, 3) float32.
    """

    steps: Int64
    segments: Int64
    com: Float64
    modes: Float32


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


@dataclass(frozen=True)
class GleFit:
    """Outcome of the fit MSD_X = α² t + β² Σ_j MSD_zj (JCP eq. 26-27), per dimension, time in frames·dt.

    Attributes:
        alpha_sq: α², length²/time.
        beta_sq: β² (free: may be negative where ``constrained`` is False; the generator takes max(β², 0)).
        D: α²/2 per dimension with its interval.
        lags: lags used, in frames.
        chi2: residuals against their covariance.
        dof: degrees of freedom of chi2.
        p: p-value of chi2.
        n_frames: frames used.
    """

    alpha_sq: float
    beta_sq: float
    D: Estimate
    lags: tuple[int, ...]
    chi2: float
    dof: int
    p: float
    n_frames: int


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
    details: dict[str, Any]
