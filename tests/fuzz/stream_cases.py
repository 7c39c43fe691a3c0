"""Streams that are not what they claim: modes.h5, .npz, journals, dumps, and what points out of them."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fuzz import material
from fuzz.cases import Case, Hostile, mutated_file
from fuzz.damage import damaged_bytes, damaged_text

LONG = 10**12
Change = Callable[[h5py.File], object]


def replay(source: str, *more: object) -> tuple[str, tuple[object, ...]]:
    """Return the command that learns from ``source``."""
    return "replay", (source, *material.SHORT, "--out", "out", *more)


# ------------------------------------------------------------------ modes.h5


def dataset(name: str, **options: Any) -> Change:
    """Replace a dataset; without options it is removed."""

    def change(file: h5py.File) -> None:
        del file["mlgle"][name]
        if options:
            file["mlgle"].create_dataset(name, **options)

    return change


def values(name: str, change: Callable[[np.ndarray], Any]) -> Change:
    """Replace a dataset's values by a function of them."""
    return lambda file: dataset(name, data=change(file["mlgle"][name][()]))(file)


def put(name: str, at: Any, value: float) -> Change:
    """Set some of a dataset's values."""

    def change(file: h5py.File) -> None:
        file["mlgle"][name][at] = value

    return change


def attribute(name: str, value: Any = None) -> Change:
    """Set an attribute of /mlgle; None removes it."""

    def change(file: h5py.File) -> None:
        if value is None:
            file["mlgle"].attrs.pop(name, None)
        else:
            file["mlgle"].attrs[name] = value

    return change


def texts(**changes: Any) -> Change:
    """Change some of the texts that describe the stream."""

    def change(file: h5py.File) -> None:
        found = json.loads(file["mlgle"].attrs["texts"]) | changes
        file["mlgle"].attrs["texts"] = np.bytes_(json.dumps(found).encode())

    return change


def linked(name: str, link: Callable[[Path], Any]) -> Change:
    """Put a link in the place of a dataset or of the group; ``link`` is given the folder."""

    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = link(Path(file.filename).parent)

    return change


def _elsewhere(target: str) -> Callable[[Path], Any]:
    return lambda folder: h5py.ExternalLink("secret.h5", target)


def virtual(name: str) -> Change:
    """Put a dataset in place whose values are another file's."""

    def change(file: h5py.File) -> None:
        old = file["mlgle"][name]
        layout = h5py.VirtualLayout(old.shape, old.dtype)
        layout[:] = h5py.VirtualSource("secret.h5", f"mlgle/{name}", old.shape, old.dtype)
        del file["mlgle"][name]
        file["mlgle"].create_virtual_dataset(name, layout)

    return change


def external(name: str, path: str) -> Change:
    """Put a dataset in place whose bytes lie in another file."""

    def change(file: h5py.File) -> None:
        shape, kind = file["mlgle"][name].shape, file["mlgle"][name].dtype
        del file["mlgle"][name]
        file["mlgle"].create_dataset(name, shape, kind, external=[(path, 0, h5py.h5f.UNLIMITED)])

    return change


def bomb(name: str, frame: tuple[int, ...], kind: str, n_chunks: int, rows: int) -> Change:
    """Put a dataset in place whose many chunks are the same few compressed bytes."""

    def change(file: h5py.File) -> None:
        del file["mlgle"][name]
        made = file["mlgle"].create_dataset(
            name, (n_chunks * rows, *frame), kind, chunks=(rows, *frame), compression="gzip"
        )
        packed = zlib.compress(bytes(rows * int(np.prod(frame)) * np.dtype(kind).itemsize), 9)
        for number in range(n_chunks):
            made.id.write_direct_chunk((number * rows, *(0 for _ in frame)), packed)

    return change


def both(*changes: Change) -> Change:
    """Make several changes."""

    def change(file: h5py.File) -> None:
        for each in changes:
            each(file)

    return change


