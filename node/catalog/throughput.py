"""How fast this machine computes: measured in a process of its own, which alone imports torch.

Generation reads every weight once a token, so its speed is that of reading: measured by products of matrices with one
vector, too large together for any cache. Training multiplies matrices, so its speed is that of one large product.

``python -m banyan.node.catalog.throughput`` prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Seconds given to each of the three measurements.
SECONDS = 0.5

#: Width of the matrices that are multiplied; a processor's are smaller, or one product would take too long.
WIDTH = {"cpu": 1_024, "accelerator": 4_096}

#: Weights read for one token, in bytes: larger than a processor's caches, small enough for a phone.
READ = 128 << 20


def measure() -> dict[str, Any]:
    """``accelerators`` and, of the device that a worker would choose, FLOP/s and bytes/s."""
    import torch

    found = accelerators()
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = place.type == "cuda" and torch.cuda.is_bf16_supported()
    dtype = torch.bfloat16 if half else torch.float32
    return {
        "accelerators": found,
        "device": place.type,
        "precision": "bfloat16" if half else "float32",
        "flops": _flops(place, dtype),
        "bytes_per_second": _read(place, dtype),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def accelerators() -> list[dict[str, Any]]:
    """Accelerators that torch can use, with bytes in all and free."""
    import torch

    found = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(number)
        found.append(
            {"kind": "cuda", "name": torch.cuda.get_device_name(number), "memory": total, "free": free}
        )
    if torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory()
        found.append({"kind": "mps", "name": "Apple GPU", "memory": total, "free": total})
    return found


def _flops(place: torch.device, dtype: torch.dtype) -> float:
    import torch

    width = WIDTH["cpu" if place.type == "cpu" else "accelerator"]
    a, b = (torch.randn(width, width, device=place, dtype=dtype) for _ in range(2))
    return 2 * width**3 * _rate(lambda: a @ b, place)


def _read(place: torch.device, dtype: torch.dtype) -> float:
    import torch

    size = torch.empty((), dtype=dtype).element_size()
    width = 1_024
    layers = [
        torch.randn(width, width, device=place, dtype=dtype) for _ in range(READ // (width * width * size))
    ]
    start = torch.randn(width, 1, device=place, dtype=dtype)

    def token() -> None:
        state = start
        for layer in layers:
            state = layer @ state
            state = state / state.norm().clamp_min(1e-6)

    return len(layers) * width * width * size * _rate(token, place)


def _rate(once: Callable[[], object], place: torch.device) -> float:
    """How often a second ``once`` runs: the best of several stretches, since others use the machine too."""
    import torch

    def wait() -> None:
        if place.type == "cuda":
            torch.cuda.synchronize()

    once()
    wait()
    best, until = 0.0, time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        begin = time.perf_counter()
        once()
        wait()
        best = max(best, 1 / max(time.perf_counter() - begin, 1e-9))
    return best


if __name__ == "__main__":
    json.dump(measure(), sys.stdout)
