"""What this program uses of an MPI communicator: mpi4py's own, or one that a test makes."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from mlgle_lammps.plain import AnyArray

Value = TypeVar("Value")


class Request(Protocol):
    """A message under way."""

    def test(self) -> tuple[bool, object]: ...  # noqa: D102
    def Test(self) -> bool: ...  # noqa: D102


class Waiting(Protocol):
    """A message that has arrived and is not taken yet."""

    def recv(self) -> Any: ...  # noqa: D102


class Post(Protocol):
    """As much of a communicator as it takes to send values to other ranks and to take theirs."""

    def isend(self, value: object, /, dest: int) -> Request: ...  # noqa: D102
    def improbe(self) -> Waiting | None: ...  # noqa: D102


class Communicator(Post, Protocol):
    """Ranks that speak with one another; methods in small letters take any value, those in capitals arrays."""

    @property
    def rank(self) -> int: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    def allgather(self, value: Value, /) -> list[Value]: ...  # noqa: D102
    def bcast(self, value: Value, /, root: int) -> Value: ...  # noqa: D102
    def Allreduce(self, mine: AnyArray, total: AnyArray, /, op: object = ...) -> None: ...  # noqa: D102
    def Iallreduce(self, mine: AnyArray, total: AnyArray, /, op: object = ...) -> Request: ...  # noqa: D102
    def Reduce(self, mine: AnyArray, total: AnyArray | None, /, root: int) -> None: ...  # noqa: D102
    def Split(self, colour: int, key: int, /) -> Communicator: ...  # noqa: D102
    def Dup(self) -> Communicator: ...  # noqa: D102
    def Abort(self, code: int, /) -> None: ...  # noqa: D102
