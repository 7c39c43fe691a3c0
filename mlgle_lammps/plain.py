"""Types of plain values, as JSON and the headers of models hold them, and of arrays of any number type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

JsonValue: TypeAlias = Any
"""A value of JSON, or of an attribute of a file, that its reader has yet to look at."""
JsonObject: TypeAlias = dict[str, Any]
"""An object of JSON: text, numbers, booleans, None, lists and such objects, whose depth and names its reader knows."""
JsonMapping: TypeAlias = Mapping[str, Any]
"""The same, to be read only."""
AnyArray: TypeAlias = NDArray[Any]
"""An array of whatever number type: a frame's channels, what a file holds before it is looked at."""
