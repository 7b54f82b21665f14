"""What engines are given to run in tests: quick, deadly, endless."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    raise ValueError(f"{number} is not what I wanted")


def die(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(number: int, folder: str) -> int:
    mark = Path(folder) / str(number)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def unsendable(number: int) -> object:
    return threading.Lock()


def own_process(number: int) -> int:
    if number:
        threading.Event().wait()
    return os.getpid()


def threads(number: int) -> str:
    return os.environ["OMP_NUM_THREADS"]


_prepared: list[int] = []


def prepare(number: int) -> None:
    if number < 0:
        raise ValueError("no")
    _prepared.append(number)


def prepared(number: int) -> list[int]:
    return _prepared


def run_of(seed: int) -> dict[str, object]:
    """A run whose seeds 5 and 7 break an invariant."""
    return {"violations": ["agreement"] if seed in (5, 7) else [], "finished": True, "seed": seed}