def claim(n: int) -> Change:
    """Let all datasets claim ``n`` frames that were never written."""
    shapes = {"com": (n, material.CHAINS, 3), "modes": (n, material.CHAINS, material.MODES, 3), "step": (n,)}
    return both(
        *(
            dataset(name, shape=shape, dtype="i8" if name == "step" else "f4", chunks=(1, *shape[1:]))
            for name, shape in shapes.items()
        )
    )


def _compound(file: h5py.File) -> None:
    dataset("com", data=np.zeros(material.FRAMES, dtype=[("x", "f8"), ("y", "S3")]))(file)


def _objects(file: h5py.File) -> None:
    dataset("com", data=["text"] * 40, dtype=h5py.string_dtype())(file)


def _references(file: h5py.File) -> None:
    made = np.array([file["h5md"].ref] * material.FRAMES, dtype=h5py.ref_dtype)
    dataset("step", data=made, dtype=h5py.ref_dtype)(file)


def _cycle(file: h5py.File) -> None:
    file["mlgle/mlgle"] = file["mlgle"]
    file["particles/loop"] = file["particles"]


def _unknown_filter(file: h5py.File) -> None:
    old = file["mlgle/com"][()]
    del file["mlgle/com"]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((8, material.CHAINS, 3))
    plist.set_filter(32123, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    space = h5py.h5s.create_simple(old.shape)
    h5py.h5d.create(file["mlgle"].id, b"com", h5py.h5t.NATIVE_DOUBLE, space, plist).write(
        h5py.h5s.ALL, h5py.h5s.ALL, old
    )


DEEP = "[" * 100_000 + "]" * 100_000
REFUSED: dict[str, Change] = {
    **{f"{name} missing": dataset(name) for name in ("com", "modes", "step")},
    **{f"{name} cut short": values(name, lambda v: v[:-3]) for name in ("com", "step")},
    **{f"{name} without frames": values(name, lambda v: v[:0]) for name in ("com", "modes", "step")},
    **{f"{name} of whole numbers": values(name, lambda v: v.astype(int)) for name in ("com", "modes")},
    **{f"{name} of complex numbers": values(name, lambda v: v.astype(complex)) for name in ("com", "modes", "step")},
    **{f"{name} with an axis less": values(name, lambda v: v[0]) for name in ("com", "modes", "step")},
    **{f"{name} a single number": dataset(name, data=1.0) for name in ("com", "modes", "step")},
    **{f"{name} empty": dataset(name, data=h5py.Empty("f4")) for name in ("com", "modes", "step")},
    **{f"{name} is NaN once": put(name, (7, 3), np.nan) for name in ("com", "modes")},
    **{f"{name} is infinite once": put(name, (7, 3), -np.inf) for name in ("com", "modes")},
    **{f"{name} as bytes": values(name, lambda v: v.astype("S8")) for name in ("com", "modes", "step")},
    **{f"{name} transposed": values(name, lambda v: v.T) for name in ("com", "modes")},
    **{f"{name} of other files": virtual(name) for name in ("com", "modes", "step")},
    **{f"{name} in another file": external(name, "secret.bin") for name in ("com", "modes", "step")},
    **{f"{name} from /dev/zero": external(name, "/dev/zero") for name in ("com", "step")},
    **{
        f"{name} behind a soft link": linked(f"mlgle/{name}", lambda f: h5py.SoftLink("/particles/chains/position"))
        for name in ("com", "modes")
    },
    **{
        f"{name} behind an external link": linked(f"mlgle/{name}", _elsewhere(f"/mlgle/{name}"))
        for name in ("com", "modes", "step")
    },
    "group behind an external link": linked("mlgle", lambda f: h5py.ExternalLink("secret.h5", "/mlgle")),
    "group behind a soft link": linked("mlgle", lambda f: h5py.SoftLink("/particles")),
    "group behind a link to itself": linked("mlgle", lambda f: h5py.SoftLink("/mlgle")),
    "group is a dataset": linked("mlgle", lambda f: np.zeros(3)),
    "com is a group": both(dataset("com"), lambda file: file["mlgle"].create_group("com")),
    "com is compound": _compound,
    "com is text": _objects,
    "step is references": _references,
    "10^12 frames": claim(LONG),
    "10^12 steps": dataset("step", shape=(LONG,), dtype="i8", chunks=(10**6,)),
    "10^12 steps without chunks": dataset("step", shape=(40,), dtype="i8", maxshape=(LONG,), chunks=(2**28,)),
    "10^9 frames of zeros": dataset("com", shape=(10**9, 12, 3), dtype="f4", fillvalue=0, chunks=(64, 12, 3)),
    "10^9 chains": both(
        dataset("com", shape=(40, 10**9, 3), dtype="f4", chunks=(1, 10**6, 3)),
        dataset("modes", shape=(40, 10**9, 3, 3), dtype="f4", chunks=(1, 10**5, 3, 3)),
    ),
    "one chunk of 1 GB": bomb("com", (10**8,), "f8", 1, 1),
    "a frame of 800 MB": both(bomb("com", (2 * 10**7, 3), "f4", 1, 1), bomb("modes", (2 * 10**7, 3, 3), "f4", 1, 1)),
    "steps decrease": values("step", lambda v: v[::-1].copy()),
    "a step twice": put("step", 9, 80),
    "steps far apart": put("step", 39, 2**62),
    "steps at another stride": values("step", lambda v: v * 3),
    "steps beyond 2^63": values("step", lambda v: v.astype(np.uint64) + np.uint64(2**63 - 200)),
    "segments decrease": attribute("segments", np.array([0, 20, 10])),
    "segments beyond the end": attribute("segments", np.array([0, 99])),
    "segments not from 0": attribute("segments", np.array([3, 9])),
    "segments below 0": attribute("segments", np.array([0, -5])),
    "segments with an axis more": attribute("segments", np.zeros((2, 2), int)),
    "segment numbers decrease": attribute("segment_numbers", np.array([1, 0])),
    "segment numbers too few": attribute("segment_numbers", np.array([1])),
    "no dt": attribute("dt"),
    "dt 0": attribute("dt", 0.0),
    "dt -1": attribute("dt", -1.0),
    "dt NaN": attribute("dt", np.nan),
    "dt infinite": attribute("dt", np.inf),
    "dt text": attribute("dt", "4.0"),
    "dt a list": attribute("dt", np.ones(7)),
    "dt complex": attribute("dt", 1j),
    "every 0": attribute("every", 0),
    "every -1": attribute("every", -1),
    "every 2^62": attribute("every", 2**62),
    "every 10.5": attribute("every", 10.5),
    "every a list": attribute("every", np.arange(3)),
    "beads 0": attribute("n_beads", 0),
    "beads -1": attribute("n_beads", -1),
    "beads 2^60": attribute("n_beads", 2**60),
    "beads NaN": attribute("n_beads", np.nan),
    "beads fewer than modes": attribute("n_beads", 2),
    "box of 5 numbers": attribute("box", np.ones(5)),
    "box without edge": attribute("box", np.zeros(6)),
    "box NaN": attribute("box", np.full(6, np.nan)),
    "box with axes": attribute("box", np.ones((6, 6))),
    "variances too few": attribute("mode_variances", np.ones(2)),
    "variances below 0": attribute("mode_variances", -np.ones(5)),
    "texts no JSON": attribute("texts", np.bytes_(b"{")),
    "texts a list": attribute("texts", np.bytes_(b"[1, 2]")),
    "texts very deep": attribute("texts", np.bytes_(DEEP[:30000].encode())),
    "a unit is a number": texts(time_unit=3),
    "a unit is a list": texts(length_unit=["a"]),
    "a source is null": texts(source=None),
}
DOUBTFUL: dict[str, Change] = {
    "modes cut short": values("modes", lambda v: v[:-3]),
    "modes cut to 6": values("modes", lambda v: v[:6]),
    "com of large numbers": values("com", lambda v: v * 1e300),
    "com of small numbers": values("com", lambda v: v * 1e-300),
    "com is 1e308 once": put("com", (7, 3), 1e308),
    "modes are 1e38": values("modes", lambda v: v * np.float32(1e37)),
    "modes are 1e-38": values("modes", lambda v: v * np.float32(1e-38)),
    "a mode is 1e30 once": put("modes", (7, 3, 1, 0), 1e30),
    "modes all 0": values("modes", np.zeros_like),
    "one mode 0": put("modes", np.s_[:, :, 1], 0.0),
    "modes never move": values("modes", lambda v: np.broadcast_to(v[:1], v.shape).copy()),
    "com all 0": values("com", np.zeros_like),
    "com never moves": values("com", lambda v: v * 0 + 5),
    "com is the first chain's": values("com", lambda v: v * 0 + v[:, :1]),
    "com is modes": lambda file: values("com", lambda v: file["mlgle/modes"][:, :, 0].astype(float))(file),
    "chains swapped in a frame": values("com", lambda v: np.concatenate([v[:20], v[20:, ::-1]])),
    "xyz swapped in a frame": values("modes", lambda v: np.concatenate([v[:20], v[20:, :, :, ::-1]])),
    "com jumps by a box": values(
        "com", lambda v: v + 6.0 * (np.arange(len(v)) > 20)[:, None, None] * np.eye(12)[:, :1]
    ),
    "com jumps by 1e6": values("com", lambda v: v + 1e6 * (np.arange(len(v)) > 20)[:, None, None] * np.eye(12)[:, :1]),
    "half the modes of another order": values("modes", lambda v: v[:, :, ::-1]),
    "com big-endian": values("com", lambda v: v.astype(">f8")),
    "com half precision": values("com", lambda v: v.astype("f2")),
    "modes double": values("modes", lambda v: v.astype("f8")),
    "steps of 8 bits": values("step", lambda v: (v // 10).astype("u1")),
    "steps below 0": values("step", lambda v: v - 10**6),
    "steps late": values("step", lambda v: v + 2**60),
    "two chains": both(values("com", lambda v: v[:, :2]), values("modes", lambda v: v[:, :2])),
    "one chain": both(values("com", lambda v: v[:, :1]), values("modes", lambda v: v[:, :1])),
    "no chain": both(values("com", lambda v: v[:, :0]), values("modes", lambda v: v[:, :0])),
    "no mode": values("modes", lambda v: v[:, :, :0]),
    "one mode": values("modes", lambda v: v[:, :, :1]),
    "chains alike": both(values("com", lambda v: v[:, [0] * 12]), values("modes", lambda v: v[:, [0] * 12])),
    "no segments": attribute("segments"),
    "segments as text": attribute("segments", "0, 20"),
    "every frame a segment": both(attribute("segments", np.arange(40)), attribute("segment_numbers", np.arange(40))),
    "segment numbers far apart": attribute("segment_numbers", np.array([0, 2**62])),
    "dt 1e-300": attribute("dt", 1e-300),
    "dt 1e300": attribute("dt", 1e300),
    "dt whole": attribute("dt", 4),
    "dt in a list": attribute("dt", np.array([4.0])),
    "no beads": attribute("n_beads"),
    "no every": attribute("every"),
    "beads 2": attribute("n_beads", 2),
    "beads 2^30": both(attribute("n_beads", 2**30), attribute("mode_variances")),
    "beads as text": attribute("n_beads", "6"),
    "no box": attribute("box"),
    "box as text": attribute("box", "6 6 6"),
    "no variances": attribute("mode_variances"),
    "no texts": attribute("texts"),
    "no attributes": lambda file: [
        file["mlgle"].attrs.__delitem__(name) for name in list(file["mlgle"].attrs) if name != "dt"
    ],
    "units with markup": texts(time_unit="<script>alert(1)</script>", length_unit="<img src=x onerror=alert(1)>"),
    "units with mathematics": texts(time_unit="$\\frac{", length_unit="$a$_{\\nothing}"),
    "units with a dollar": texts(time_unit="$", length_unit="\\"),
    "units of 10^5 letters": texts(time_unit="t" * 10**5, length_unit="l" * 10**5),
    "units with control characters": texts(time_unit="\0\x1b[31m", length_unit="\n\n\r"),
    "units beyond the plane": texts(time_unit="\U0001f600\u202e", length_unit="\ud800"),
    "units as templates": texts(time_unit="{{ 7*7 }}", length_unit="{% for x in y %}"),
    "units empty": texts(time_unit="", length_unit=""),
    "notes are 10^4": lambda file: file["mlgle"].attrs.create(
        "notes", ["<b>note</b>"] * 1000, dtype=h5py.string_dtype()
    ),
    "links in a circle": _cycle,
    "an unknown filter": _unknown_filter,
    "com compressed": lambda file: dataset("com", data=file["mlgle/com"][()], compression="gzip")(file),
    "10^6 frames, compressed": both(
        bomb("com", (12, 3), "f8", 250, 4000),
        bomb("modes", (12, 3, 3), "f4", 250, 4000),
        dataset("step", data=10 * np.arange(10**6), compression="gzip"),
        attribute("segments", np.array([0])),
        attribute("segment_numbers", np.array([0])),
    ),
}


def _in_h5(change: Change) -> Callable[[Path], object]:
    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return edit


def _beside(path: Path) -> None:
    """Put what links point to beside a file: a sound stream, and its bytes."""
    material.write_h5(path.parent / "secret.h5")
    (path.parent / "secret.bin").write_bytes(bytes(10**6))


def _h5(name: str, change: Change, expected: str) -> Case:
    def edit(path: Path) -> None:
        _beside(path)
        _in_h5(change)(path)

    return Case("modes.h5", name, mutated_file(material.write_h5, "s.h5", edit), *replay("s.h5"), expected)


# ------------------------------------------------------------------ .npz


def npz(**changes: Any) -> Callable[[Path], object]:
    """Change arrays of an .npz; None removes one, a function gets the array."""

    def edit(path: Path) -> None:
        with np.load(path) as archive:
            arrays = dict(archive)
        for name, change in changes.items():
            arrays[name] = change(arrays[name]) if callable(change) else change
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})

    return edit


def npz_member(name: str, content: bytes, compressed: bool = False) -> Callable[[Path], object]:
    """Replace the bytes of one member."""

    def edit(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
        kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", kind) as archive:
            for other, data in (members | {f"{name}.npy": content}).items():
                archive.writestr(other, data)

    return edit


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """Return an .npy file with any header."""
    text = header.encode("latin1")
    size = struct.pack(
        "<H" if version == b"\x01\x00" else "<I", len(text) % 65536 if version == b"\x01\x00" else len(text)
    )
    return b"\x93NUMPY" + version + size + text + data


def _header(shape: object, kind: str = "<f8") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n"


def _zip_slip(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../ran", "x")
        archive.writestr("/tmp/../ran", "x")


def _twice(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        data = archive.read("com.npy")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("com.npy", data[:-100])


def _encrypted(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[6] |= 1
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(bytes(data))


def _pickled() -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([Hostile("ran")], dtype=object), allow_pickle=True)
    return stream.getvalue()


SOUND = np.array([f.com for f in material.frames()])
NPZ_REFUSED: dict[str, Callable[[Path], object]] = {
    **{f"no {name}": npz(**{name: None}) for name in ("com", "modes", "dt")},
    **{f"{name} is NaN": npz(**{name: lambda v: np.full_like(v, np.nan)}) for name in ("com", "modes", "dt")},
    **{f"{name} as text": npz(**{name: lambda v: v.astype(str)}) for name in ("com", "modes", "dt")},
    **{f"{name} complex": npz(**{name: lambda v: v.astype(complex)}) for name in ("com", "modes", "dt")},
    **{f"{name} with frames missing": npz(**{name: lambda v: v[1:]}) for name in ("com", "modes")},
    **{f"{name} in Fortran order": npz(**{name: np.asfortranarray}) for name in ("com", "modes")},
    **{
        f"{name} is pickled code": npz_member(name, _pickled())
        for name in ("com", "modes", "dt", "n_beads", "time_unit")
    },
    "dt 0": npz(dt=0.0),
    "dt -4": npz(dt=-4.0),
    "dt twice": npz(dt=[4.0, 4.0]),
    "dt infinite": npz(dt=np.inf),
    "beads 0": npz(n_beads=0),
    "beads text": npz(n_beads="six"),
    "beads 3.5": npz(n_beads=3.5),
    "beads fewer than modes": npz(n_beads=2),
    "unit a number": npz(time_unit=3),
    "unit a list": npz(time_unit=["a", "b"]),
    "com of 10^12 frames": npz_member("com", npy(_header(f"({LONG}, 12, 3)"), bytes(960))),
    "com of 10^12 frames, packed": npz_member("com", npy(_header(f"({LONG}, 12, 3)"), bytes(960)), True),
    "com of -1 frames": npz_member("com", npy(_header("(-1, 12, 3)"), bytes(960))),
    "com of 10^30 frames": npz_member("com", npy(_header(f"({10**30}, 12, 3)"), bytes(960))),
    "com of a bomb": lambda path: npz_member(
        "com", npy(_header("(2000000, 12, 3)", "<f4"), bytes(144 * 2000000)), True
    )(path),
    "com with code for a header": npz_member("com", npy("__import__('os').system('touch ran')\n")),
    "com with code for a shape": npz_member("com", npy(_header("__import__('os').system('touch ran')"))),
    "com with a header of 10 MB": npz_member("com", npy("{" + " " * 10**7 + "}", version=b"\x02\x00")),
    "com with a deep header": npz_member("com", npy("(" * 5000 + ")" * 5000)),
    "com of version 9": npz_member("com", npy(_header("(40, 12, 3)"), SOUND.tobytes(), b"\x09\x00")),
    "com of an unknown type": npz_member("com", npy(_header("(40, 12, 3)", "<q9"), SOUND.tobytes())),
    "com of type object": npz_member("com", npy(_header("(40, 12, 3)", "|O"), SOUND.tobytes())),
    "com cut short": npz_member("com", npy(_header("(40, 12, 3)"), SOUND.tobytes()[:-8])),
    "com empty": npz_member("com", b""),
    "com with a longer end": npz_member("com", npy(_header("(40, 12, 3)"), SOUND.tobytes() + b"x")),
    "no chains": npz(com=lambda v: v[:, :0], modes=lambda v: v[:, :0]),
    "no frames": npz(com=lambda v: v[:0], modes=lambda v: v[:0]),
    "no modes": npz(modes=lambda v: v[:, :, :0]),
    "quantized without a scale": npz(modes=None, modes_q=np.zeros((40, 12, 3, 3), np.int8)),
    "quantized with a NaN scale": npz(modes=None, modes_q=np.zeros((40, 12, 3, 3), np.int8), scale=np.full(3, np.nan)),
    "encrypted": _encrypted,
    "no archive": lambda path: path.write_bytes(b"PK\x03\x04"),
    "a text file": lambda path: path.write_text("com modes dt\n"),
    "an empty file": lambda path: path.write_bytes(b""),
}
NPZ_DOUBTFUL: dict[str, Callable[[Path], object]] = {
    "members outside": _zip_slip,
    "com twice": _twice,
    "com big-endian": npz(com=lambda v: v.astype(">f8")),
    "com half precision": npz(com=lambda v: v.astype("f2")),
    "modes half precision": npz(modes=lambda v: v.astype("f2")),
    "modes of long doubles": npz(modes=lambda v: v.astype(np.longdouble)),
    "modes of 1e300": npz(modes=lambda v: v.astype(float) * 1e300),
    "com of 1e300": npz(com=lambda v: v * 1e300),
    "unit with markup": npz(time_unit="<script>alert(1)</script>", length_unit="</title>"),
    "unit with mathematics": npz(time_unit="$\\frac{", length_unit="$x"),
    "unit of NUL": npz(time_unit="a\0b"),
    "dt whole": npz(dt=4),
    "dt true": npz(dt=True),
    "dt in a list": npz(dt=[4.0]),
    "beads true": npz(n_beads=True),
    "quantized with scale 0": npz(modes=None, modes_q=np.ones((40, 12, 3, 3), np.int8), scale=np.zeros(3)),
    "more arrays": npz(other=np.arange(5), __proto__=np.zeros(3)),
}


# ------------------------------------------------------------------ journals and folders


def system_json(**changes: Any) -> Callable[[Path], object]:
    """Change what a journal says its stream is about; None removes an entry."""

    def edit(folder: Path) -> None:
        path = folder / "checkpoint" / "system.json"
        found = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))

    return edit


def chunk(edit: Callable[[Path], object], number: int = 1) -> Callable[[Path], object]:
    """Change one chunk of a journal."""
    return lambda folder: edit(folder / "checkpoint" / f"stream-{number:06d}.npz")


def _text(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "checkpoint" / "system.json").write_text(text)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(target: str) -> Callable[[Path], object]:
    def edit(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return edit


def _without_chunks(folder: Path) -> None:
    for path in folder.glob("checkpoint/*.npz"):
        path.unlink()


JOURNAL_REFUSED: dict[str, Callable[[Path], object]] = {
    **{f"no {name}": system_json(**{name: None}) for name in ("n_chains", "n_modes", "dt")},
    **{
        f"{name} is text": system_json(**{name: "x"})
        for name in ("n_chains", "n_modes", "n_beads", "dt", "every", "box")
    },
    **{f"{name} is -1": system_json(**{name: -1}) for name in ("n_chains", "n_modes", "n_beads", "dt", "every")},
    **{f"{name} is 2^70": system_json(**{name: 2**70}) for name in ("n_chains", "n_modes", "n_beads", "every")},
    **{f"{name} is a list": system_json(**{name: [1]}) for name in ("n_chains", "dt", "units", "source")},
    "n_chains is 10^9": system_json(n_chains=10**9),
    "every is another": system_json(every=7),
    "dt is true": system_json(dt="1"),
    "JSON cut": _text('{"n_chains": 12'),
    "JSON a list": _text("[]"),
    "JSON empty": _text(""),
    "JSON deep": _text(DEEP),
    "JSON huge": lambda folder: os.truncate(folder / "checkpoint" / "system.json", 2**40),
    "JSON NUL": _text("\0" * 100),
    "dt of 10^5 digits": _text('{"n_chains": 12, "n_beads": 6, "n_modes": 3, "dt": 1' + "0" * 10**5 + "}"),
    "a chunk missing": chunk(lambda path: path.unlink()),
    "a chunk far off": lambda folder: (folder / "checkpoint" / "stream-000009.npz").write_bytes(b"x"),
    "a chunk empty": chunk(lambda path: path.write_bytes(b"")),
    "a chunk cut": chunk(lambda path: os.truncate(path, path.stat().st_size // 2)),
    "a chunk grown to 1 TB": chunk(lambda path: os.truncate(path, 2**40)),
    "a chunk of pickles": chunk(npz_member("com", _pickled())),
    "a chunk without steps": chunk(npz(step=None)),
    "a chunk of 10^12 frames": chunk(npz_member("com", npy(_header(f"({LONG}, 12, 3)"), bytes(960)))),
    "a chunk of NaN": chunk(npz(com=lambda v: v * np.nan)),
    "a chunk of other chains": chunk(npz(com=lambda v: v[:, 1:])),
    "a chunk of fewer modes": chunk(npz(modes=lambda v: v[:, :, :2])),
    "a chunk of float steps": chunk(npz(step=lambda v: v * 1.0)),
    "a chunk of another time": chunk(npz(step=lambda v: v - 500)),
    "a chunk of an earlier segment": chunk(npz(segment=lambda v: v - 5)),
    "no chunk": _without_chunks,
    "first chunk a FIFO": chunk(_fifo, 0),
    "first chunk /dev/zero": chunk(_link("/dev/zero"), 0),
    "system.json a FIFO": lambda folder: _fifo(folder / "checkpoint" / "system.json"),
    "system.json /dev/zero": lambda folder: _link("/dev/zero")(folder / "checkpoint" / "system.json"),
}
JOURNAL_DOUBTFUL: dict[str, Callable[[Path], object]] = {
    "modes.h5 beside it, empty": lambda folder: (folder / "modes.h5").write_bytes(b""),
    "modes.h5 a FIFO": lambda folder: os.mkfifo(folder / "modes.h5"),
    "modes.h5 /dev/zero": lambda folder: (folder / "modes.h5").symlink_to("/dev/zero"),
    "stray files": lambda folder: [
        (folder / "checkpoint" / name).write_bytes(b"x") for name in ("a.tmp", "stream-1.npz")
    ],
    "last chunk missing": chunk(lambda path: path.unlink(), 3),
    "a note with markup": system_json(notes=["<script>alert(1)</script>"]),
    "notes are a number": system_json(notes=5),
    "notes are null in a list": system_json(notes=[None, {"a": 1}]),
    "unknown entries": system_json(x=1, **{"__class__": "os"}),
    "dt a whole number": system_json(dt=4),
    "n_chains a real number": system_json(n_chains=12.0),
    "source very long": system_json(source="s" * 10**5),
    "source with lines": system_json(source="a\nmlgle replay: error: b"),
}


def _journal(name: str, edit: Callable[[Path], object], expected: str) -> Case:
    return Case("journal", name, mutated_file(material.write_killed_run, "run", edit), *replay("run"), expected)


# ------------------------------------------------------------------ random damage


def _bytes(seed: int) -> Callable[[Path], object]:
    def edit(path: Path) -> None:
        path.write_bytes(damaged_bytes(path.read_bytes(), seed)[0])

    return edit


def _words(seed: int) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        path = folder / ("traj.dump" if seed % 2 else "chains.data")
        path.write_text(damaged_text(path.read_text(), seed)[0])

    return edit


TRAJECTORY = ("traj/traj.dump", "--topology", "traj/chains.data", "--timestep", 0.4)


def random_cases(seed: int, n: int) -> Iterator[Case]:
    """Yield about ``n`` cases of random damage to streams and trajectories."""
    for number in range(seed * 10**6, seed * 10**6 + n):
        turn = number % 5
        if turn < 2:
            make = mutated_file(material.write_h5, "s.h5", _bytes(number))
            yield Case("modes.h5", f"random {number}", make, *replay("s.h5"))
        elif turn == 2:
            make = mutated_file(material.write_npz, "s.npz", _bytes(number))
            yield Case(".npz", f"random {number}", make, *replay("s.npz"))
        elif turn == 3:
            make = mutated_file(material.write_killed_run, "run", chunk(_bytes(number), number % 4))
            yield Case("journal", f"random {number}", make, *replay("run"))
        else:
            make = mutated_file(material.write_trajectory, "traj", _words(number))
            yield Case("dump", f"random {number}", make, *replay(*TRAJECTORY))


def sound_cases() -> Iterator[Case]:
    """Yield the inputs as they are."""
    yield Case("modes.h5", "sound", mutated_file(material.write_h5, "s.h5"), *replay("s.h5"), "pass")
    yield Case(".npz", "sound", mutated_file(material.write_npz, "s.npz"), *replay("s.npz"), "pass")
    yield Case("journal", "sound", mutated_file(material.write_killed_run, "run"), *replay("run"), "pass")
    yield Case("dump", "sound", mutated_file(material.write_trajectory, "traj"), *replay(*TRAJECTORY), "pass")


def named_cases() -> Iterator[Case]:
    """Yield the named mutations."""
    for table, expected in ((REFUSED, "refuse"), (DOUBTFUL, "any")):
        for name, change in table.items():
            yield _h5(name, change, expected)
    for edits, expected in ((NPZ_REFUSED, "refuse"), (NPZ_DOUBTFUL, "any")):
        for name, edit in edits.items():
            yield Case(".npz", name, mutated_file(material.write_npz, "s.npz", edit), *replay("s.npz"), expected)
    for edits, expected in ((JOURNAL_REFUSED, "refuse"), (JOURNAL_DOUBTFUL, "any")):
        for name, edit in edits.items():
            yield _journal(name, edit, expected)
