"""The assistant of a running node: conversations about the cards that it holds, away from the event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from banyan.node.assistant.on_this_device import OnThisDevice
from banyan.node.assistant.sessions import AssistantRequest, Sessions
from banyan.node.catalog.hardware import Device
from banyan.node.catalog.listing import Listing

if TYPE_CHECKING:
    from banyan.node.settings import Catalog


class Advising:
    """Answers ``POST /assistant``.

    Args:
        folder: where models are kept.
        settings: how they are weighed.
        cards: those that the node holds, as the control API gives them.
        device: what this machine can give; measured where it is not told.
    """

    def __init__(
        self,
        folder: Path,
        settings: Catalog,
        cards: Callable[[], Sequence[Mapping[str, object]]],
        device: Callable[[Path], Device] | None = None,
    ) -> None:
        self._here = OnThisDevice(folder, settings, device)
        self._sessions = Sessions()
        self._cards = cards

    async def answer(self, request: AssistantRequest) -> dict[str, object]:
        """One turn, JSON-ready. The first may take seconds: this machine is measured."""
        return await trio.to_thread.run_sync(self._answer, request, self._cards())

    def _answer(self, request: AssistantRequest, cards: Sequence[Mapping[str, object]]) -> dict[str, object]:
        assistant = self._here.assistant([Listing.model_validate(card) for card in cards])
        return self._sessions.answer(request, assistant).model_dump(mode="json")
