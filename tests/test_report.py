import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.errors import RunFailure
from mlgle_lammps.evaluate.stream_statistics import StreamStatistics
from mlgle_lammps.records import joined
from mlgle_lammps.report import plots
from mlgle_lammps.report.plots import Curve, Level
from mlgle_lammps.report.report import (
    Picture,
    RunCurves,
    duration,
    interval,
    number,
    remake_run_report,
    write_report,
    write_run_report,
)
from mlgle_lammps.statistics.correlation import autocorrelation
from mlgle_lammps.statistics.moments import MomentAccumulator
from mlgle_lammps.store.run_folder import RunFolder

RESULT: dict[str, Any] = {
    "schema": 1,
    "status": "complete",
    "source": "in.melt",
    "D": {"value": 0.0123456, "ci95": [0.0111, 0.0136], "se": 0.0006, "units": "sigma^2/tau", "method": "GLE fit"},
    "D_online": [
        {"frames": 33, "value": 0.014, "ci95": [0.005, 0.023]},
        {"frames": 90, "value": 0.0123456, "ci95": [0.0111, 0.0136]},
    ],
    "D_generated": {"value": 0.0125, "ci95": [0.0115, 0.0135], "se": 0.0005, "method": "slope"},
    "D_full_md": {"value": 0.0099, "ci95": [0.0083, 0.0115], "se": 0.0008, "method": "late slope"},
    "alpha": 0.157,
    "beta": None,
    "fit": {"lags": [1, 2, 4], "chi2": 3.21, "dof": 1, "p": 0.07},
    "k": 2,
    "m": 32,
    "dt": 2.0,
    "time_unit": "tau",
    "length_unit": "sigma",
    "modes": [
        {"mode": 1, "relaxation_time": 87.63, "val_nll": 3.21, "model": "AR(8)", "stationary_variance_ratio": 1.043},
        {"mode": 2, "relaxation_time": None, "val_nll": float("nan"), "model": None, "stationary_variance_ratio": None},
    ],
    "handoff": {"policy": "train", "frames": 90, "step": 18000, "wall_s": 4000.0},
    "timing": {"md_s": 61.0, "callback_s": 0.5, "train_s": 12.0, "generate_s": None, "total_s": 80.0},
    "warnings": ["2 molecules were left out"],
    "seed": 17,
    "versions": {"numpy": "9.9.9"},
}


class Page(HTMLParser):
    """Collect text and every address that a browser would load by itself."""

    def __init__(self, path):
        super().__init__()
        self.text, self.loaded, self.links, self.tags = "", [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "href" and tag == "a":
                self.links.append(value)
            elif name in ("src", "href", "srcset", "data", "action", "background"):
                self.loaded.append(value)

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def curves():
    source = RouseSource(6, 10, 2, 90, 2.0, seed=4)
    frames = joined(list(source))
    md, full = MomentAccumulator(6, 2, 32), MomentAccumulator(6, 0, 22)
    md.add(frames)
    full.add(frames)
    statistics = StreamStatistics(6, 2, 90)
    statistics.add(frames)
    correlation = autocorrelation(frames.modes, np.zeros(90, dtype=np.int64), 45)
    return RunCurves(md.moments(), correlation, statistics.summary(), full.moments(), [80.0, None])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, curves):
    made = RunFolder.create(tmp_path_factory.mktemp("report") / "run")
    assert write_run_report(made, RESULT, curves) == made.report
    return made


def test_the_page_of_a_run_holds_its_numbers_and_its_pictures(folder):
    page = Page(folder.report)
    for words in (
        "D = 0.01235 σ²/τ", "95% interval 0.0111 to 0.0136 σ²/τ, per dimension", "GLE fit", "0.0125", "0.009900",
        "87.6", "1.04", "AR(8)", "1, 2, 4", "3.21 / 1", "17", "numpy 9.9.9", "2 molecules were left out",
        "1 h 07 min", "1 min 01 s", "18000", "10.1016/j.jcp.2024.113210",
    ):  # fmt: skip
        assert words in page.text, words
    # z = (0.0123456 - 0.0099) / hypot(0.0006, 0.0008)
    assert "+2.4" in page.text
    assert "None" not in page.text
    assert "nan" not in page.text.lower()
    assert page.tags.count("img") == 4
    names = {path.name for path in folder.figures.iterdir()}
    assert names == {f"{n}.{kind}" for n in ("diffusion", "msd", "nacf", "modes") for kind in ("png", "pdf")}


def test_the_page_calls_the_surrogate_by_its_name(tmp_path, folder):
    made = RunFolder.create(tmp_path / "run")
    made.write_result(RESULT | {"surrogate": "nm-mb"})
    shutil.copytree(folder.figures, made.figures)
    page = Page(remake_run_report(made))
    assert "Chain diffusion by NM-MB" in page.text
    assert "NM-MB fit (this result)" in page.text
    assert page.text.count("That of NM-MB") == 2
    before = "ML-GLE: a machine learning enhanced"  # the citation, which stays
    assert "ML-GLE" not in page.text.replace(before, "")
    assert "That of ML-GLE" in Page(folder.report).text  # negative control


def test_the_page_loads_nothing_from_anywhere(folder):
    page = Page(folder.report)
    assert page.loaded
    assert all(address.startswith("data:image/png;base64,") for address in page.loaded)
    assert page.links == ["https://doi.org/10.1016/j.jcp.2024.113210"]
    assert "script" not in page.tags
    assert not re.search(r"@import|url\(", page.source)


