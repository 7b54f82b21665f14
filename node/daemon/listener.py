"""Serves the control API on the Unix socket, on TCP where the owner wants it, and the page."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.types import ASGIApp

from banyan.node.daemon.control import TokenGuard
from banyan.node.home import write_durably

#: Seconds that a request may take to end when the node stops.
GRACE = 2.0


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = None
    config.graceful_timeout = GRACE
    config.shutdown_timeout = GRACE
    config.h11_max_incomplete_size = 16_384
    config.include_server_header = False
    return config


async def serve_socket(app: ASGIApp, path: Path, stopping: trio.Event) -> None:
    """Serve until ``stopping``; the socket is open to this user only, and gone afterwards."""
    with suppress(FileNotFoundError):
        path.unlink()  # of a node that was killed: the lock says that it lives no more
    config = _config()
    config.bind = [f"unix:{path}"]
    config.umask = 0o177
    try:
        await serve(app, config, shutdown_trigger=stopping.wait, mode="asgi")  # type: ignore[arg-type]
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


async def serve_tcp(app: ASGIApp, host: str, port: int, token_file: Path, stopping: trio.Event) -> None:
    """Serve until ``stopping`` on TCP; every request must carry the token in ``token_file``."""
    config = _config()
    config.bind = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"]
    guarded = TokenGuard(app, read_token(token_file))
    await serve(guarded, config, shutdown_trigger=stopping.wait, mode="asgi")  # type: ignore[arg-type]


async def serve_bound(app: ASGIApp, bound: socket.socket, stopping: trio.Event) -> None:
    """Serve until ``stopping`` on ``bound``, which this closes."""
    config = _config()
    config.bind = [f"fd://{bound.detach()}"]
    await serve(app, config, shutdown_trigger=stopping.wait, mode="asgi")  # type: ignore[arg-type]


def read_token(path: Path) -> str:
    """The secret of the control API, made at the first call; readable by this user only."""
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        write_durably(path, token.encode(), 0o600)
        return token
