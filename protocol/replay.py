"""Refuse a control message that was heard before, or that is too old to tell."""

from __future__ import annotations

from typing import Final

from banyan.security.errors import Refused

__all__ = ["ReplayGuard"]

WINDOW: Final = 256
AUTHORS: Final = 4096


class ReplayGuard:
    """Per author the newest sequence number and which of the 256 before it have been heard, as IPsec does
    (RFC 4303, section 3.4.3), so that reordered messages pass and repeated ones do not.

    Args:
        skew: milliseconds by which clocks may differ; an older message is refused as stale, so a window that was
            forgotten (a restart, too many authors) opens at most that much of the past.
    """

    def __init__(self, skew: int) -> None:
        self._skew = skew
        self._heard: dict[str, tuple[int, int]] = {}

    def check(self, author: str, seq: int, time: int, now: int) -> None:
        """Raises ``Refused``: ``stale`` or ``replayed``."""
        if abs(now - time) > self._skew:
            raise Refused("stale", "The message is too old, or a clock is wrong")
        newest, bits = self._heard.pop(author, (-1, 0))
        ahead = seq - newest
        if ahead > 0:
            newest, bits = seq, ((bits << ahead) | 1) & ((1 << WINDOW) - 1) if ahead < WINDOW else 1
        elif -ahead >= WINDOW or bits >> -ahead & 1:
            self._heard[author] = (newest, bits)
            raise Refused("replayed", "The message was heard before")
        else:
            bits |= 1 << -ahead
        if len(self._heard) >= AUTHORS:
            del self._heard[next(iter(self._heard))]
        self._heard[author] = (newest, bits)
