"""The forms in which the GLE fit can be made; apart from the fit so that naming one loads no library."""

from __future__ import annotations

from typing import Literal

FitForm = Literal["default", "published"]
