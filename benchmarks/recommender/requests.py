"""The written requests: what a person says, on which device, and which first offers are good."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from banyan.node.catalog.hardware import Device
from banyan.node.catalog.sizes import size_of

HERE: Final = Path(__file__).parent
MEMORY: Final = 24_000_000_000
DISK: Final = 100_000_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """``good`` paths are good first offers; ``nothing``: it is as good to offer nothing."""

    text: str
    good: tuple[str, ...]
    nothing: bool
    device: Device
    use: Literal["run", "train"] | None


def requests(name: str) -> list[Request]:
    """Those of ``held_out.txt`` or ``tuning.txt``."""
    lines = (HERE / f"{name}.txt").read_text("utf-8").splitlines()
    return [_request(line) for line in lines if line.strip() and not line.startswith("#")]


def _request(line: str) -> Request:
    text, good, *rest = (part.strip() for part in line.split("|"))
    options = dict(option.split("=") for option in " ".join(rest).split())
    paths = good.split()
    use = options.get("use")
    return Request(
        text,
        tuple(path for path in paths if path != "-"),
        "-" in paths,
        Device(
            memory=size_of(options.get("memory", "")) or MEMORY,
            disk=DISK,
            precisions=("bfloat16", "float32"),
            bytes_per_second=200e9,
            flops=20e12,
        ),
        "train" if use == "train" else "run" if use == "run" else None,
    )
