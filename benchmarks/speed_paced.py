"""What a learner on the default schedule costs MD: within one run of the service, beside it stopped and at work.

On 100 × 100 beads with a frame every 400 steps: six minutes and idle cores, so not by default. The learner makes one
round of the default size after each frame, on a full window: more than in ordinary use, where rounds follow every
twentieth part of the frames so far. Beside it the callback's share, which together make MD with the service over plain
``lmp``; pairs of whole runs (`speed_coupling`) scatter by more than this is.
"""

from __future__ import annotations

import json

from speed_coupling import Deck, contention, make_deck, paper_melt
from speed_records import Measurement, Settings, judged


def run(settings: Settings) -> list[Measurement]:
    """Measure MD beside the trainer at work over MD beside it stopped, and the callback's share."""
    make_deck(settings.scratch)
    pairs = 1 if settings.quick else max(settings.repeats, 8)
    deck = Deck("100 × 100 beads, default schedule", paper_melt(settings.scratch), 400, 400, 2000, 2400, 1.02, True)
    beside = contention(deck, settings.scratch, pairs)
    ending = json.loads((settings.scratch / "service" / "checkpoint" / "ending.json").read_text())
    share = 100 * ending["callback_s"] / ending["md_s"]
    note = "blocks of 400 steps, a frame each, in pairs within one run"
    return [
        judged(deck.name, "MD beside the learner over MD beside it stopped", "×", beside, None, deck.at_most, note),
        Measurement(deck.name, "callback's share of MD", "%", (share,)),
    ]
