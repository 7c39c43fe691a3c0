"""Have LAMMPS write restart files, during its run and between runs, and take them into the record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mlgle_lammps.acquire.checkpoint import Checkpoints, MdRecord
from mlgle_lammps.acquire.continuation import named
from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.declaring import as_flags

IN_TURN = ("md.a", "md.b")
NOW = "md.now"
PATTERNS = "%*"
LARGEST = 2**31 - 1


class RestartWriter:
    """Restart files of one run; all methods but ``visit`` are collective over the MD ranks.

    A restart file that cannot be kept is a warning: the run's frames do not depend on it.

    Args:
        folder: checkpoint folder.
        record: as MD stands at the start.
        lmp: the LAMMPS instance.
        execute: has LAMMPS execute commands.
        leads: this is the first MD rank, which keeps the record.
        keep: called there with the step of each restart file, to keep what else belongs to it; None for nothing.

    Attributes:
        warnings: one line each.
    """

    def __init__(
        self,
        folder: Path,
        record: MdRecord,
        lmp: Lammps,
        execute: Callable[[str], None],
        leads: bool,
        keep: Callable[[int], None] | None = None,
    ) -> None:
        if found := next((sign for sign in PATTERNS if sign in str(folder)), None):
            raise UserError(f"{folder.parent}: LAMMPS takes {found} in a file name for a pattern; choose another `out`")
        self._folder, self._lmp, self._execute, self._keep = folder, lmp, execute, keep
        self._checkpoints = Checkpoints(folder, record) if leads else None
        self._every = 0
        self._due: int | None = None
        self.warnings: list[str] = []

    def write(self, md_s: float = 0.0) -> None:
        """Write one now, between two runs; what follows is as if it had not been written."""
        step = self._lmp.extract_global("ntimestep")
        self._execute(f"write_restart {named(self._folder / NOW, self._folder)}")
        if self._checkpoints is not None:
            self._take(NOW, step, md_s)

    def write_every(self, steps: int, single: bool) -> None:
        """Let LAMMPS write one every so many steps as it runs; it then rebuilds its neighbour lists there.

        Args:
            steps: 0 for none.
            single: by ``restart N file.*``, because the deck itself uses ``restart N a b``.
        """
        if not 0 < steps <= LARGEST:
            return
        names = ("md.*",) if single else IN_TURN
        files = " ".join(named(self._folder / name, self._folder) for name in names)
        self._execute(f"restart {steps} {files}")
        self._every = steps
        self._due = (self._lmp.extract_global("ntimestep") // steps + 1) * steps

    def visit(self, step: int, md_s: float) -> None:
        """Take in what LAMMPS has written before ``step``; called now and then during a run."""
        if self._due is None or step <= self._due:
            return
        found = self._collect(self._due, md_s)
        if not found:
            self.warnings.append(
                f"no restart file came at step {self._due}: a 'restart' command of the deck's production part took "
                "the place of the checkpoints'; remove it, or give `checkpoint_every` 0"
            )
        self._due = self._due + self._every if found else None

    def finish(self, md_s: float, write: bool) -> None:
        """Take in the last restart file, and write one where MD will go on from here."""
        if self._due is not None and self._checkpoints is not None:
            self._collect(self._due, md_s)
        if write:
            self._execute("timer timeout off")
            self.write(md_s)

    def _collect(self, step: int, md_s: float) -> bool:
        names = (*IN_TURN, f"md.{step}")
        name = next((name for name in names if (self._folder / name).is_file()), None)
        if name is not None:
            self._take(name, step, md_s)
        return name is not None

    def _take(self, name: str, step: int, md_s: float) -> None:
        assert self._checkpoints is not None  # this is the first MD rank
        try:
            if self._keep is not None:
                self._keep(step)
            self._checkpoints.take(name, step, md_s)
        except (UserError, OSError) as error:  # the other ranks do not know
            self.warnings.append(as_flags(str(error)))
