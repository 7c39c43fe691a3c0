"""What a run is said to need, against what it takes; what the machine is said to have; refusals."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlgle_lammps.acquire.driver import LONGEST_RUN
from mlgle_lammps.chains.rouse import RouseSource
from mlgle_lammps.commands.parsers import MOST_STEPS, parse_run
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.learn import LearnOptions
from mlgle_lammps.records import System, joined
from mlgle_lammps.resources import needs as needs_module
from mlgle_lammps.resources.needs import announcement, needs_of, refusal, shortages
from mlgle_lammps.resources.room import Room, available_memory, control_groups, free_disk, readable_bytes
from mlgle_lammps.store.writer import FramesWriter

ROOT = Path(__file__).parent.parent
GB = 1e9


def options(**changes):
    return LearnOptions(out=Path("nowhere"), **changes)


def system(n_chains=100, n_modes=12):
    return System(n_chains, 20, n_modes, 1.0)


def replay(folder, *arguments, limit=None):
    """Run replay; return exit code, stderr and peak memory in bytes."""

    def restrict():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    log = folder / "log"
    with open(log, "w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlgle_lammps.replay", *map(str, arguments), "--out", str(folder / "out")],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, stderr=file, preexec_fn=restrict,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, log.read_text(), usage.ru_maxrss * 1024


def write_stream(path, n_frames, n_chains, n_modes, memory):
    generator = np.random.default_rng(3)
    a = np.exp(-(np.arange(1, n_modes + 1) ** 2) / (2.0 * memory))[:, None]
    modes = np.empty((n_frames, n_chains, n_modes, 3), dtype=np.float32)
    modes[0] = generator.standard_normal(modes.shape[1:])
    for t in range(1, n_frames):
        modes[t] = a * modes[t - 1] + np.sqrt(1 - a * a) * generator.standard_normal(modes.shape[1:])
    com = np.cumsum(0.1 * generator.standard_normal((n_frames, n_chains, 3)), axis=0)
    np.savez(path, com=com, modes=modes, dt=1.0, n_beads=20)


SIZES = [  # frames, chains, modes, ensemble, generated steps; many chains learn, many trajectories generate
    (60, 300, 3, 4, 64),
    (100, 10, 3, 5_000, 512),
]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_memory_is_what_was_said_within_30_percent(tmp_path, size):
    n_frames, n_chains, n_modes, ensemble, steps = size
    write_stream(tmp_path / "s.npz", n_frames, n_chains, n_modes, 16)
    windows = {"memory": 16, "train_frames": n_frames * 3 // 4, "val_frames": n_frames // 4, "modes": n_modes}
    generated = {"ensemble": ensemble, "generate_steps": steps, "save_every": 64}
    given = [word for name, n in (windows | generated).items() for word in (f"--{name.replace('_', '-')}", str(n))]
    code, error, peak = replay(tmp_path, tmp_path / "s.npz", *given, "--threads", "1")
    assert code == 0, error
    said = needs_of(system(n_chains, n_modes), options(**windows, **generated))
    assert 0.7 < said.memory / peak < 1.3
    assert f"needs {readable_bytes(said.memory)} of memory" in error
    on_disk = (tmp_path / "out" / "modes.h5").stat().st_size, (tmp_path / "out" / "generated.h5").stat().st_size
    assert said.stream < on_disk[0] < 1.2 * said.stream + 3e6
    assert said.generated < on_disk[1] < 1.2 * said.generated + 3e6


def test_needs_grow_with_what_they_depend_on():
    base = needs_of(system(), options())
    assert needs_of(system(n_chains=10_000), options()).learning > 4 * base.learning
    assert needs_of(system(), options(ensemble=30_000)).generating > 5 * base.generating
    assert needs_of(system(), options(generate_steps=0)).generated == 0
    assert needs_of(system(n_modes=6), options()) == needs_of(system(), options(modes=6))
    assert needs_of(system(), options(handoff="converged")).open_ended
    assert needs_of(system(), options(full_md=1000)).stream - base.stream == 1000 * (100 * (24 + 12 * 12) + 16)


def has(monkeypatch, memory=100 * GB, disk=100 * GB):
    monkeypatch.setattr(needs_module, "available_memory", lambda: Room(memory, 0.1 * GB, "free on this machine"))
    monkeypatch.setattr(needs_module, "free_disk", lambda folder: disk)


def test_what_cannot_fit_is_refused_with_what_to_do(monkeypatch):
    small, large = needs_of(system(), options()), needs_of(system(n_chains=5000), options())
    has(monkeypatch)
    assert refusal(large, Path("out")) == ""
    assert shortages(large, Path("out")) == []
    has(monkeypatch, memory=2 * GB)
    assert refusal(small, Path("out")) == ""
    line = refusal(large, Path("out"))
    assert line.startswith(
        "learning needs about 4.27 GB of memory, 4.17 GB more than this process has, and 2 GB are free"
    )
    assert "lower --train-frames, --val-frames or --modes" in line
    has(monkeypatch, disk=2 * large.stream)
    assert "the stream takes 1.34 GB" in refusal(large, Path("out"))
    assert refusal(small, Path("out")) == ""


def test_what_fits_in_part_is_said(monkeypatch):
    needs = needs_of(system(), options())
    has(monkeypatch, memory=1.2 * GB, disk=3 * GB)
    assert refusal(needs, Path("out")) == ""
    first, second, third = announcement(needs, Path("out"))
    assert first.startswith("needs 1.5 GB of memory (1.2 GB are free on this machine) and 4.71 GB on disk (3 GB")
    assert second.startswith("warning: generating needs about 1.5 GB of memory")
    assert third.startswith("warning: generated.h5 takes 4.68 GB, and 3 GB are free at out: raise --save-every")


def test_more_steps_than_lammps_runs_at_once_are_refused_before_anything_is_made():
    assert MOST_STEPS == LONGEST_RUN
    most = str(MOST_STEPS // 1599)  # 1600 frames
    for line in (f"--every {most}", "--surrogate none --every 1000000000", "--handoff converged --every 1000000000"):
        assert parse_run(["in.deck", *line.split()])
    refused: tuple[tuple[tuple[str, ...], str], ...] = (
        (("--every", "2000000"), "1600 frames with `every` 2000000 take 3198000000 steps, more than LAMMPS can run"),
        (("--every", str(int(most) + 1), "--check"), "lower `every`, `train_frames`, `val_frames` or `full_md`"),
        (("--full-md", "2000000"), "with `every` 2000 take"),
        (("--surrogate", "none", "--frames", "300", "--every", "10000000"), "lower `every`, `frames`"),
        (("--surrogate", "nm-mb", "--every", "100000"), "40000 frames with `every` 100000 take"),
    )
    for words, said in refused:
        with pytest.raises(UserError, match=said):
            parse_run(["in.deck", *words])


def test_what_is_left_by_ulimit_is_known():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (3 * 10**8, 3 * 10**8))\n"
        "from mlgle_lammps.resources.room import available_memory; room = available_memory()\n"
        "print(room.limit, room.mapped, room.free + room.taken)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert found.stdout == "left by ulimit -v True 300000000.0\n", found.stderr


def test_this_machine_has_some_memory_and_disk(tmp_path):
    assert 1e7 < available_memory().free < 1e14
    assert free_disk(tmp_path / "not" / "there" / "yet") == pytest.approx(free_disk(tmp_path), rel=0.1)


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_control_groups_are_found(tmp_path, version):
    """Of a group and its parents the tightest; cached files count as free."""
    root, own = tmp_path / "cgroup", tmp_path / "own"
    top = root if version == 2 else root / "memory"
    inner = top / "job" / "step"
    inner.mkdir(parents=True)
    own.write_text("0::/job/step\n" if version == 2 else "9:name=systemd:/\n4:cpu,memory:/job/step\n")
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    cached = "inactive_file" if version == 2 else "total_inactive_file"
    for folder, limit, used in ((top / "job", "1000000", "400000"), (inner, "max", "300000")):
        (folder / names[0]).write_text(f"{limit}\n" if version == 2 or limit != "max" else f"{2**63 - 4096}\n")
        (folder / names[1]).write_text(used)
        (folder / "memory.stat").write_text(f"anon 5\n{cached} 50000\n")
    assert list(control_groups(root, own)) == [(top / "job", 650000.0)]
    assert list(control_groups(root, tmp_path / "none")) == []


@pytest.mark.parametrize(("limit", "message"), [(700_000_000, "the libraries alone need 815 MB of memory"),
                                                (1_600_000_000, "learning needs about 4.")])  # fmt: skip
def test_replay_is_refused_before_it_begins(tmp_path, limit, message):
    write_stream(tmp_path / "s.npz", 30, 5000 if "learning" in message else 4, 12, 8)
    code, error, _ = replay(tmp_path, tmp_path / "s.npz", limit=limit)
    assert code == 2
    assert error.startswith(f"mlgle replay: error: {message}")
    assert error.count("\n") == 1
    assert "are left by ulimit -v" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("recorded", [3, 5])
def test_the_stream_takes_what_was_said_with_full_md(tmp_path, recorded):
    """Frames after the hand-off keep their modes, and count; modes that are not wanted do not."""
    frames = joined(list(RouseSource(300, 20, recorded, 1024, 1.0, seed=1)))
    said = needs_of(system(300, recorded), options(modes=3, memory=4, train_frames=100, val_frames=24, full_md=900))
    with FramesWriter(tmp_path / "modes.h5", system(300, 3)) as writer:
        writer.append(frames.first_modes(3))
    size = (tmp_path / "modes.h5").stat().st_size
    assert 1.0 < size / said.stream < 1.12
    with FramesWriter(tmp_path / "modes.h5", system(300, 3)) as writer:
        writer.append(frames[:124].first_modes(3))
        writer.append(frames[124:].first_modes(0))
    assert (tmp_path / "modes.h5").stat().st_size < 0.8 * said.stream  # negative control: files of before
