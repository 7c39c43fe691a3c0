"""A run under way: where frames come from, where results go, and what has been found."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from mlgle_lammps.errors import RunFailure
from mlgle_lammps.plain import JsonObject
from mlgle_lammps.records import Ending, Estimate, FrameSource
from mlgle_lammps.report.live import write_live_page
from mlgle_lammps.report.result import Findings, Setup, build_result
from mlgle_lammps.report.stages import Stages
from mlgle_lammps.store.run_folder import RunFolder, plain


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

    def write_result(self, stages: Stages, ending: Ending | None = None, complete: bool = False) -> JsonObject:
        """Write result.json with what is known and return it; raise RunFailure where it cannot be written."""
        self.findings.total_s = self.elapsed()
        result = build_result(self.setup, self.findings, stages, ending, complete)
        self.folder.write_result(result)
        if ending is None:
            self._show(result, stages)
        return result

    def show(self, stages: Stages) -> None:
        """Write report.html as far as things are, for whoever looks at it while the run goes on."""
        self.findings.total_s = self.elapsed()
        self._show(build_result(self.setup, self.findings, stages), stages)

    def show_end(self, result: JsonObject) -> None:
        """Write report.html for the last time, where there is no time for the report itself."""
        with contextlib.suppress(RunFailure):
            write_live_page(self.folder.path, plain(result), f"Ended: {result['message'] or 'broken off'}", False)

    def _show(self, result: JsonObject, stages: Stages) -> None:
        with contextlib.suppress(RunFailure):  # result.json tells where nothing can be written
            write_live_page(self.folder.path, plain(result), self._stage(stages))

    def _stage(self, stages: Stages) -> str:
        """Return what is going on."""
        options, n_frames = self.setup.options, self.findings.n_frames
        if stages.handoff is None:
            until = f"of {options.handoff_frames}" if options.handoff_frames else "until D is sharp enough"
            return f"Taking frames: {n_frames} {until}."
        if stages.trained is None:
            return f"Frames are there ({n_frames}): learning how the modes move."
        if stages.generated is None and options.generate_steps:
            return f"Learned; generating {options.generate_steps} steps of {options.ensemble} trajectories."
        return "Taking frames of full MD." if options.full_md else "Nearly done."

    def describe(self, D: Estimate) -> str:
        """Return D with its interval and units, for people."""
        system = self.setup.system
        return f"{D.value:.4g} [{D.ci95[0]:.4g}, {D.ci95[1]:.4g}] {system.length_unit}^2/{system.time_unit}"
