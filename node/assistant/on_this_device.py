"""The assistant of a node: what its catalog holds now, on this machine as it is now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from banyan.node.assistant.dialogue import Assistant
from banyan.node.catalog.hardware import Device, HardwareError, device_of, look, probe
from banyan.node.catalog.listing import Listing
from banyan.node.catalog.recommender import Recommender

if TYPE_CHECKING:
    from banyan.node.settings import Catalog

#: Seconds after which the index is made anew though no card has changed: how fresh a release is changes by itself.
STALE = 86_400.0


class OnThisDevice:
    """Makes assistants; the index over the cards is made once for as long as they stay the same.

    Args:
        folder: where models would be kept: its disk counts.
        settings: how models are weighed, and the sentence model if there is one.
        device: what this machine can give now; may take seconds the first time.
    """

    def __init__(
        self, folder: Path, settings: Catalog, device: Callable[[Path], Device] | None = None
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._device = device or measured
        self._lock = threading.Lock()
        self._made: tuple[tuple[Listing, ...], float, Recommender] | None = None

    def assistant(self, listings: Sequence[Listing]) -> Assistant:
        """The assistant that chooses among ``listings``."""
        held = tuple(listings)
        with self._lock:
            made = self._made
            if made is None or made[0] != held or time.monotonic() - made[1] > STALE:
                made = (held, time.monotonic(), self._recommender(held))
                self._made = made
            return Assistant(held, made[2], self._device(self._folder))

    def _recommender(self, listings: Sequence[Listing]) -> Recommender:
        embedder = None
        if self._settings.embedding is not None:
            from banyan.node.catalog.embedding import SentenceModel

            embedder = SentenceModel(self._settings.embedding)
        now = time.time_ns() // 1_000_000
        return Recommender(listings, now=now, weights=self._settings, embedder=embedder)


def measured(folder: Path) -> Device:
    """This machine; without its speed where that cannot be measured, so that one can be advised all the same."""
    try:
        return device_of(probe(folder))
    except HardwareError:
        return device_of(look(folder))
