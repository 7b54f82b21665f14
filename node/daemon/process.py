"""A node as this process: logging, signals, exit code."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Mapping
from logging.handlers import RotatingFileHandler

import trio

from banyan.node.daemon.parts import Parts
from banyan.node.daemon.service import Daemon
from banyan.node.daemon.supervisor import first_cause
from banyan.node.home import Home
from banyan.security.errors import BanyanError

#: The log is kept in this many files of this many bytes.
LOG_BYTES, LOG_FILES = 2_000_000, 3

log = logging.getLogger("banyan.daemon")


def serve(
    home: Home,
    flags: Mapping[str, object] | None = None,
    passphrase: Callable[[], str] | None = None,
    *,
    parts: Parts | None = None,
    to_stderr: bool = False,
) -> int:
    """Run a node until SIGTERM, SIGINT or ``banyan down``; returns 0, or 1 after saying why it could not go on."""
    if parts is None:
        from banyan.node.daemon.standard import standard_parts

        parts = standard_parts()
    try:
        home.create()
        _log_to(home, to_stderr)
        trio.run(_run, home, parts, dict(flags or {}), passphrase)
    except (BanyanError, ExceptionGroup) as error:
        cause = first_cause(error)
        if not isinstance(cause, BanyanError):
            raise
        log.error("the node ends: %s", cause)
        print(f"banyan: {cause}", file=sys.stderr)
        return 1
    return 0


async def _run(
    home: Home, parts: Parts, flags: Mapping[str, object], passphrase: Callable[[], str] | None
) -> None:
    daemon = Daemon(home, parts, flags, passphrase)
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            await nursery.start(_stop_on, signals, daemon, nursery)
            await daemon.run()
            nursery.cancel_scope.cancel()


async def _stop_on(
    signals: object,
    daemon: Daemon,
    nursery: trio.Nursery,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    task_status.started()
    first = True
    async for number in signals:  # type: ignore[attr-defined]
        if not first or daemon.phase == "starting":
            nursery.cancel_scope.cancel()  # asked twice, or before there is anything to end cleanly
            return
        first = False
        daemon.stop(signal.Signals(number).name)


def _log_to(home: Home, to_stderr: bool) -> None:
    handlers: list[logging.Handler] = [
        RotatingFileHandler(home.log, maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1, encoding="utf-8")
    ]
    if to_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(_Lines())
    root = logging.getLogger("banyan")
    root.handlers[:] = handlers
    root.setLevel(logging.INFO)
    root.propagate = False


class _Lines(logging.Formatter):
    """``2026-11-22T13:04:18Z warning round-waiting branch=/ have=2 …``"""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        import time

        self.converter = time.gmtime
