"""Keeping a service up: one that fails is started again, later and later, and somebody is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

_FIRST_DELAY: Final = 0.1
_LAST_DELAY: Final = 30.0
_STEADY: Final = 60.0


async def supervise(
    service: Callable[[], Awaitable[None]], failed: Callable[[Exception, float], None]
) -> None:
    """Run ``service`` until it returns. ``failed(error, delay)`` is called before each wait, in seconds.

    The delay doubles from 0.1 s to 30 s, and starts over once the service has run for a minute. Only
    exceptions restart it; a cancellation passes through.
    """
    delay = _FIRST_DELAY
    while True:
        started = trio.current_time()
        try:
            return await service()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other services go on
            if trio.current_time() - started > _STEADY:
                delay = _FIRST_DELAY
            failed(error, delay)
        await trio.sleep(delay)
        delay = min(2 * delay, _LAST_DELAY)
