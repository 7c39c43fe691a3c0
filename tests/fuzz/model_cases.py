"""Models, results and generated trajectories that are not what they claim, for generate, compare and reconstruct."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fuzz import material
from fuzz.cases import Case, Hostile, mutated_file
from fuzz.damage import damaged_bytes
from fuzz.stream_cases import _in_h5, attribute, both, claim, dataset, put, texts, values

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


def _in_model(change: Callable[[Plain], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "model.pt"
        plain = torch.load(path, weights_only=True)
        change(plain)
        torch.save(plain, path)

    return edit


def _model_bytes(make: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / "model.pt").write_bytes(make((folder / "model.pt").read_bytes()))

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


FILE_REFUSED: dict[str, Callable[[Path], None]] = {
    "malicious, of torch": _model_bytes(lambda data: _torch_of(Hostile("ran"))),
    "malicious, of old torch": _model_bytes(lambda data: _torch_of(Hostile("ran"), legacy=True)),
    "malicious entry": _model_bytes(
        lambda data: _torch_of({"format": "mlgle surrogate", "schema": 1, "x": Hostile("ran")})
    ),
    "malicious, a pickle": _model_bytes(lambda data: pickle.dumps(Hostile("ran"))),
    **{
        f"a pickle that calls {m}.{n}": _model_bytes(lambda data, m=m, n=n: _global(m, n))
        for m, n in (
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("subprocess", "getoutput"),
            ("torch", "load"),
        )
    },
    "a module": _model_bytes(lambda data: _torch_of(torch.nn.Linear(2, 2))),
    "a list": _model_bytes(lambda data: _torch_of([1])),
    "a tensor": _model_bytes(lambda data: _torch_of(torch.zeros(3))),
    "an empty object": _model_bytes(lambda data: _torch_of({})),
    "no file": lambda folder: (folder / "model.pt").unlink(),
    "an empty file": _model_bytes(lambda data: b""),
    "text": _model_bytes(lambda data: b"model"),
    "half": _model_bytes(lambda data: data[: len(data) // 2]),
    "grown to 1 TB": lambda folder: os.truncate(folder / "model.pt", 2**40),
    "deep": _model_bytes(lambda data: _nested(10**5)),
    "a bomb": _model_bytes(_packed),
    "a folder": lambda folder: ((folder / "model.pt").unlink(), (folder / "model.pt").mkdir()),
    "a FIFO": lambda folder: ((folder / "model.pt").unlink(), os.mkfifo(folder / "model.pt")),
    "/dev/zero": lambda folder: ((folder / "model.pt").unlink(), (folder / "model.pt").symlink_to("/dev/zero")),
    "a JIT archive": _model_bytes(lambda data: _scripted()),
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


def _finished(make: Callable[[Path], None], source: Path) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        make(material.copy_run(source, folder / "run"))

    return prepare


def _result(changes: dict[str, Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def _file(name: str, edit: Callable[[Path], None]) -> Callable[[Path], None]:
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


def sound_cases() -> Iterator[Case]:
    """Yield the models as they are."""
    yield Case("model.pt", "sound", mutated_file(material.write_model_run, "run"), *GENERATE, "pass")
    for name, options in (("sound, published", {"preset": "paper"}), ("sound, linear", {"with_networks": False})):

        def write(folder: Path, options: dict[str, Any] = options) -> object:
            return material.write_model_run(folder, **options)

        yield Case("model.pt", name, mutated_file(write, "run"), *GENERATE, "pass")


def named_cases() -> Iterator[Case]:
    """Yield the named mutations of model files."""
    for table, expected in ((MODEL_REFUSED, "refuse"), (MODEL_DOUBTFUL, "any")):
        for name, change in table.items():
            yield Case(
                "model.pt", name, mutated_file(material.write_model_run, "run", _in_model(change)), *GENERATE, expected
            )
    for name, edit in FILE_REFUSED.items():
        yield Case("model.pt", name, mutated_file(material.write_model_run, "run", edit), *GENERATE, "refuse")


def random_cases(seed: int, n: int) -> Iterator[Case]:
    """Yield model files with random damage."""
    for number in range(seed * 10**6, seed * 10**6 + n):

        def damage(data: bytes, number: int = number) -> bytes:
            return damaged_bytes(data, number)[0]

        yield Case(
            "model.pt",
            f"random {number}",
            mutated_file(material.write_model_run, "run", _model_bytes(damage)),
            *GENERATE,
        )
