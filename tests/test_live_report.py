"""The page of a run that goes on, curves to zoom into, progress of training, and completion by the shell."""

import logging
import re
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest

from mlgle_lammps import cli
from mlgle_lammps.api.runs import learn
from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.commands import completion
from mlgle_lammps.commands.parsers import PARSERS
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.pipeline import run as pipeline_run
from mlgle_lammps.report.live import REFRESH, curve_of, write_live_page
from mlgle_lammps.report.result import Findings, Setup
from mlgle_lammps.report.stages import Stages
from mlgle_lammps.store.run_folder import RunFolder

pytestmark = pytest.mark.light

SHORT = {"memory": 8, "train_frames": 60, "val_frames": 20, "modes": 2, "generate_steps": 100, "ensemble": 6}
ONLINE = [{"frames": 100 + 10 * i, "value": 0.05, "ci95": [0.05 - 1 / (9 + i), 0.05 + 1 / (9 + i)]} for i in range(40)]
RESULT = {
    "status": "partial", "D": {"value": 0.05, "ci95": [0.03, 0.07], "method": "fit"}, "D_online": ONLINE,
    "length_unit": "sigma", "time_unit": "tau", "warnings": ["<b>look</b>"], "versions": {"torch": "9"},
    "source": "deck in.<i>kg</i>",
}  # fmt: skip
REFRESHES = f'<meta http-equiv="refresh" content="{REFRESH}">'


class Tags(HTMLParser):
    """Whether all elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_says_how_far_a_run_is_and_reads_itself_again(tmp_path):
    text = write_live_page(tmp_path, RESULT, "Taking frames: 490 of 1600.").read_text()
    assert Tags(text).seen >= {"svg", "polyline"}
    assert not {"b", "i"} & Tags(text).seen
    for words in (REFRESHES, "Taking frames: 490 of 1600.", "D = 0.05000", "0.0300 to 0.0700", "σ²/τ", "&lt;b&gt;look"):
        assert words in text
    assert "http" not in re.sub(r"http-equiv|https://doi\.org", "", text)


def test_a_page_without_d_or_units(tmp_path):
    text = write_live_page(tmp_path, {"status": "partial"}, "Taking frames: 0 of 80.").read_text()
    assert "No D yet" in text
    assert "svg" not in Tags(text).seen


def test_the_last_page_of_a_broken_run_stays(tmp_path):
    text = write_live_page(tmp_path, RESULT, "Ended: killed", refresh=False).read_text()
    assert REFRESHES not in text
    assert "Ended: killed" in text


def test_it_costs_next_to_nothing(tmp_path):
    """CPU seconds: a milestone comes after 5% more frames, and no picture is drawn for it."""
    write_live_page(tmp_path, RESULT, "warm")
    spent = []
    for _ in range(5):
        start = time.process_time()
        write_live_page(tmp_path, RESULT, "timed")
        spent.append(time.process_time() - start)
    assert min(spent) < 0.03


def test_the_curve_is_where_the_numbers_are():
    curve = curve_of(
        [{"frames": 10, "value": 1.0, "ci95": [0.0, 2.0]}, {"frames": 20, "value": 2.0, "ci95": [1.5, 2.5]}]
    )
    assert curve is not None
    left, top, right, bottom = curve["box"]
    points = [tuple(map(float, pair.split(","))) for pair in curve["line"].split()]
    assert [x for x, _ in points] == [left, right]
    values = [float(text) for _, text in curve["ticks_y"]]
    assert values == [0.5, 2.0, 3.5]  # D less and plus three half-widths of the last interval
    for (_, y), value in zip(points, (1.0, 2.0), strict=True):
        assert y == pytest.approx(top + (bottom - top) * (3.5 - value) / 3.0, abs=0.1)
    assert len(curve["band"].split()) == 4
    assert curve_of(ONLINE[:1]) is None
    assert curve_of([{"frames": 1, "value": None, "ci95": [None, None]}] * 5) is None
    assert curve_of([{"frames": n, "value": 0.0, "ci95": [0.0, 0.0]} for n in (1, 2)]) is not None


def test_pages_are_written_as_a_run_goes_on_and_the_last_one_is_still(tmp_path, monkeypatch, caplog):
    pytest.importorskip("plotly")
    stages, pages = [], []

    def watched(folder, result, stage, refresh=True):
        stages.append(stage)
        page = write_live_page(folder, result, stage, refresh)
        pages.append(page.read_text())
        return page

    monkeypatch.setattr(pipeline_run, "write_live_page", watched)
    with caplog.at_level(logging.INFO, logger="mlgle"):
        learn(RouseSource(8, 12, 2, 80, 0.5, seed=1), tmp_path / "run", interactive=True, **SHORT)
    assert stages[0] == "Taking frames: 0 of 80."
    assert any(re.fullmatch(r"Taking frames: \d+ of 80\.", stage) for stage in stages[1:])
    assert "Frames are there (80): learning how the modes move." in stages
    assert "Learned; generating 100 steps of 6 trajectories." in stages
    assert all(REFRESHES in page for page in pages)
    last = (tmp_path / "run" / "report.html").read_text()
    assert "refresh" not in last
    assert "complete" in last
    assert any(record.getMessage().startswith("learn: ") for record in caplog.records)
    assert 'href="interactive.html"' in last
    page = (tmp_path / "run" / "interactive.html").read_text()
    assert len(page) < 7e6
    assert page.count('class="plotly-graph-div"') == 3
    assert "src=" not in re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    assert '"name":"mode 2, generated"' in page


def test_a_page_that_cannot_be_written_stops_no_run(tmp_path, monkeypatch):
    def full(*arguments):
        raise pipeline_run.RunFailure("disk full")

    monkeypatch.setattr(pipeline_run, "write_live_page", full)
    source = RouseSource(8, 12, 2, 80, 0.5, seed=1)
    setup = Setup(source.system, LearnOptions(tmp_path / "run"), 2)
    run = pipeline_run.Run(source, RunFolder.create(tmp_path / "run"), setup, Findings(), 0.0)
    run.show(Stages())
    assert run.write_result(Stages())["status"] == "partial"
    assert run.folder.result.is_file()


def test_without_plotly_it_is_said_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(UserError, match=r"pip install 'mlgle_lammps\[interactive\]'"):
        learn(RouseSource(8, 12, 2, 80, 0.5, seed=1), tmp_path / "run", interactive=True, **SHORT)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_knows_every_command_and_option(shell, capsys):
    pytest.importorskip("shtab")
    assert cli.main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    assert set(PARSERS) | {"build"} == set(cli.COMMANDS)
    for words in (*cli.COMMANDS, "--train-frames", "--topology", "--sum-beads", "--star"):
        assert words.lstrip("-") in script if shell == "tcsh" else words in script


def test_bash_completes(tmp_path, capsys):
    pytest.importorskip("shtab")
    assert cli.main(["--completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = 'source ./script; COMP_WORDS=(mlgle {}); COMP_CWORD={}; _shtab_mlgle; echo "${{COMPREPLY[@]}}"'

    def completed(*words):
        command = ["bash", "-c", ask.format(" ".join(words), len(words))]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    assert completed("re") == ["replay", "reconstruct"]
    assert completed("replay", "--train-f") == ["--train-frames"]
    assert completed("run", "--handoff", "t") == ["tmax", "train"]


def test_completion_for_no_shell(capsys):
    assert cli.main(["--completion", "fish"]) == 2
    assert "choose from bash, zsh, tcsh" in capsys.readouterr().err
    assert cli.main(["--completion"]) == 2
    assert "name the shell" in capsys.readouterr().err
