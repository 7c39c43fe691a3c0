"""``mlgle --completion SHELL``: a script by which the shell completes commands, options and file names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlgle_lammps.api.streams import stream_path
from mlgle_lammps.commands import build, parsers
from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.errors import UserError, one_line

SHELLS = ("bash", "zsh", "tcsh")


def script(shell: str, commands: Mapping[str, str]) -> str:
    """Return the script for one of ``SHELLS``.

    Args:
        shell: its name.
        commands: name to what each does.

    Raises:
        UserError: another shell, or shtab is not there.
    """
    if shell not in SHELLS:
        raise UserError(f"--completion {shell}: choose from {', '.join(SHELLS)}")
    try:
        import shtab
    except ImportError as error:
        raise UserError(
            f"completion is written by shtab, which is not there ({one_line(error)}): "
            "pip install 'mlgle_lammps[completion]'"
        ) from None
    return str(shtab.complete(whole_parser(commands), shell))


def main(arguments: Sequence[str], commands: Mapping[str, str]) -> int:
    """Print the script for the shell that is named; return the exit status."""

    def work(words: Sequence[str]) -> int:
        if len(words) != 1:
            raise UserError(f"name the shell: mlgle --completion {'|'.join(SHELLS)}")
        sys.stdout.write(script(words[0], commands) + "\n")
        return 0

    return run_command("--completion", work, arguments)


def whole_parser(commands: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return one parser of all commands, whose files are completed as files."""
    whole = argparse.ArgumentParser(prog="mlgle")
    whole.add_argument("--version", action="store_true", help="versions and devices")
    whole.add_argument("--completion", choices=SHELLS, help="print a shell's completion script")
    below = whole.add_subparsers()
    makers = {**parsers.PARSERS, "build": build.make_parser}
    for name, meaning in commands.items():
        own = below.add_parser(name, help=meaning, parents=[makers[name]()], add_help=False)
        for action in own._actions:
            if action.type in (Path, stream_path):
                action.complete = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}  # type: ignore[attr-defined]
    return whole
