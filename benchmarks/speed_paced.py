"""MD with the service over plain ``lmp`` where the trainer keeps the default schedule: half an hour, so not by default.

Like `speed_coupling`, on 100 × 100 beads with a frame every 400 steps; the trainer makes one round after each frame.
"""

from __future__ import annotations

from speed_coupling import Deck, coupled, make_deck, paper_melt
from speed_records import Measurement, Settings


def run(settings: Settings) -> list[Measurement]:
    """Measure the ratio, and within one run that of MD beside the trainer at work to MD beside it stopped."""
    script = make_deck(settings.scratch)
    steps = (2000, 480) if settings.quick else (2000, 2400)
    deck = Deck("paper-size deck, default schedule", paper_melt(settings.scratch), 400, 400, *steps, 1.02, paced=True)
    return coupled(deck, script, settings.scratch, 1 if settings.quick else max(settings.repeats, 8))
