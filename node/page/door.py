"""Who may look at the page: a browser on this machine that came with a ticket from the node's own socket.

A ticket stands in the fragment of the link that ``banyan page`` prints, which browsers send to nobody. It opens once,
for a cookie that scripts cannot read and other sites cannot send. A name that somebody else's DNS lets point here (DNS
rebinding) is refused, and so is every request that another site caused.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Seconds that a ticket is good for.
TICKET_SECONDS: Final = 600.0

#: Tickets and sessions that are remembered; the oldest give way.
TICKETS, SESSIONS = 16, 16

#: Nothing but the page's own files runs or is shown, nothing may frame it, and no text ever becomes HTML.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Door:
    """Tickets and sessions of one run of the node; both are random, and only their digests are kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` counts seconds."""
        self._clock = clock
        self._tickets: OrderedDict[bytes, float] = OrderedDict()
        self._sessions: OrderedDict[bytes, None] = OrderedDict()

    def ticket(self) -> str:
        """A new ticket, good once and for :data:`TICKET_SECONDS`."""
        ticket = secrets.token_urlsafe(32)
        self._tickets[_digest(ticket)] = self._clock() + TICKET_SECONDS
        while len(self._tickets) > TICKETS:
            self._tickets.popitem(last=False)
        return ticket

    def exchange(self, ticket: str) -> str | None:
        """The secret of a new session; None where ``ticket`` is unknown, too old or was used before."""
        until = self._tickets.pop(_digest(ticket), None)
        if until is None or self._clock() > until:
            return None
        secret = secrets.token_urlsafe(32)
        self._sessions[_digest(secret)] = None
        while len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return secret

    def knows(self, secret: str) -> bool:
        """Whether ``secret`` is of a session that still counts."""
        digest = _digest(secret)
        if digest not in self._sessions:
            return False
        self._sessions.move_to_end(digest)
        return True


class Guard:
    """Lets through to ``app`` what the page at ``port`` asks; below ``/api`` only with a session of ``door``."""

    def __init__(self, app: ASGIApp, door: Door, port: int) -> None:
        self._app = app
        self._door = door
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        self._cookie = cookie_name(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> JSONResponse | None:
        headers = request.headers
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return refused(
                403, "The page answers to 127.0.0.1 only", "Use the link that `banyan page` prints"
            )
        changes = request.method not in ("GET", "HEAD")
        if (origins or changes) and origins != [f"http://{hosts[0]}"]:
            return refused(403, "Another site asked for this", "Use the page itself")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return refused(403, "Another site asked for this", "Use the page itself")
        if changes and headers.get("content-type") != "application/json":
            return refused(415, "The request is not JSON", "Send it as application/json")
        if request.url.path.startswith("/api/") and not self._door.knows(self._secret(request)):
            return refused(401, "This browser is not let in yet", "Open the link that `banyan page` prints")
        return None

    def _secret(self, request: Request) -> str:
        try:
            cookies = SimpleCookie("; ".join(request.headers.getlist("cookie")))
        except CookieError:
            return ""
        return cookies[self._cookie].value if self._cookie in cookies else ""


def cookie_name(port: int) -> str:
    """Cookies do not tell ports apart, and several nodes may live on a machine."""
    return f"banyan-{port}"


def refused(status: int, error: str, cure: str) -> JSONResponse:
    """An error as the control API says it."""
    return JSONResponse({"error": error, "cure": cure}, status)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
