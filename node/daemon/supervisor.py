"""Keeps services running: one that fails is reported and started again, with growing pauses."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from banyan.protocol.events import Event, ServiceRestarted
from banyan.security.errors import BanyanError

log = logging.getLogger("banyan.daemon")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts, in seconds: ``first``, doubling up to ``longest``.

    A service that then ran for ``forgiven_after`` seconds begins at ``first`` again.
    """

    first: float = 0.2
    longest: float = 30.0
    forgiven_after: float = 60.0

    def pause(self, attempt: int) -> float:
        """Seconds to wait before attempt ``attempt`` (the first restart is attempt 1)."""
        return min(self.longest, self.first * 2.0 ** (min(attempt, 32) - 1))


@dataclass(slots=True)
class Service:
    """What is known of one service: for status, and for whoever asks why something does not work."""

    name: str
    running: bool = False
    restarts: int = 0
    last_error: str | None = None

    def plain(self) -> dict[str, object]:
        """The JSON-ready form."""
        return {
            "name": self.name,
            "running": self.running,
            "restarts": self.restarts,
            "last_error": self.last_error,
        }


@dataclass(slots=True)
class Supervisor:
    """Runs services side by side. No exception of a service leaves it, but for those named fatal."""

    report: Callable[[Event], None]
    backoff: Backoff = field(default_factory=Backoff)
    services: dict[str, Service] = field(default_factory=dict)

    async def keep(
        self,
        name: str,
        service: Callable[[], Awaitable[None]],
        *,
        fatal: tuple[type[BaseException], ...] = (),
    ) -> None:
        """Run ``service`` until it returns; each time it raises, report it and start it again after a pause.

        An exception of a type in ``fatal`` is raised: trying again cannot help (a port in use).
        """
        known = self.services.setdefault(name, Service(name))
        attempt = 0
        while True:
            began = trio.current_time()
            known.running = True
            try:
                await service()
            except Exception as error:
                reason = first_cause(error)
                if isinstance(reason, fatal):
                    raise reason from error
            else:
                return
            finally:
                known.running = False
            if trio.current_time() - began >= self.backoff.forgiven_after:
                attempt = 0
            attempt += 1
            known.restarts += 1
            known.last_error = describe(reason)
            log.error("%s failed: %s", name, known.last_error, exc_info=reason)
            self.report(ServiceRestarted(service=name, reason=known.last_error, attempt=attempt))
            await trio.sleep(self.backoff.pause(attempt))


def first_cause(error: BaseException) -> BaseException:
    """The first real exception within nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def describe(error: BaseException) -> str:
    """One line for people: our own errors speak for themselves, others are named by their type."""
    if isinstance(error, BanyanError):
        return str(error)
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
