"""Models, results and generated trajectories that are not what they claim, for generate, compare and reconstruct."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as bytes_of

from fuzz import material
from fuzz.cases import Case, Hostile, mutated_file
from fuzz.damage import damaged_bytes
from fuzz.stream_cases import _in_h5, attribute, both, claim, dataset, put, texts, values
from mlgle_lammps.surrogates import model_file

Plain = dict[str, Any]
GENERATE = ("generate", ("run", "--steps", 300, "--ensemble", 6, "--threads", 1, "--out", "g.h5"))
LONG = 10**12


def entry(name: str, value: Any) -> Callable[[Plain], None]:
    """Replace an entry of the model; a function gets the old value."""

    def change(plain: Plain) -> None:
        plain[name] = value(plain[name]) if callable(value) else value

    return change


def without(name: str) -> Callable[[Plain], None]:
    """Remove an entry."""
    return lambda plain: plain.__delitem__(name)


def tensor(name: str, value: Any) -> Callable[[Plain], None]:
    """Replace a tensor of the networks; a function gets the old one, None removes it."""

    def change(plain: Plain) -> None:
        old = plain["tensors"].pop(name)
        if value is not None:
            plain["tensors"][name] = value(old) if callable(value) else value

    return change


def scaled(factor: float) -> Callable[[Plain], None]:
    """Multiply all weights."""

    def change(plain: Plain) -> None:
        plain["tensors"] = {name: factor * t for name, t in plain["tensors"].items()}

    return change


def _shared_zero(*shape: int) -> torch.Tensor:
    return torch.zeros(1).expand(*shape)


TENSORS = ("sigma", "sigma_increment", "coefficients", "innovation_variance", "history")
ENTRIES = ("preset", "memory", "orders", "network_modes", "lags", "windows", "tensors", "reports", "notes", "alpha",
           "beta_sq", "dt", "time_unit", "length_unit", *TENSORS)  # fmt: skip
MODEL_REFUSED: dict[str, Callable[[Plain], None]] = {
    **{f"no {name}": without(name) for name in (*ENTRIES, "format", "schema")},
    **{f"{name} is a string": entry(name, "x") for name in ENTRIES if name not in ("time_unit", "length_unit")},
    **{f"{name} is None": entry(name, None) for name in TENSORS},
    **{f"{name} is NaN": entry(name, lambda t: t * float("nan")) for name in TENSORS},
    **{f"{name} is infinite": entry(name, float("inf")) for name in ("alpha", "beta_sq", "dt")},
    **{f"{name} is empty": entry(name, lambda t: t[:0]) for name in TENSORS},
    **{f"{name} has an axis more": entry(name, lambda t: t[None]) for name in TENSORS},
    **{f"{name} is complex": entry(name, lambda t: t.to(torch.complex64)) for name in TENSORS},
    **{f"{name} is sparse": entry(name, lambda t: t.to_sparse()) for name in TENSORS},
    **{f"{name} is meta": entry(name, lambda t: t.to("meta")) for name in TENSORS},
    "history of 10^12 frames": entry("history", _shared_zero(LONG, 12, 3, 3)),
    "history of 10^9 chains": entry("history", _shared_zero(8, 10**9, 3, 3)),
    "history of other modes": entry("history", torch.zeros(8, 12, 5, 3)),
    "history without chains": entry("history", torch.zeros(8, 0, 3, 3)),
    "coefficients of 10^9 lags": entry("coefficients", _shared_zero(3, 10**9)),
    "memory 0": entry("memory", 0),
    "memory -1": entry("memory", -1),
    "memory 10^12": entry("memory", LONG),
    "memory 1": entry("memory", 1),
    "memory a list": entry("memory", [8]),
    "orders of 10^18": entry("orders", [10**18] * 3),
    "orders 0": entry("orders", [0, 0, 0]),
    "orders real": entry("orders", [1.5, 2.0, 2.0]),
    "orders too few": entry("orders", [2, 2]),
    "orders none": entry("orders", []),
    "sigma 0": entry("sigma", lambda t: 0 * t),
    "sigma below 0": entry("sigma", lambda t: -t),
    "innovation below 0": entry("innovation_variance", lambda t: -t),
    "dt 0": entry("dt", 0.0),
    "dt -1": entry("dt", -1.0),
    "network modes twice": entry("network_modes", [0, 0]),
    "network modes beyond": entry("network_modes", [0, 7]),
    "network modes below 0": entry("network_modes", [-1, 0]),
    "network modes real": entry("network_modes", [0.5, 1.0]),
    "network modes more": entry("network_modes", [0, 1, 2]),
    "lags beyond": entry("lags", [1, 2, 400]),
    "lags of 10^12": entry("lags", [LONG]),
    "lags below 0": entry("lags", [-1, 2, 4]),
    "lags 0": entry("lags", [0, 2, 4]),
    "lags real": entry("lags", [1.5, 2, 4]),
    "lags strings": entry("lags", ["1", "2", "4"]),
    "windows 0": entry("windows", [0]),
    "windows -4": entry("windows", [-4]),
    "windows beyond": entry("windows", [4000]),
    "10^6 windows": entry("windows", list(range(1, 8)) * 10**5),
    "weights NaN": tensor("w2", lambda t: t * float("nan")),
    "weights missing": tensor("w2", None),
    "weights of another shape": tensor("w1", lambda t: t[:, 1:]),
    "weights a list": tensor("w1", [1.0]),
    "weights sparse": tensor("w1", lambda t: t.to_sparse()),
    "weights meta": tensor("w1", lambda t: t.to("meta")),
    "weights complex": tensor("w1", lambda t: t.to(torch.complex64)),
    "weights whole numbers": tensor("w1", lambda t: t.to(torch.int64)),
    "scale 0": tensor("basis_scale", lambda t: 0 * t),
    "feature_sd 0": tensor("feature_sd", lambda t: 0 * t),
    "activity scale -1": tensor("activity_scale", lambda t: -t),
    "activity scale 0": tensor("activity_scale", lambda t: 0 * t),
    "published with these networks": entry("preset", "paper"),
    "another schema": entry("schema", 2),
    "schema true": entry("schema", "1"),
    "another format": entry("format", "x"),
    "another preset": entry("preset", "best"),
    "no network modes": entry("tensors", {}),
    "unstable core": entry("coefficients", lambda t: t * 0 + 1.5),
    "unstable by far": entry("coefficients", lambda t: t * 0 + 1e30),
    "another time step": entry("dt", 7.0),
    "of other frames": entry("history", lambda t: t + 1),
    "reports with other entries": entry("reports", [{"a": 1}]),
    "reports numbers": entry("reports", [1, 2]),
}
MODEL_DOUBTFUL: dict[str, Callable[[Plain], None]] = {
    "alpha 1e300": entry("alpha", 1e300),
    "alpha 1e30": entry("alpha", 1e30),
    "alpha -1": entry("alpha", -1.0),
    "alpha 0": entry("alpha", 0.0),
    "beta^2 1e300": entry("beta_sq", 1e300),
    "beta^2 -1e300": entry("beta_sq", -1e300),
    "alpha a list": entry("alpha", [0.3]),
    "dt 1e300": entry("dt", 1e300),
    "dt 1e-300": entry("dt", 1e-300),
    "dt true": entry("dt", True),
    "sigma 1e-300": entry("sigma", lambda t: t * 1e-300),
    "sigma 1e300": entry("sigma", lambda t: t * 1e300),
    "sigma 1e-10": entry("sigma", lambda t: t * 1e-10),
    "sigma half": entry("sigma", lambda t: t.to(torch.float16)),
    "no noise": entry("innovation_variance", lambda t: 0 * t),
    "noise 1e300": entry("innovation_variance", lambda t: t * 1e300),
    "noise 25": entry("innovation_variance", lambda t: t * 0 + 25),
    "weights times 100": scaled(100.0),
    "weights times 1e30": scaled(1e30),
    "weights 0": scaled(0.0),
    "scale 1e-30": tensor("basis_scale", lambda t: 1e-30 * t),
    "scale 1e30": tensor("basis_scale", lambda t: 1e30 * t),
    "offset 100": tensor("log_variance_offset", lambda t: t + 100),
    "offset 1e30": tensor("log_variance_offset", lambda t: t + 1e30),
    "linear part 1e30": tensor("linear_part", lambda t: t + 1e30),
    "feature_sd 1e-30": tensor("feature_sd", lambda t: 1e-30 * t),
    "weights double": tensor("w1", lambda t: t.double()),
    "weights a parameter": tensor("w1", torch.nn.Parameter),
    "weights transposed in memory": tensor("w1", lambda t: t.transpose(1, 2).contiguous().transpose(1, 2)),
    "more tensors": lambda plain: plain["tensors"].update(other=_shared_zero(10**12)),
    "more entries": entry("code", "import os"),
    "core at a unit root": entry("coefficients", lambda t: torch.tensor([[1.0, 0.0]] * 3, dtype=torch.float64)),
    "core near a unit root": entry("coefficients", lambda t: torch.tensor([[0.99999, 0.0]] * 3, dtype=torch.float64)),
    "core swings": entry("coefficients", lambda t: torch.tensor([[-1.0, -0.999]] * 3, dtype=torch.float64)),
    "units with markup": entry("time_unit", "<script>alert(1)</script>"),
    "a unit a number": entry("time_unit", 5),
    "10^5 notes": entry("notes", ["<b>"] * 10**5),
    "notes numbers": entry("notes", [1, 2]),
    "modes as a tensor": entry("network_modes", torch.tensor([0, 2])),
    "memory 8.0": entry("memory", 8.0),
    "history double": entry("history", lambda t: t.double()),
    "history of one chain": entry("history", lambda t: t[:, :1]),
}


NOT_IN_SAFETENSORS = ("sparse", "meta", "10^12 frames", "10^9", "a list", "format", "schema", "tensors", "parameter",
                      "transposed", "more tensors", "is complex")  # fmt: skip
"""Parts of the names of mutations that only torch can store."""
PT, SAFETENSORS = "model.pt", "model.safetensors"


def _in_model_pt(change: Callable[[Plain], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        plain = torch.load(folder / PT, weights_only=True)
        change(plain)
        torch.save(plain, folder / PT)

    return edit


def _in_safetensors(change: Callable[[Plain], None]) -> Callable[[Path], None]:
    """Change a model and store it with a right checksum."""

    def edit(folder: Path) -> None:
        found = model_file.read_model(folder / SAFETENSORS, "ml-gle")
        own = {name: t for name, t in found.tensors.items() if "." not in name}
        networks = {name.removeprefix("network."): t for name, t in found.tensors.items() if "." in name}
        plain = {**found.values, **own, "tensors": networks}
        change(plain)
        tensors = {f"network.{name}": t for name, t in plain.pop("tensors").items()}
        tensors |= {name: t for name, t in plain.items() if isinstance(t, torch.Tensor)}
        tensors = {name: t.contiguous().clone() for name, t in tensors.items()}
        text = json.dumps({name: value for name, value in plain.items() if name not in tensors})
        told = {"format": "mlgle model", "schema": "2", "surrogate": "ml-gle", "values": text}
        told["sha256"] = model_file._checksum("ml-gle", text, tensors)
        (folder / SAFETENSORS).write_bytes(bytes_of(tensors, told))

    return edit


def _header(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Change the header of a safetensors file, or put bytes in its place."""

    def made(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        new = change(header)
        text = new if isinstance(new, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return made


def _told(**changes: Any) -> Callable[[bytes], bytes]:
    return _header(lambda header: header["__metadata__"].update(changes))


def _bytes_of(file: str, make: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / file).write_bytes(make((folder / file).read_bytes()))

    return edit


def _torch_of(value: Any, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def _nested(depth: int) -> bytes:
    """Return a model file whose pickle is a list in a list in a list."""
    stream = io.BytesIO(_torch_of({}))
    out = io.BytesIO()
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = (
                b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"." if name.endswith("data.pkl") else old.read(name)
            )
            new.writestr(name, data)
    return out.getvalue()


def _packed(data: bytes) -> bytes:
    """Return a zip archive with a record of 2 GB of zeros, deflated."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for name in old.namelist():
            new.writestr(name, bytes(2**28) if name.endswith("/data/0") else old.read(name))
    return out.getvalue()


def _global(module: str, name: str) -> bytes:
    """Return a pickle that calls a function of any module with ``touch ran``."""
    return f"c{module}\n{name}\n(S'touch ran'\ntR.".encode()


def _in_place_of_all(data: bytes) -> Callable[[bytes], bytes]:
    return lambda sound: data


BYTES_REFUSED: dict[str, Callable[[bytes], bytes]] = {
    "malicious, of torch": lambda data: _torch_of(Hostile("ran")),
    "malicious, of old torch": lambda data: _torch_of(Hostile("ran"), legacy=True),
    "malicious entry": lambda data: _torch_of({"format": "mlgle surrogate", "schema": 1, "x": Hostile("ran")}),
    "malicious, a pickle": lambda data: pickle.dumps(Hostile("ran")),
    **{
        f"a pickle that calls {m}.{n}": _in_place_of_all(_global(m, n))
        for m, n in (
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("subprocess", "getoutput"),
            ("torch", "load"),
        )
    },
    "a module": lambda data: _torch_of(torch.nn.Linear(2, 2)),
    "a list": lambda data: _torch_of([1]),
    "a tensor": lambda data: _torch_of(torch.zeros(3)),
    "an empty object": lambda data: _torch_of({}),
    "an empty file": lambda data: b"",
    "text": lambda data: b"model",
    "half": lambda data: data[: len(data) // 2],
    "a JIT archive": lambda data: _scripted(),
}
ARCHIVE_REFUSED: dict[str, Callable[[bytes], bytes]] = {"deep": lambda data: _nested(10**5), "a bomb": _packed}
HEADER_REFUSED: dict[str, Callable[[bytes], bytes]] = {
    "header of 2^62 bytes": lambda data: struct.pack("<Q", 2**62) + data[8:],
    "header of 64 MB": _header(lambda header: b" " * 2**26),
    "header empty": _header(lambda header: b""),
    "header deep": _header(lambda header: b"[" * 10**6),
    "header a list": _header(lambda header: b"[]"),
    "header no text": _header(lambda header: b"\xff\xfe" * 9),
    "header without metadata": _header(lambda header: header.pop("__metadata__")),
    "header of another format": _told(format="x"),
    "header of another schema": _told(schema="3"),
    "header of another surrogate": _told(surrogate="<b>"),
    "header with another checksum": _told(sha256="0" * 64),
    "header without values": _told(values="[]"),
    "header with deep values": _told(values="[" * 10**5),
    "offsets beyond": _header(lambda header: header["history"].update(data_offsets=[0, LONG])),
    "offsets below 0": _header(lambda header: header["history"].update(data_offsets=[-8, 0])),
    "offsets real": _header(lambda header: header["history"].update(data_offsets=[0.5, 1e30])),
    "offsets of others": _header(lambda header: header["history"].update(header["sigma"])),
    "shape of 10^12": _header(lambda header: header["history"].update(shape=[LONG, 1, 3, 3])),
    "shape below 0": _header(lambda header: header["history"].update(shape=[-1, -1])),
    "type unknown": _header(lambda header: header["history"].update(dtype="F7")),
    "type another": _header(lambda header: header["history"].update(dtype="I32")),
    "a tensor renamed": _header(lambda header: header.update(histori=header.pop("history"))),
}
"""For model.safetensors, beside the bytes that fit any file."""


def file_refused(file: str) -> dict[str, Callable[[Path], object]]:
    """Return what is done to a model's file as a whole, or to the stream beside it."""
    more = ARCHIVE_REFUSED if file == PT else HEADER_REFUSED

    def remove(folder: Path) -> Path:
        (folder / file).unlink()
        return folder / file

    return {
        **{name: _bytes_of(file, make) for name, make in {**BYTES_REFUSED, **more}.items()},
        "no file": remove,
        "grown to 1 TB": lambda folder: os.truncate(folder / file, 2**40),
        "a folder": lambda folder: remove(folder).mkdir(),
        "a FIFO": lambda folder: os.mkfifo(remove(folder)),
        "/dev/zero": lambda folder: remove(folder).symlink_to("/dev/zero"),
        "modes.h5 of 10^12 frames": lambda folder: _in_h5(claim(LONG))(folder / "modes.h5"),
        "modes.h5 missing": lambda folder: (folder / "modes.h5").unlink(),
    }


def _scripted() -> bytes:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), stream)
    return stream.getvalue()


# ------------------------------------------------------------------ result.json for compare, *.h5 for reconstruct

COMPARE = ("compare", ("run", "--out", "compared"))
RECONSTRUCT = ("reconstruct", ("run", "--trajectories", 3))
MARKUP = "<script>alert(1)</script>"
RESULTS: dict[str, dict[str, Any]] = {
    **{
        f"{name} {word}": {name: value}
        for name in (
            "D",
            "k",
            "m",
            "dt",
            "handoff",
            "timing",
            "fit",
            "modes",
            "warnings",
            "D_generated",
            "versions",
            "n_beads",
            "D_online",
            "variables",
            "status",
        )
        for word, value in (("null", None), ("a string", MARKUP), ("-1", -1), ("deep", [[[[]]]]), ("10^30", 10**30))
    },
    "D NaN": {"D": {"value": float("nan"), "ci95": [0, 1]}},
    "D 1e300": {"D": {"value": 1e300, "ci95": [1e299, 1e301], "se": 1e299}},
    "units with markup": {"length_unit": MARKUP, "time_unit": "</title><img src=x onerror=alert(1)>"},
    "units with mathematics": {"length_unit": "$\\frac{", "time_unit": "$x"},
    "source with markup": {"source": MARKUP},
    "notes with markup": {"notes": [MARKUP], "warnings": [MARKUP, "{{ 7*7 }}"]},
    "modes of strings": {"modes": [{"mode": "x", "relaxation_time": "y"}]},
    "modes of 10^5": {"modes": [{"mode": 1}] * 10**5},
    "frames more than there are": {"handoff": {"frames": 10**9}},
    "frames none": {"handoff": {"frames": 0}},
    "temperature a string": {"variables": {"T": [MARKUP]}},
    "temperature 1e400": {"variables": {"T": ["1e400"]}},
}


def _finished(make: Callable[[Path], object], source: Path) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        make(material.copy_run(source, folder / "run"))

    return prepare


def _result(changes: dict[str, Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def _file(name: str, edit: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: edit(folder / name)


GENERATED: dict[str, Callable[[Any], Any]] = {
    "10^12 frames": claim(LONG),
    "NaN": put("modes", (30, 1), np.nan),
    "com missing": dataset("com"),
    "no beads": attribute("n_beads"),
    "beads 3": attribute("n_beads", 3),
    "beads 2^30": both(attribute("n_beads", 2**30), attribute("mode_variances")),
    "no integrator": attribute("integrator_dt"),
    "other units": texts(length_unit="nm"),
    "other steps": attribute("dt", 9.0),
    "fewer modes": values("modes", lambda v: v[:, :, :1]),
    "1e14": values("com", lambda v: v + 1e14),
    "units with markup": texts(length_unit=MARKUP),
    "no frames": both(
        *(values(n, lambda v: v[:0]) for n in ("com", "modes", "step")), attribute("segments", np.zeros(0, int))
    ),
}
LOGS = {"a log of noise": "\0" * 10**5, "a log of words": "Step Temp\nx y\nLoop time of\n" * 1000,
        "a log of YAML": "---\nkeywords: [Step, Temp]\n",
        "a log with code": "---\n!!python/object/apply:os.system ['touch ran']\n...\n"}  # fmt: skip


def finished_cases(run: Path) -> Iterator[Case]:
    """Yield mutations of what a finished run leaves, for the commands that read it; ``run`` is such a folder."""
    yield Case("compare", "sound", _finished(lambda folder: None, run), *COMPARE, "pass")
    yield Case("reconstruct", "sound", _finished(lambda folder: None, run), *RECONSTRUCT, "pass")
    for name, changes in RESULTS.items():
        draw = "units" in name
        yield Case("compare", f"result.json: {name}", _finished(_result(changes), run), *COMPARE, draw=draw)
    for name, text in LOGS.items():

        def write(folder: Path, text: str = text) -> None:
            (folder / "log.lammps").write_text(text)

        yield Case("compare", name, _finished(write, run), *COMPARE, draw=False)
    for file in ("generated.h5", "modes.h5"):
        for name, change in GENERATED.items():
            yield Case("reconstruct", f"{file}: {name}", _finished(_file(file, _in_h5(change)), run), *RECONSTRUCT)


# ------------------------------------------------------------------ all of them


WRITERS: dict[str, Callable[..., object]] = {PT: material.write_model_pt, SAFETENSORS: material.write_model_run}


def sound_cases() -> Iterator[Case]:
    """Yield the models as they are."""
    for file, written in WRITERS.items():
        for name, options in (
            ("sound", {}),
            ("sound, published", {"preset": "paper"}),
            ("sound, linear", {"with_networks": False}),
        ):

            def write(folder: Path, written: Any = written, options: dict[str, Any] = options) -> object:
                return written(folder, **options)

            yield Case(file, name, mutated_file(write, "run"), *GENERATE, "pass")


def named_cases() -> Iterator[Case]:
    """Yield the named mutations of model files."""
    for file, written in WRITERS.items():
        change_in = _in_model_pt if file == PT else _in_safetensors
        for table, expected in ((MODEL_REFUSED, "refuse"), (MODEL_DOUBTFUL, "any")):
            for name, change in table.items():
                if file == PT or not any(part in name for part in NOT_IN_SAFETENSORS):
                    yield Case(file, name, mutated_file(written, "run", change_in(change)), *GENERATE, expected)
        for name, edit in file_refused(file).items():
            yield Case(file, name, mutated_file(written, "run", edit), *GENERATE, "refuse")


def random_cases(seed: int, n: int) -> Iterator[Case]:
    """Yield model files with random damage, of each kind in turn."""
    for number in range(seed * 10**6, seed * 10**6 + n):
        file = SAFETENSORS if number % 2 else PT

        def damage(data: bytes, number: int = number) -> bytes:
            return damaged_bytes(data, number)[0]

        edit = _bytes_of(file, damage)
        yield Case(file, f"random {number}", mutated_file(WRITERS[file], "run", edit), *GENERATE)
