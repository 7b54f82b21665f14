"""The page as a service of the daemon: it listens on the loopback interface from when its owner first asks for it."""

from __future__ import annotations

import socket

import trio
from starlette.types import ASGIApp

from banyan.node.daemon import listener
from banyan.node.page.application import Shown, application
from banyan.node.page.door import TICKET_SECONDS, Door
from banyan.security.errors import BanyanError

#: Seconds that opening it may take.
PATIENCE = 5.0


class PageError(BanyanError):
    """The page could not be opened."""


class PageService:
    """Serves the page of ``node``, whose control API is ``control``, until ``stopping``."""

    def __init__(self, node: Shown, control: ASGIApp, port: int, stopping: trio.Event) -> None:
        """``port`` 0: any that is free, and not before :meth:`link` is called."""
        self._node = node
        self._control = control
        self._stopping = stopping
        self._wish = port
        self._wanted = trio.Event()
        self._door = Door(trio.current_time)
        self._port: int | None = None
        self._trouble: PageError | None = None
        self._settled = trio.Event()
        if port:
            self._wanted.set()

    async def link(self) -> str:
        """The address of the page, with a new ticket in its fragment. Raises :class:`PageError`."""
        self._wanted.set()
        with trio.move_on_after(PATIENCE):
            await self._settled.wait()
        if self._port is None:
            raise self._trouble or PageError("The page does not open", "Look at `banyan status` for why")
        return f"http://127.0.0.1:{self._port}/#ticket={self._door.ticket()}"

    async def run(self) -> None:
        """The service. Raises :class:`PageError` where the port is taken; may be called again."""
        await self._wanted.wait()
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", self._wish))
            bound.listen()  # before anybody is told: a browser that comes at once waits, and is not refused
        except OSError as error:
            bound.close()
            self._trouble = PageError(
                f"Port {self._wish} of this machine is taken ({error.strerror})",
                "Choose another for the page: `banyan settings page.port=0`",
            )
            self._settled.set()
            raise self._trouble from error
        self._port = self._wish = bound.getsockname()[1]  # a restart of the service keeps open tabs alive
        self._settled.set()
        try:
            app = application(self._node, self._control, self._door, self._port)
            await listener.serve_bound(app, bound, self._stopping)
        finally:
            self._port = None
            self._settled = trio.Event()


def words(link: str) -> dict[str, object]:
    """The answer of ``POST /page``."""
    return {"url": link, "good_for_seconds": TICKET_SECONDS}
