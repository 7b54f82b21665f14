"""What this machine has, as a process on it may use it: memory, cores, disk, accelerators, and how fast it computes.

Memory, cores and disk are looked at each time. Throughput is measured once, in about two seconds and in a process of
its own, and remembered until the machine or PyTorch changes.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Literal

import psutil
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from banyan.node.catalog.limits import cores_limit, memory_limit, memory_used
from banyan.node.catalog.need import Precision
from banyan.security.errors import BanyanError

#: Seconds that a measurement may take; importing torch from a slow disk is most of it.
PATIENCE: Final = 120.0

#: Days after which throughput is measured again: drivers and power settings change.
LIFETIME: Final = 30


class HardwareError(BanyanError):
    """This machine could not be measured."""


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Accelerator(_Facts):
    """A device beside the processor that torch can use; ``memory`` and ``free`` in bytes."""

    kind: Literal["cuda", "mps"]
    name: str
    memory: int
    free: int


class Throughput(_Facts):
    """Measured on ``device`` at ``precision``: FLOP/s of a large matrix product, bytes/s at which weights are read."""

    accelerators: tuple[Accelerator, ...]
    device: Literal["cpu", "cuda"]
    precision: Precision
    flops: float = Field(gt=0)
    bytes_per_second: float = Field(gt=0)
    threads: int
    torch: str


class Hardware(_Facts):
    """This machine. Bytes and cores; ``limited`` where a container's limit is tighter than the machine."""

    memory: int
    memory_free: int
    cores: float
    disk_free: int
    limited: bool
    platform: str
    throughput: Throughput | None
    measured: int | None = Field(None, description="When throughput was measured, ms.")


class Device(_Facts):
    """What a choice of model hangs on: the bytes a model may take, at which precisions models run here, and how fast.

    A worker loads a base in bfloat16 on a GPU that has it, else in float32.
    """

    memory: int = Field(gt=0)
    disk: int = Field(ge=0)
    precisions: tuple[Precision, ...] = ("float32",)
    bytes_per_second: float | None = None
    flops: float | None = None
    accelerator: str | None = None


def probe(
    folder: Path, *, fresh: bool = False, cache: Path | None = None, root: Path = Path("/")
) -> Hardware:
    """This machine, with the disk below ``folder``. ``fresh`` measures throughput again; else the one in ``cache``
    (default: this user's) counts while it is of this machine and not too old.

    Raises :class:`HardwareError` where throughput cannot be measured.
    """
    file = cache if cache is not None else _cache()
    known = None if fresh else _remembered(file)
    if known is None:
        known = (_measured(), time.time_ns() // 1_000_000)
        _remember(file, *known)
    return look(folder, throughput=known[0], measured=known[1], root=root)


def look(
    folder: Path,
    *,
    throughput: Throughput | None = None,
    measured: int | None = None,
    root: Path = Path("/"),
) -> Hardware:
    """What can be told at once, without torch."""
    memory = psutil.virtual_memory()
    limit, share = memory_limit(root), cores_limit(root)
    total, free = memory.total, memory.available
    if limit is not None and limit < total:
        total, free = limit, max(0, min(free, limit - (memory_used(root) or 0)))
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    cores = min(usable, share) if share is not None else usable
    return Hardware(
        memory=total,
        memory_free=free,
        cores=cores,
        disk_free=shutil.disk_usage(_existing(folder)).free,
        limited=total < memory.total or cores < usable,
        platform=f"{platform.system()} {platform.machine()}",
        throughput=throughput,
        measured=measured,
    )


def device_of(hardware: Hardware) -> Device:
    """Where a worker would load a model: the first GPU, else the processor with the memory that is free now."""
    speed = hardware.throughput
    memory, accelerator = hardware.memory_free, None
    if speed is not None and speed.device == "cuda" and speed.accelerators:
        memory, accelerator = speed.accelerators[0].free, speed.accelerators[0].name
    return Device(
        memory=max(1, memory),
        disk=hardware.disk_free,
        precisions=(speed.precision,) if speed is not None else ("float32",),
        bytes_per_second=speed.bytes_per_second if speed is not None else None,
        flops=speed.flops if speed is not None else None,
        accelerator=accelerator,
    )


# ----------------------------------------------------------------------------------------- the measurement


def _measured() -> Throughput:
    command = [sys.executable, "-m", "banyan.node.catalog.throughput"]
    cure = "Run it again; where it goes on failing, `banyan doctor` looks at the installation"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return Throughput.model_validate_json(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        raise HardwareError(f"Measuring this machine took longer than {PATIENCE:.0f} s", cure) from None
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise HardwareError(f"This machine could not be measured ({last})", cure) from None
    except (ValidationError, IndexError) as error:
        raise HardwareError("The measurement of this machine could not be read", cure) from error


def _cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("banyan")) / "hardware.json"


def _machine() -> list[object]:
    """What a remembered measurement belongs to."""
    from importlib.metadata import version

    return [
        platform.node(),
        platform.machine(),
        os.cpu_count(),
        psutil.virtual_memory().total,
        version("torch"),
    ]


def _remembered(file: Path) -> tuple[Throughput, int] | None:
    """The measurement in ``file``; None where there is none, of this machine, that can be read."""
    try:
        plain = json.loads(file.read_bytes())
        age = time.time_ns() // 1_000_000 - int(plain["measured"])
        if plain["machine"] != _machine() or not 0 <= age <= LIFETIME * 86_400_000:
            return None
        return Throughput.model_validate(plain["throughput"]), int(plain["measured"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(file: Path, throughput: Throughput, measured: int) -> None:
    plain = {"machine": _machine(), "measured": measured, "throughput": throughput.model_dump(mode="json")}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.{os.getpid()}")
        new.write_text(json.dumps(plain), "utf-8")
        new.replace(file)
    except OSError:
        return  # a read-only home only means measuring again next time


def _existing(folder: Path) -> Path:
    """``folder``, or the nearest above it that is there."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
