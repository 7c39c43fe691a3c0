"""Frames from a running simulation over IMD (version 3, or 2), as GROMACS, NAMD and LAMMPS's ``fix imd`` send them."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING

import numpy as np

from mlgle_lammps.errors import UserError, one_line
from mlgle_lammps.formats.bead_frames import BeadFrame
from mlgle_lammps.records import Int64

if TYPE_CHECKING:
    from imdclient import IMDClient
    from imdclient.IMDClient import IMDFrame

SILENCE = 600.0
"""Seconds without a frame after which a server is given up."""
_ADDRESS = re.compile(r"imd:/{1,2}(?P<host>[^/:\s]+):(?P<port>\d{1,5})/?")


class Address(PosixPath):
    """``imd://host:port``, where a trajectory's path may stand.

    Attributes:
        host: name or IPv4 address of the machine.
        port: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as it is written, not as a path would be."""
        return f"imd://{self.host}:{self.port}"


def is_address(text: str | Path) -> bool:
    """Tell whether this names a server and not a file."""
    return str(text).startswith("imd:/")


def address_of(text: str | Path) -> Address:
    """Return the address.

    Raises:
        UserError: it is not of the form imd://host:port.
    """
    found = _ADDRESS.fullmatch(str(text))
    if found is None or not 1 <= int(found["port"]) <= 65535:
        raise UserError(f"{text}: an IMD server is named as imd://HOST:PORT, such as imd://localhost:8888")
    address = Address(f"imd-{found['host']}-{int(found['port'])}")
    address.host, address.port = found["host"], int(found["port"])
    return address


def import_imdclient() -> type[IMDClient]:
    """Return imdclient's IMDClient; raise UserError that says how to get it."""
    try:
        from imdclient import IMDClient
    except ImportError as error:
        raise UserError(
            f"imd:// is read through imdclient, which is not there ({one_line(error)}): "
            "pip install 'mlgle_lammps[live]'"
        ) from None
    return IMDClient


class ImdConnection:
    """A connection to a server of frames; MD there goes on, or begins, when it is made.

    Args:
        address: of the server.
        ids: (atom,) of the topology, in increasing order, as servers send atoms.
        silence: seconds without a frame after which the server is given up.

    Attributes:
        told: why the stream ended, one line; "" while it goes on, and where it was closed from here.

    Raises:
        UserError: nobody listens there, it is no IMD server, or it sends no positions.
    """

    def __init__(self, address: Address, ids: Int64, silence: float = SILENCE) -> None:
        client = import_imdclient()
        self._address, self._ids, self._closed = address, ids, False
        self.told = ""
        try:
            self._client = client(
                address.host, address.port, len(ids), multithreaded=False, timeout=silence
            )  # fmt: skip
        except OSError as error:
            raise UserError(f"{address}: {_why(error)}") from None
        except ValueError as error:
            raise UserError(f"{address}: what answers there is no IMD server of version 2 or 3 ({error})") from None
        self.session = self._client.get_imdsessioninfo()
        if not self.session.positions:
            self.close()
            raise UserError(f"{address} sends no positions: switch them on there (fix imd: coordinates on)")

    def frames(self) -> Iterator[BeadFrame]:
        """Yield frames as they come until the server ends; ``told`` then says how.

        Raises:
            UserError: the server has another number of atoms than the topology, or sends what IMD does not know.
        """
        while not self._closed:
            try:
                snapshot = self._client.get_imdframe()
            except EOFError as error:
                self.told = "" if self._closed else _ended(error)
                return
            except RuntimeError as error:
                if self._closed:
                    return
                raise UserError(f"{self._address}: {_unfit(error, len(self._ids))}") from None
            yield self._frame(snapshot)

    def _frame(self, snapshot: IMDFrame) -> BeadFrame:
        timed = self.session.time
        return BeadFrame(
            step=int(snapshot.step) if timed else None,
            time=float(snapshot.time) if timed else None,
            ids=self._ids,
            positions=np.array(snapshot.positions, dtype=np.float64),
            images=None,
            cell=np.array(snapshot.box, dtype=np.float64) if self.session.box else None,
            unwrapped=self.session.version > 2 and not self.session.wrapped_coords,
        )

    def close(self) -> None:
        """Tell the server that nobody listens any more, and close the connection; it is no error to do so twice."""
        if self._closed:
            return
        self._closed = True
        again = None
        with contextlib.suppress(OSError, AttributeError):
            again = self._client._conn.dup()
        self._client.stop()
        if again is not None:  # closing alone does not wake a thread that waits for a frame
            with contextlib.suppress(OSError):
                again.shutdown(socket.SHUT_RDWR)
            again.close()


def _why(error: OSError) -> str:
    """Return why there is no connection."""
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there: start the simulation first, and look whether it waits on this port"
    if "handshake" in str(error):
        return "something listens there and does not say that it is an IMD server"
    return f"no connection ({one_line(error)})"


def _ended(error: BaseException) -> str:
    """Return how the server ended: by silence, or by closing the connection."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, TimeoutError):
            return "has sent nothing for so long that it is given up"
        cause = cause.__cause__ or cause.__context__
    return "closed the connection"


def _unfit(error: BaseException, n_atoms: int) -> str:
    """Return what is wrong with what came."""
    line = one_line(error.__cause__ or error).removeprefix("IMDProducer: ")
    if found := re.search(r"n_atoms value \d+, got (\d+)", line):
        return f"it sends {found[1]} atoms, the topology has {n_atoms}: they do not belong together"
    if "packet type or length" in line:  # version 2
        return f"it does not send the {n_atoms} atoms of the topology: they do not belong together"
    return f"it sends what cannot be read ({line})"
