"""``mlgle properties RUN``: viscosity, moduli, scattering and motion of chains, from modes and stress."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mlgle_lammps.commands.execution import run_command
from mlgle_lammps.commands.parsers import parse_properties
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.properties import PropertiesOptions

logger = logging.getLogger("mlgle")


def _properties(arguments: Sequence[str]) -> int:
    options = parse_properties(arguments)
    folder = _folder(options)
    from mlgle_lammps.evaluate.run_properties import properties_of
    from mlgle_lammps.report.properties_page import NAMES, write_properties
    from mlgle_lammps.report.result import versions

    own = properties_of(options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}; choose another --out") from None
    page = write_properties(folder, own, versions(), options.bead_mass)
    for name in NAMES:
        if name in own.found.numbers:
            found = own.found.numbers[name]
            logger.info("%-20s %.5g ± %.2g %s", name, found.value, found.se, own.found.units[name])
        else:
            logger.info("%-20s not had: %s", name, own.found.reasons.get(name, "there is only one route to it here"))
    for note in own.found.notes:
        logger.info("note: %s", note)
    logger.info("wrote %s and what belongs to it", page)
    return 0


def _folder(options: PropertiesOptions) -> Path:
    """Return the folder that takes what is written."""
    if options.out is not None:
        if options.out.exists() and not options.out.is_dir():
            raise UserError(f"--out {options.out} is not a folder; choose another")
        return options.out
    if options.run.is_dir():
        return options.run
    return options.run.with_name(f"{options.run.stem}-properties")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_command("properties", _properties, arguments)
