"""Whether generated chains move as MD's do bead by bead: along the chain, and the centre with its modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlgle_lammps.chains.laplacian import Edges
from mlgle_lammps.evaluate.judgement import SIGNIFICANT, excess
from mlgle_lammps.observe.bead_motion import BeadMotion
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Float64
from mlgle_lammps.statistics.errors import student_limit

LEAST = {"bead_msd": 0.15, "centre_tie": 0.15}
"""Deviations that matter: of a bead's mean squared displacement, relative; of <ΔX·Δz_p>/<Δz_p²>."""


@dataclass(frozen=True)
class BeadJudgement:
    """A stream's motion against MD's; the first index is the lag.

    Attributes:
        lags: in frames.
        bead_msd: (lag, bead) ratio of the mean squared displacements less 1; None where beads are not counted.
        bead_msd_se: its standard error.
        centre_tie: (lag, mode) <ΔX·Δz_p>/<Δz_p²> less MD's.
        centre_tie_se: its standard error.
        linear: whether the molecules are linear chains.
        dof: degrees of freedom of the errors: MD's chains less one, of which there are the fewer.
    """

    lags: tuple[int, ...]
    bead_msd: Float64 | None
    bead_msd_se: Float64 | None
    centre_tie: Float64
    centre_tie_se: Float64
    linear: bool = True
    dof: float = np.inf

    @property
    def beads_off(self) -> bool:
        """Whether some bead moves otherwise than MD's, by enough to matter and beyond chance."""
        return self.bead_msd is not None and self._off("bead_msd", self.bead_msd, self.bead_msd_se)

    @property
    def tie_off(self) -> bool:
        """Whether the centre moves with some mode otherwise than MD's."""
        return self._off("centre_tie", self.centre_tie, self.centre_tie_se)

    def summary(self) -> JsonObject:
        """Return what result.json says."""
        shown = [] if self.bead_msd is None else _shown(self.bead_msd)
        beads, errors = (
            None if own is None else (first + own[:, shown]).tolist()
            for first, own in ((1, self.bead_msd), (0, self.bead_msd_se))
        )
        return {
            "passed": not (self.beads_off or self.tie_off),
            "lags": list(self.lags),
            "bead_msd_ratio": beads,
            "bead_msd_ratio_se": errors,
            "bead_msd_of": "first end, middle, last end" if self.linear else "first, middle, last bead",
            "centre_tie_difference": self.centre_tie.tolist(),
            "centre_tie_difference_se": self.centre_tie_se.tolist(),
            "limits": {**LEAST, "standard_errors": student_limit(SIGNIFICANT, self.dof)},
        }

    def warnings(self, remedy: str = "") -> list[str]:
        """Return a line that says how beads move otherwise than MD's; none where they do not."""
        said = []
        if self.beads_off and self.bead_msd is not None:
            lag, bead = self._worst("bead_msd", self.bead_msd, self.bead_msd_se)
            said.append(f"bead {bead + 1} moves {100 * self.bead_msd[lag, bead]:+.0f}% at lag {self.lags[lag]}")
        if self.tie_off:
            lag, mode = self._worst("centre_tie", self.centre_tie, self.centre_tie_se)
            said.append(
                f"the centre moves with mode {mode + 1} by {self.centre_tie[lag, mode]:+.2f} of <Δz²> too much at lag "
                f"{self.lags[lag]}"
            )
        if not said:
            return []
        return [
            f"generated beads do not move as MD's: {'; '.join(said)}; displacements of beads, S(q,t) and reconstructed "
            "trajectories are concerned, D and the modes by themselves are not" + (f": {remedy}" if remedy else "")
        ]

    def _beyond(self, name: str, value: Float64, se: Float64 | None) -> Float64:
        return excess(value, np.full_like(value, np.inf) if se is None else se, LEAST[name], self.dof)

    def _off(self, name: str, value: Float64, se: Float64 | None) -> bool:
        return bool(np.any(self._beyond(name, value, se) > 0))

    def _worst(self, name: str, value: Float64, se: Float64 | None) -> tuple[int, int]:
        lag, other = np.unravel_index(int(self._beyond(name, value, se).argmax()), value.shape)
        return int(lag), int(other)


def judge_beads(
    stream: BeadMotion | None, md: BeadMotion | None, n_beads: int | None, edges: Edges = ()
) -> BeadJudgement | None:
    """Hold a stream's motion against MD's at the lags that both have; None where there are none.

    Args:
        stream: of generated trajectories.
        md: of the frames that were learned from, the same modes.
        n_beads: N, None where it is not known.
        edges: of molecules that are not linear.
    """
    if stream is None or md is None or not (lags := tuple(lag for lag in stream.lags if lag in md.lags)):
        return None
    own, other = _at(stream, lags), _at(md, lags)
    (tie, tie_se), (md_tie, md_tie_se) = own.ties(), other.ties()
    ratio = ratio_se = None
    if n_beads is not None:
        (value, se), (md_value, md_se) = own.beads(n_beads, edges), other.beads(n_beads, edges)
        ratio = value / md_value - 1
        ratio_se = (1 + ratio) * np.hypot(se / value, md_se / md_value)
    return BeadJudgement(
        lags, ratio, ratio_se, tie - md_tie, np.hypot(tie_se, md_tie_se), not edges,
        min(own.products.shape[1], other.products.shape[1]) - 1.0,
    )  # fmt: skip


def _at(motion: BeadMotion, lags: tuple[int, ...]) -> BeadMotion:
    return BeadMotion(lags, motion.products[[motion.lags.index(lag) for lag in lags]])


def _shown(values: Float64) -> list[int]:
    return [0, values.shape[1] // 2, values.shape[1] - 1]
