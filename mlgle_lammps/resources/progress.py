"""Progress of long work: a bar in a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

logger = logging.getLogger("mlgle")


class Progress:
    """Count ``total`` units of work, showing what is done, a remark, and the time left.

    A context manager; ``advance`` costs little. Without a terminal it logs a line at each 5%, with the time left at
    the pace since the line before: what a resumed run has from its checkpoint comes at once and says nothing of it.
    """

    def __init__(self, label: str, total: int | None, unit: str = "frames") -> None:
        self._label, self._total, self._unit = label, total, unit
        self._done, self._logged = 0, 0
        self._logged_at = time.monotonic()
        self._remark = ""
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=label, unit=unit, file=sys.stderr, mininterval=0.5) if terminal else None
        self._redirect = logging_redirect_tqdm() if terminal else None

    def __enter__(self) -> Progress:
        if self._redirect:
            self._redirect.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._done > self._logged:
            self._log()
        if self._redirect:
            self._redirect.__exit__(kind, value, trace)

    def remark(self, text: str) -> None:
        """Show ``text`` beside the count from now on."""
        self._remark = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def advance(self, units: int = 1) -> None:
        """Count ``units`` more."""
        self._done += units
        if self._bar is not None:
            self._bar.update(units)
        elif self._done - self._logged >= max(1, (self._total or 1000) // 20):
            self._log()

    def _log(self) -> None:
        fresh, now = self._done - self._logged, time.monotonic()
        spent = now - self._logged_at
        self._logged, self._logged_at = self._done, now
        of_total, left = "", ""
        if self._total:
            of_total = f"/{self._total}"
            if self._done < self._total:
                left = f", about {format_seconds(spent / fresh * (self._total - self._done))} left"
        remark = f", {self._remark}" if self._remark else ""
        logger.info("%s: %d%s %s%s%s", self._label, self._done, of_total, self._unit, remark, left)


def format_seconds(seconds: float) -> str:
    """Return a time span as people say it: '45 s', '12 min', '3.5 h', '2.1 days'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
