"""How a job tells whoever waits for it how far it is, and how it learns that nobody waits any more.

A Flower ClientApp has no argument for this, so the listener of the running job is a context variable. Any
ClientApp may call :func:`report`; with no listener it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands. ``loss`` is the last step's; rates are per second since training began."""

    phase: str
    step: int = 0
    steps: int = 0
    loss: float | None = None
    rows_per_second: float = 0.0
    tokens_per_second: float = 0.0
    seconds_left: float | None = None


Listener: TypeAlias = Callable[[Progress], None]

_listener: ContextVar[Listener | None] = ContextVar("banyan_progress", default=None)


def report(progress: Progress) -> None:
    """Tell the listener. Raises :class:`JobCancelled` where the job is no longer wanted: let it pass."""
    listener = _listener.get()
    if listener is not None:
        listener(progress)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within the block, :func:`report` calls ``listener``, which may raise :class:`JobCancelled`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
