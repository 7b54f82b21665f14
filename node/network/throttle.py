"""A token bucket: lets one second's worth pass at once, and the configured rate in the long run."""

from __future__ import annotations

import trio


class TokenBucket:
    """``rate`` is in units per second; up to one second's worth is saved while idle."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._saved = rate
        self._at = trio.current_time()

    def wait_for(self, amount: float, now: float) -> float:
        """Take ``amount``, going into debt if need be; the seconds to wait until the debt is paid."""
        self._saved = min(self._rate, self._saved + (now - self._at) * self._rate)
        self._at = now
        self._saved -= amount
        return max(0.0, -self._saved / self._rate)

    async def take(self, amount: float) -> None:
        """Take ``amount``, and sleep for as long as it exceeds the rate."""
        delay = self.wait_for(amount, trio.current_time())
        if delay > 0:
            await trio.sleep(delay)
