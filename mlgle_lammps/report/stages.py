"""What the stages of a run return, each as it is done; result.json and the report are made of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # records of other stages, for their types only
    from mlgle_lammps.evaluate.bead_judgement import BeadJudgement
    from mlgle_lammps.evaluate.by_direction import ByDirection
    from mlgle_lammps.evaluate.judgement import Judgement
    from mlgle_lammps.evaluate.stream_statistics import StreamSummary
    from mlgle_lammps.records import Estimate, Frames, GleFit, Species
    from mlgle_lammps.statistics.correlation import Autocorrelation, ModeStatistics
    from mlgle_lammps.statistics.moments import Moments
    from mlgle_lammps.surrogates.contract import Model


@dataclass(frozen=True)
class SpeciesD:
    """D of one species.

    Attributes:
        species: what it is.
        name: for people.
        n_modes: k that were used, 0 for none.
        D: per dimension; None where there is none.
        reason: why there is none, else "".
        fit: of the GLE; None where D is a slope.
    """

    species: Species
    name: str
    n_modes: int
    D: Estimate | None
    reason: str = ""
    fit: GleFit | None = None


@dataclass(frozen=True)
class HandOff:
    """MD up to the hand-off: what the surrogate is made of.

    Attributes:
        policy: "tmax", "train" or "converged".
        n_frames: frames so far.
        step: MD step of the last one.
        wall_s: seconds since learning began.
        window: the last frames, as many as training can use; read-only views.
        fit: GLE fit to all frames.
        correlation: NACF of the window's modes.
        md_modes: their variances and relaxation times.
        by_direction: D of each free direction.
    """

    policy: str
    n_frames: int
    step: int
    wall_s: float
    window: Frames
    fit: GleFit
    correlation: Autocorrelation
    md_modes: ModeStatistics
    by_direction: ByDirection


@dataclass(frozen=True)
class Trained:
    """The surrogate.

    Attributes:
        model: of any surrogate; saved unless the run was broken off.
        start: the frames that trajectories start from, one uninterrupted piece.
    """

    model: Model
    start: Frames


@dataclass(frozen=True)
class Generated:
    """What the surrogate made, against MD.

    Attributes:
        summary: statistics of the generated ensemble.
        check: against the frames that it was learned from.
        relaxation_times: of the generated NACF, time_unit; None where beyond its lags.
        D: of the generated centres of mass; None where too few steps show no normal diffusion.
        beads: whether beads move as MD's; None where the frames are too few to say.
    """

    summary: StreamSummary
    check: Judgement
    relaxation_times: Sequence[float | None]
    D: Estimate | None
    beads: BeadJudgement | None = None


@dataclass(frozen=True)
class Reference:
    """Full MD after the hand-off.

    Attributes:
        moments: displacements of its frames.
        D: by its slope; None where the frames show no normal diffusion long enough.
    """

    moments: Moments
    D: Estimate | None


@dataclass(frozen=True)
class Stages:
    """The stages that are done so far; None for one that is not, or never will be."""

    handoff: HandOff | None = None
    trained: Trained | None = None
    generated: Generated | None = None
    reference: Reference | None = None
