"""Delivering messages: ``/banyan/message/1``. A frame goes one way, a :class:`Receipt` the other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Final

import trio

from banyan.node.network.connection import Connection
from banyan.node.network.errors import DeliveryFailed, NetworkError, PeerRefused
from banyan.node.network.frames import MESSAGE_PROTOCOL, FrameStream
from banyan.node.network.hello import Receipt, refused_by
from banyan.node.network.inbox import Inbox
from banyan.node.network.limits import NetworkLimits

AHEAD: Final = 4
"""Messages on their way whose receipts have not come: a quarter of a megabyte of the longest, which is the window of a
stream. More of them would wait for the window; fewer would let the reader wait for us."""


class Messages:
    """Both ends of the protocol; what comes in goes to ``inbox``."""

    def __init__(self, inbox: Inbox, limits: NetworkLimits, count: Callable[[str], None]) -> None:
        self._inbox = inbox
        self._limits = limits
        self._count = count

    async def send(self, connection: Connection, *data: bytes) -> int:
        """Deliver messages in order; how many of them, the first ones, the peer has taken. Raises only where that would
        be none: DeliveryFailed, or RefusedByPeer with the reason the peer gave."""
        fitting = [*takewhile(lambda each: len(each) <= self._limits.message_bytes, data)]
        refused = None if fitting else "too-long"
        sent = taken = 0
        try:
            async with connection.exchange(MESSAGE_PROTOCOL) as frames:
                while taken < len(fitting) and refused is None:
                    with trio.fail_after(self._limits.request_timeout):
                        for each in fitting[sent : taken + AHEAD]:
                            await frames.send(each)
                            sent += 1
                        refused = (await frames.receive_header(Receipt)).refused
                    taken += refused is None
        except trio.TooSlowError as error:
            if not taken:
                raise DeliveryFailed(f"{connection.peer} did not acknowledge a message in time") from error
        except PeerRefused as refusal:
            self._count(refusal.reason)
            if not taken:
                raise DeliveryFailed(f"{connection.peer} answered a message with nonsense") from refusal
        except NetworkError as error:
            if not taken:
                raise DeliveryFailed(f"The connection to {connection.peer} was lost: {error.what}") from error
        if refused is not None and not taken:
            raise refused_by(connection.peer, refused)
        return taken

    async def answer(self, connection: Connection, frames: FrameStream) -> None:
        """Take messages until the peer ends the stream; each is acknowledged once it is in the inbox. After one that
        had no room none is taken: they are to arrive in order."""
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
            if waiting.cancelled_caught:
                return
