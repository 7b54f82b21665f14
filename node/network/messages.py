"""Delivering one message: ``/banyan/message/1``. A frame goes one way, a :class:`Receipt` the other."""

from __future__ import annotations

from collections.abc import Callable

import trio

from banyan.node.network.connection import Connection
from banyan.node.network.errors import DeliveryFailed, NetworkError, PeerRefused
from banyan.node.network.frames import MESSAGE_PROTOCOL, FrameStream
from banyan.node.network.hello import Receipt, refused_by
from banyan.node.network.inbox import Inbox
from banyan.node.network.limits import NetworkLimits


class Messages:
    """Both ends of the protocol; what comes in goes to ``inbox``."""

    def __init__(self, inbox: Inbox, limits: NetworkLimits, count: Callable[[str], None]) -> None:
        self._inbox = inbox
        self._limits = limits
        self._count = count

    async def send(self, connection: Connection, data: bytes) -> None:
        """Deliver ``data``. Raises DeliveryFailed, or RefusedByPeer with the reason the peer gave."""
        if len(data) > self._limits.message_bytes:
            raise refused_by(connection.peer, "too-long")
        try:
            with trio.fail_after(self._limits.request_timeout):
                async with connection.exchange(MESSAGE_PROTOCOL) as frames:
                    await frames.send(data)
                    receipt = await frames.receive_header(Receipt)
        except trio.TooSlowError as error:
            raise DeliveryFailed(f"{connection.peer} did not acknowledge a message in time") from error
        except PeerRefused as refusal:
            self._count(refusal.reason)
            raise DeliveryFailed(f"{connection.peer} answered a message with nonsense") from refusal
        except NetworkError as error:
            raise DeliveryFailed(f"The connection to {connection.peer} was lost: {error.what}") from error
        if receipt.refused is not None:
            raise refused_by(connection.peer, receipt.refused)

    async def answer(self, connection: Connection, frames: FrameStream) -> None:
        """Take messages until the peer ends the stream; each is acknowledged once it is in the inbox."""
        while True:
            with trio.fail_after(self._limits.request_timeout):
                data = await frames.receive_or_end(self._limits.message_bytes)
            if data is None:
                return
            with trio.move_on_after(self._limits.request_timeout / 3) as waiting:
                await self._inbox.message(connection.peer, data)
            if waiting.cancelled_caught:
                self._count("busy")
            with trio.fail_after(self._limits.request_timeout):
                await frames.send_header(Receipt("busy" if waiting.cancelled_caught else None))
