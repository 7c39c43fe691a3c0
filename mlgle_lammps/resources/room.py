"""What memory and disk there are for a run: of the machine, the control groups and ``ulimit``."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Room:
    """Memory that this process may still take.

    Attributes:
        free: bytes.
        taken: bytes that it has already, in the same count.
        limit: what says so.
        mapped: what is mapped counts, not only what is resident.
    """

    free: float
    taken: float
    limit: str
    mapped: bool = False


def available_memory() -> Room:
    """Return the least of what the machine has free, the control group allows, and ``ulimit`` leaves."""
    own = _numbers_in("/proc/self/status")
    resident = own.get("VmRSS", 0.0)
    rooms = [Room(float("inf"), resident, "free")]
    if (available := _numbers_in("/proc/meminfo").get("MemAvailable")) is not None:
        rooms.append(Room(available, resident, "free on this machine"))
    rooms += [Room(free, resident, f"left by control group {folder}") for folder, free in control_groups()]
    for kind, key, name in ((resource.RLIMIT_AS, "VmSize", "ulimit -v"), (resource.RLIMIT_DATA, "VmData", "ulimit -d")):
        limit, taken = resource.getrlimit(kind)[0], own.get(key, 0.0)
        if limit != resource.RLIM_INFINITY:
            rooms.append(Room(max(limit - taken, 0.0), taken, f"left by {name}", kind == resource.RLIMIT_AS))
    return min(rooms, key=lambda room: room.free)


def control_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[tuple[Path, float]]:
    """Yield this process's control groups (v2, v1) and their parents, where they limit memory, with the bytes left.

    Cached files count as free.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            top, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = top / path.lstrip("/")
        for folder in dict.fromkeys([group, *(p for p in group.parents if p.is_relative_to(top)), top]):
            limit, used = (_number(folder / name) for name in names[:2])
            if limit is not None and used is not None and limit < 2**60:
                cached = _numbers_in(str(folder / "memory.stat"), 1).get(names[2], 0.0)
                yield folder, max(limit - used + cached, 0.0)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _numbers_in(path: str, unit: int = 1024) -> dict[str, float]:
    """Return the numbers of a file of lines 'name: number kB', in bytes; empty where there is none."""
    try:
        rows = [line.replace(":", " ").split() for line in Path(path).read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: float(row[1]) * unit for row in rows if len(row) > 1 and row[1].isdigit()}


def free_disk(folder: Path) -> float:
    """Return the bytes free where ``folder`` is or would be made; infinite where that cannot be told."""
    for place in (folder, *folder.absolute().parents):
        try:
            return float(shutil.disk_usage(place).free)
        except OSError:
            continue
    return float("inf")


def readable_bytes(count: float) -> str:
    """Return a byte count with a decimal prefix."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
