"""The pressure tensor correlated while MD runs, in memory that does not grow with the run.

LAMMPS tallies a virial only on steps for which somebody asks in time, which a ``fix ave/time`` does; a ``fix external``
that adds no force calls back to fetch its values. Positions, velocities and forces are those of a run without it, bit
for bit. (``fix vector`` would keep samples for the service, but takes memory for all steps of a run at once.)
"""

from __future__ import annotations

import ctypes
import math
from pathlib import Path

import numpy as np

from mlgle_lammps.acquire.lammps_handle import Callback, Lammps, Pointer
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.statistics.multi_tau import MultipleTau
from mlgle_lammps.store.stress_file import FILE, SERIES, StressRecord, read_stress

NAME = "mlgle_stress"
_FIX, _DOUBLE = NAME.encode(), ctypes.POINTER(ctypes.c_double)
NEVER = 2_000_000_000
STEP, TENSOR = 0, range(1, 7)
"""Places in the values that LAMMPS keeps."""


class StressWatch:
    """Samples the pressure tensor; all methods but ``install`` are for the first MD rank alone.

    Args:
        lmp: the LAMMPS instance.
        every: steps between two samples.
        kinetic: take momentum flux along with the virial; not where velocities are no momenta (Brownian dynamics).
        folder: the checkpoint folder, None for none.
        leads: this is the first MD rank.

    Attributes:
        notes: what was done, one line each.
        error: what went wrong while a sample was fetched.
    """

    def __init__(self, lmp: Lammps, every: int, kinetic: bool, folder: Path | None, leads: bool) -> None:
        self._lmp, self._folder, self._leads = lmp, folder, leads
        low, high = lmp.extract_box()[:2]
        volume = math.prod(float(b) - float(a) for a, b in zip(low, high, strict=True))
        self.record = StressRecord(MultipleTau(SERIES), every, float(lmp.extract_global("dt")), volume, kinetic)
        self._waiting: list[tuple[float, ...]] = []
        self._newest = -1
        self._callback: Callback = None
        self.notes: list[str] = []
        self.error: BaseException | None = None

    def install(self) -> None:
        """Have LAMMPS take samples from its next run on; collective over the MD ranks."""
        every, execute = self.record.every, self._lmp.command
        if self.record.kinetic:
            execute(f"compute {NAME}_T all temp")
        execute(f"compute {NAME} all pressure {f'{NAME}_T' if self.record.kinetic else 'NULL virial'}")
        execute(f"variable {NAME}_step equal step+1")  # 0 is what there is before the first sample
        values = " ".join(f"c_{NAME}[{i}]" for i in TENSOR)
        execute(f"fix {NAME}_reader all external pf/callback {every} {NEVER}")
        execute(f"fix {NAME} all ave/time {every} 1 {every} v_{NAME}_step {values}")
        self._callback = self._lmp.FIX_EXTERNAL_CALLBACK_FUNC(self._on_step)
        self._lmp.lib.lammps_set_fix_external_callback(
            self._lmp.lmp, f"{NAME}_reader".encode(), self._callback, self._lmp.lmp
        )
        # What is sampled at the set-up of the first run is left out: fixes that are set up later have not yet cleared
        # their part of the virial there.
        self._newest = int(self._lmp.extract_global("ntimestep"))

    def _on_step(
        self, caller: object, step: int, n_local: int, ids: Pointer, positions: Pointer, forces: Pointer
    ) -> None:
        """Be called by LAMMPS before it takes the next sample; whatever goes wrong is kept."""
        if self._leads and self.error is None:
            try:
                self._fetch()
            except BaseException as error:
                self.error = error

    def _fetch(self) -> None:
        """Take the newest sample, unless it is known."""
        step = self._value(STEP) - 1
        if step > self._newest:
            self._newest = int(step)
            self._waiting.append((step, *(self._value(place) for place in TENSOR)))

    def _value(self, place: int) -> float:
        """Return one of the values that LAMMPS keeps; its own wrapper takes six times as long."""
        lib = self._lmp.lib
        lib.lammps_extract_fix.restype = _DOUBLE
        pointer = lib.lammps_extract_fix(self._lmp.lmp, _FIX, 0, 1, place, 0)
        value = float(pointer[0])
        lib.lammps_free(pointer)
        return value

    def go_on(self, step: int) -> None:
        """Take up what was kept with the restart file of a step, or start afresh where it is not there."""
        path = None if self._folder is None else self._kept(step)
        if path is None or not path.is_file():
            self.notes.append(f"no stress was kept with the restart file of step {step}: its correlation starts there")
            return
        try:
            before = read_stress(path)
        except (UserError, OSError) as error:  # the other ranks do not know
            self.notes.append(f"{one_line(error)}: the stress's correlation starts afresh")
            return
        if (before.every, before.kinetic) != (self.record.every, self.record.kinetic):
            self.notes.append("the stress of before was sampled otherwise: its correlation starts afresh")
            return
        self.record = before
        if step - before.last_step > before.every:
            self._break()

    def read(self, last_step: int | None = None) -> None:
        """Correlate what has come since the last call; raise what went wrong meanwhile.

        Args:
            last_step: leave later samples for the next call; None for all.
        """
        if self.error is not None:
            raise self.error
        done = 0
        for row in self._waiting:
            if last_step is not None and row[0] > last_step:
                break
            if self.record.last_step >= 0 and row[0] - self.record.last_step != self.record.every:
                self._correlate(self._waiting[:done])
                del self._waiting[:done]
                done = 0
                self._break()
            self.record.last_step = int(row[0])
            done += 1
        self._correlate(self._waiting[:done])
        del self._waiting[:done]

    def _break(self) -> None:
        self.record.correlator.interrupt()
        self.record.gaps += 1

    def _correlate(self, rows: list[tuple[float, ...]]) -> None:
        if not rows:
            return
        tensor = np.array(rows)[:, 1:]  # xx, yy, zz, xy, xz, yz
        if not np.isfinite(tensor).all():
            raise RunFailure("the pressure is no longer finite: the run has blown up")
        xx, yy, zz, xy, xz, yz = tensor.T
        self.record.correlator.add(np.stack([xy, yz, xz, xx - yy, yy - zz, zz - xx], axis=1))

    def keep(self, step: int) -> None:
        """Write what there is up to ``step`` beside the restart file of that step, and drop the oldest such file."""
        self.finish(step)
        if self._folder is None:
            return
        self.record.write(self._kept(step))
        kept = sorted(self._folder.glob("stress-*.npz"), key=lambda path: int(path.stem.partition("-")[2] or 0))
        for old in kept[:-3]:
            old.unlink(missing_ok=True)
        self.write()

    def finish(self, step: int | None = None) -> None:
        """Correlate the samples up to ``step``, that of a run's last step among them."""
        self._fetch()
        self.read(step)

    def write(self) -> None:
        """Write what there is into the run's folder."""
        if self._folder is not None:
            self.record.write(self._folder.parent / FILE)

    def _kept(self, step: int) -> Path:
        assert self._folder is not None
        return self._folder / f"stress-{step}.npz"  # each restart file has its own
