"""MD on the first two of three ranks, on whose first one the sink fails: ``one_rank_fails.py DECK LOG FRAMES``.

Each MD rank prints what it raised.
"""

import sys
from pathlib import Path

from mlgle_lammps.acquire import mpi
from mlgle_lammps.acquire.deck import read_deck
from mlgle_lammps.acquire.driver import Driver
from mlgle_lammps.acquire.wanted import FramesWanted
from mlgle_lammps.errors import UserError
from mlgle_lammps.options.deck import DeckOptions


class Failing:
    """A sink that fails at a frame."""

    handed_off, told_to_stop, waits = None, False, 0

    def __init__(self, fail_at):
        self.left = fail_at

    def hello(self, system):
        pass

    def send(self, frame):
        self.left -= 1
        if self.left < 0:
            raise ZeroDivisionError("the sink broke")

    def listen(self):
        pass


world, (deck, log, fail_at) = mpi.start(), sys.argv[1:]
if world.runs_md:
    variables = (("deckdir", (str(Path(deck).parent),)),)
    options, sink = DeckOptions(Path(deck), variables, 10), Failing(int(fail_at))
    with Driver(world, read_deck(Path(deck), variables), options, FramesWanted(4, 40), sink, Path(log)) as driver:
        driver.prepare()
        try:
            driver.produce()
        except UserError as error:
            sys.stdout.write(f"{type(error).__name__}: {error}\n")
            sys.stdout.flush()
