"""What a container may take of its machine: the limits of control groups, version 2 and 1.

A process in a container sees the whole machine's memory and cores; the kernel ends it at its group's limit. The
strictest limit on the way from the process's group to the root holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

#: Limits at or above this (1 EiB) mean none: version 1 writes a page-aligned 2**63 for it.
UNLIMITED = 1 << 60


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that this process's group may use at most; None: no limit."""
    limits = [
        limit
        for folder in _folders(root, "memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := _number(folder / name)) is not None and limit < UNLIMITED
    ]
    return min(limits, default=None)


def memory_used(root: Path = Path("/")) -> int | None:
    """Bytes that the strictest limit already counts, without file pages that can be dropped; None: no limit."""
    tightest: tuple[int, Path] | None = None
    for folder in _folders(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _number(folder / name)
            if limit is not None and limit < UNLIMITED and (tightest is None or limit < tightest[0]):
                tightest = (limit, folder)
    if tightest is None:
        return None
    folder = tightest[1]
    used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes") or 0
    return max(0, used - _droppable(folder))


def cores_limit(root: Path = Path("/")) -> float | None:
    """Processor time a second that this process's group may use, in cores; None: no limit."""
    shares = []
    for folder in _folders(root, "cpu"):
        quota, period = _quota(folder)
        if quota is not None and period and quota > 0:
            shares.append(quota / period)
    return min(shares, default=None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Where this process's groups lie, from the innermost outwards."""
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        base = mount if not controllers else mount / controller
        group = Path(path.lstrip("/"))
        for part in (group, *group.parents):
            yield base / part
    yield from (mount, mount / controller)  # inside a namespace the group's path may not be mounted


def _quota(folder: Path) -> tuple[int | None, int | None]:
    try:
        quota, period = (folder / "cpu.max").read_text("ascii").split()
        return (None if quota == "max" else int(quota)), int(period)
    except (OSError, ValueError):
        return _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")


def _droppable(folder: Path) -> int:
    """File pages that the kernel takes back before it ends anybody."""
    try:
        lines = (folder / "memory.stat").read_text("ascii").splitlines()
    except OSError:
        return 0
    found = {name: value for name, _, value in (line.partition(" ") for line in lines)}
    value = found.get("inactive_file", found.get("total_inactive_file", "0"))
    return int(value) if value.isdigit() else 0


def _number(path: Path) -> int | None:
    try:
        text = path.read_text("ascii").strip()
    except OSError:
        return None
    return int(text) if text.lstrip("-").isdigit() else None
