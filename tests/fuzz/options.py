"""Odd values of options: whatever is given, a parser returns options or complains in one line."""

from __future__ import annotations

from hypothesis import strategies as st

ODD = (
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "",
    " ",
    "1e400",
    "-1e400",
    "1e-400",
    "0x10",
    "1_000",
    "٣",
    "١e٣",
    "½",
    "\0",
    "\x1b[31m",
    "a\nb",
    "99999999999999999999999",
    "-",
    "--",
    "---",
    "-var",
    "--out",
    "=",
    "a b",
    "'",
    '"',
    "$HOME",
    "${T}",
    "%s",
    "%(prog)s",
    "{0}",
    "\u202e",
    "\U0001f600",
    "\udcff",
    "x" * 100_000,
    "9" * 5000,
    "/",
    ".",
    "..",
    "~",
    "-1e-3",
    "1e3",
    "true",
    "@file",
    "\\",
)
values = st.one_of(st.sampled_from(ODD), st.text(max_size=20), st.integers().map(str), st.floats().map(repr))
COMMANDS = {
    "run": (
        "--out",
        "--surrogate",
        "--preset",
        "--modes",
        "--memory",
        "--train-frames",
        "--val-frames",
        "--handoff",
        "--target-ci",
        "--full-md",
        "--generate-steps",
        "--save-every",
        "--ensemble",
        "--device",
        "--directions",
        "--seed",
        "--threads",
        "--every",
        "--chain-group",
        "-var",
    ),
    "replay": (
        "--out",
        "--surrogate",
        "--preset",
        "--modes",
        "--memory",
        "--handoff",
        "--target-ci",
        "--directions",
        "--topology",
        "--select",
        "--dt",
        "--timestep",
        "--units",
        "--skip",
        "--stride",
    ),
    "generate": ("--steps", "--ensemble", "--save-every", "--seed", "--device", "--out", "--threads", "--surrogate"),
    "reconstruct": (
        "--format",
        "--trajectories",
        "--every",
        "--start",
        "--stop",
        "--out",
        "--seed",
        "--beads",
        "--mass",
    ),
    "compare": ("--temperatures", "--directions", "--out"),
}


@st.composite
def command_lines(draw: st.DrawFn, command: str) -> list[str]:
    """Return an input and some options of a command, each with an odd value."""
    given = [draw(values)]
    for option in draw(st.lists(st.sampled_from(COMMANDS[command]), max_size=4)):
        value = draw(values)
        given += draw(st.sampled_from(([option, value], [f"{option}={value}"], [option])))
    return given