def test_what_comes_from_decks_is_escaped(tmp_path):
    evil = "<script>alert(1)</script><img src=x onerror=y>"
    result = RESULT | {
        "source": evil, "message": evil, "warnings": [evil], "time_unit": evil, "length_unit": evil, "preset": evil,
        "status": evil, "versions": {evil: evil}, "D": RESULT["D"] | {"method": evil},
        "modes": [RESULT["modes"][0] | {"model": evil}], "D_full_md": RESULT["D_full_md"] | {"method": evil},
        "handoff": {"policy": evil, "frames": evil}, "fit": {"lags": [evil], "chi2": evil},
    }  # fmt: skip
    page = Page(write_report(tmp_path, result, [Picture(_png(tmp_path), evil, evil)]))
    assert "script" not in page.tags
    assert page.tags.count("img") == 1
    assert page.text.count("<script>alert(1)</script>") >= 12


def _png(folder):
    return plots.draw_modes(folder, {1: 2.0}, {1: 2.1}, {1: 1.0}, "tau", "ML-GLE")


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"schema": 1, "status": "partial", "D": None, "D_online": [], "modes": [], "fit": None, "handoff": None},
        dict.fromkeys(RESULT),
        {"D": {"value": None, "ci95": [None, None]}, "D_full_md": {"value": 1.0, "ci95": None}},
    ],
)
def test_a_result_with_nothing_in_it_gives_a_page_of_dashes(tmp_path, result):
    page = Page(write_report(tmp_path, result, []))
    assert "D = –" in page.text
    assert "None" not in page.text


def test_a_run_that_generated_nothing_has_the_pictures_there_are(tmp_path, curves):
    result = RESULT | {"D_online": [], "modes": [], "D_generated": None, "D_full_md": None, "D": None}
    bare = replace(curves, correlation=None, generated=None, full_md=None)
    page = Page(write_run_report(RunFolder.create(tmp_path / "run"), result, bare))
    assert page.tags.count("img") == 1
    assert "D in several ways" not in page.text


def test_real_units_are_also_given_in_square_centimetres_per_second(tmp_path):
    result = RESULT | {"D": {"value": 2.5e-5, "ci95": [2e-5, 3e-5]}, "length_unit": "Angstrom", "time_unit": "fs"}
    text = Page(write_report(tmp_path, result, [])).text
    assert "D = 2.500·10⁻⁵ Å²/fs" in text
    assert "2.50·10⁻⁶ cm²/s" in text  # 1 Å²/fs = 0.1 cm²/s


def test_numbers_are_written_for_people():
    cases = {0.00085: "0.00085", 1.0: "1", 20.0: "20", 123456.0: "123456", 1.2e-7: "1.200·10⁻⁷", 0.0: "0", None: "–"}
    assert {value: number(value) for value in cases} == cases
    assert number(float("nan")) == number(float("inf")) == "–"
    assert (number(0.00085, 4, True), number(1.0, 3, True), number(7)) == ("0.0008500", "1.00", "7")
    assert interval([0.1, None]) == interval(None) == "–"
    assert [duration(x) for x in (None, 4.2, 59.99, 60, 3600, 7500)] == [
        "–", "4.2 s", "60.0 s", "1 min 00 s", "1 h 00 min", "2 h 05 min",
    ]  # fmt: skip


def test_pictures_take_odd_data(tmp_path):
    level = Level(1.0, 0.5, 1.5)
    assert plots.draw_diffusion(tmp_path, [(5, level)], {}, "sigma", "tau", "ML-GLE").exists()
    assert plots.draw_diffusion(
        tmp_path, [(5, Level(-0.1, -1, 1)), (6, level)], {"full MD": level}, "$x", "$", "X"
    ).exists()
    flat = Curve(np.arange(3.0), np.zeros(3), np.zeros(3))
    assert plots.draw_msd(tmp_path, {"MD": flat}, None, "sigma", "tau").exists()
    line = Curve(np.arange(1.0, 5000.0), np.arange(1.0, 5000.0), np.full(4999, 1e9))
    assert len(line.thinned().x) < 400
    assert plots.draw_msd(tmp_path, {"MD": line}, -1.0, "sigma", "tau", 5.0).exists()
    assert plots.draw_nacf(tmp_path, {1: line}, {}, "tau", "ML-GLE").exists()
    assert plots.draw_modes(tmp_path, {}, {}, {1: 1.0}, "tau", "ML-GLE").exists()


def test_drawing_leaves_no_global_state():
    script = (
        "import sys, tempfile, pathlib; from matplotlib import rcParams;"
        "state = lambda: {k: rcParams[k] for k in rcParams if k != 'backend'}; before = state();"
        "from mlgle_lammps.report import plots;"
        "plots.draw_modes(pathlib.Path(tempfile.mkdtemp()), {1: 2.0}, {1: 2.0}, {1: 1.0}, 'tau', 'X');"
        "assert state() == before; assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_folder_that_cannot_be_written_gives_one_line(tmp_path):
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(RunFailure, match="cannot write"):
        plots.draw_modes(tmp_path / "figures", {1: 2.0}, {}, {}, "tau", "ML-GLE")
    with pytest.raises(RunFailure, match="cannot write"):
        write_report(tmp_path / "absent", RESULT, [])
    with pytest.raises(RunFailure, match="cannot read a picture"):
        write_report(tmp_path, RESULT, [Picture(tmp_path / "absent.png", "", "")])
