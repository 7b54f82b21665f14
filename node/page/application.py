"""What the page can see and do: its own files, the event stream, and a part of the control API.

| request | answer |
|---|---|
| ``GET /``, ``GET /NAME`` | the page's files |
| ``POST /session`` | a cookie for the ``ticket`` of a link |
| ``GET /api/stream`` | the event log as server-sent events; ``after`` or ``Last-Event-ID``: past that event |
| ``GET /api/shelf?search=`` | the catalog, with what fits this device |
| ``/api/…`` | the control API, as far as :data:`ALLOWED` |
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from typing import Final, Literal, Protocol

import trio
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from banyan.node.catalog.hardware import Device
from banyan.node.daemon.control import NothingRequest, json_of, parsed, refuse
from banyan.node.page.door import Door, Guard, cookie_name, refused
from banyan.node.page.shelf import shelf
from banyan.node.page.stream import Log, events
from banyan.security.errors import BanyanError

#: Event streams open at once, of all tabs together.
STREAMS: Final = 16

#: What of the control API the page may ask: no more than it has buttons for.
ALLOWED: Final = frozenset(
    {
        ("GET", "/status"),
        ("GET", "/peers"),
        ("GET", "/branches"),
        ("GET", "/cards"),
        ("GET", "/clone"),
        ("POST", "/clone"),
        ("POST", "/train"),
        ("POST", "/assistant"),
    }
)

TYPES: Final = {".js": "text/javascript", ".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml"}


class TicketRequest(NothingRequest):
    """``POST /session``."""

    ticket: str = Field(..., min_length=1, max_length=200)


class StreamRequest(NothingRequest):
    """The query of ``GET /api/stream``."""

    after: int | None = Field(None, ge=0, le=2**53)


class ShelfRequest(NothingRequest):
    """The query of ``GET /api/shelf``."""

    search: str = Field("", max_length=400)


class Shown(Log, Protocol):
    """What the page needs of a node beside its control API."""

    async def cards(self, branch: str | None) -> list[dict[str, object]]: ...

    async def device(self) -> Device: ...


def application(node: Shown, control: ASGIApp, door: Door, port: int) -> ASGIApp:
    """The ASGI application behind ``port`` of the loopback interface: guarded, and no wider than the page."""
    own = _files()
    streams = trio.CapacityLimiter(STREAMS)

    async def file(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in own:
            return refused(404, f"The page has no {name}", "Begin at /")
        return Response(own[name], media_type=TYPES["." + name.rpartition(".")[2]])

    async def session(request: Request) -> Response:
        secret = door.exchange(parsed(TicketRequest, await json_of(request)).ticket)
        if secret is None:
            return refused(401, "This link was used before or is too old", "Get a new one with `banyan page`")
        answer = JSONResponse({"welcome": True})
        answer.set_cookie(cookie_name(port), secret, path="/", httponly=True, samesite="strict")
        return answer

    async def stream(request: Request) -> Response:
        given = request.headers.get("last-event-id") or request.query_params.get("after")
        wish = parsed(StreamRequest, {} if given is None else {"after": given})
        if streams.available_tokens < 1:
            return refused(503, "Too many tabs of this page are open", "Close some")

        async def held() -> AsyncIterator[bytes]:
            async with streams:
                async for frame in events(node, wish.after):
                    yield frame

        return StreamingResponse(held(), media_type="text/event-stream")

    async def catalog(request: Request) -> Response:
        wish = parsed(ShelfRequest, dict(request.query_params))
        cards, device = await node.cards(None), await node.device()
        listed = await trio.to_thread.run_sync(shelf, cards, wish.search, device)
        return JSONResponse({"listings": listed, "memory": device.memory, "disk": device.disk})

    inner = Starlette(
        routes=[
            Route("/", file, methods=GET),
            Route("/session", session, methods=["POST"]),
            Route("/api/stream", stream, methods=GET),
            Route("/api/shelf", catalog, methods=GET),
            Route("/{name}", file, methods=GET),
        ],
        exception_handlers={BanyanError: refuse},
    )
    return Guard(_Fork(inner, control), door, port)


GET: Final[list[Literal["GET"]]] = ["GET"]


class _Fork:
    """Hands ``control`` what is :data:`ALLOWED` of it below ``/api``, and ``page`` the rest."""

    def __init__(self, page: ASGIApp, control: ASGIApp) -> None:
        self._page = page
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            path = scope["path"].removeprefix("/api")
            if (scope["method"], path) in ALLOWED:
                await self._control({**scope, "path": path, "raw_path": path.encode()}, receive, send)
                return
        await self._page(scope, receive, send)


def _files() -> Mapping[str, bytes]:
    """The page's files by name, read once."""
    folder = files("banyan.node.page").joinpath("static")
    return {
        each.name: each.read_bytes()
        for each in folder.iterdir()
        if "." + each.name.rpartition(".")[2] in TYPES
    }
