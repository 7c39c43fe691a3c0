"""A run under way: where frames come from, where results go, and what has been found."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from mlgle_lammps.records import Ending, Estimate, FrameSource
from mlgle_lammps.report.result import Findings, Setup, build_result
from mlgle_lammps.report.stages import Stages
from mlgle_lammps.store.run_folder import RunFolder


@dataclass(frozen=True)
class Run:
    """What every stage is given.

    Attributes:
        source: of the frames.
        folder: of the results.
        setup: what was known before the first frame.
        findings: what comes up on the way.
        started: monotonic clock when learning began.
    """

    source: FrameSource
    folder: RunFolder
    setup: Setup
    findings: Findings
    started: float

    def broken(self) -> bool:
        """Whether the stream is known to have been interrupted or to have failed."""
        return self.source.broken()

    def elapsed(self) -> float:
        """Return the seconds since learning began."""
        return time.monotonic() - self.started

    def write_result(self, stages: Stages, ending: Ending | None = None, complete: bool = False) -> dict[str, Any]:
        """Write result.json with what is known and return it; raise RunFailure where it cannot be written."""
        self.findings.total_s = self.elapsed()
        result = build_result(self.setup, self.findings, stages, ending, complete)
        self.folder.write_result(result)
        return result

    def describe(self, D: Estimate) -> str:
        """Return D with its interval and units, for people."""
        system = self.setup.system
        return f"{D.value:.4g} [{D.ci95[0]:.4g}, {D.ci95[1]:.4g}] {system.length_unit}^2/{system.time_unit}"
