"""Taking TCP connections on one port, without letting half-open ones crowd out the rest."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from banyan.node.network.errors import NetworkError, PortInUse

_OUT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BACKLOG: Final = 128


async def listen(host: str, port: int) -> trio.SocketListener:
    """A listening socket on exactly this address; port 0 takes any free one.

    SO_REUSEPORT is never set: two nodes on one port would each get half of the connections, and neither
    would notice. Raises PortInUse, or NetworkError with the cause.
    """
    try:
        (listener,) = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from error
        cure = "Choose a port above 1023" if error.errno == errno.EACCES else "Check the listen address"
        raise NetworkError(f"The node cannot listen on {host} port {port}: {error.strerror}", cure) from error
    return listener


async def accept(
    listener: trio.SocketListener, admit: Callable[[trio.SocketStream], None], count: Callable[[str], None]
) -> None:
    """Hand every connection to ``admit``, for ever. Raises OSError only if the listener itself is broken."""
    while True:
        try:
            stream = await listener.accept()
        except OSError as error:
            if error.errno in _OUT_OF_FILES:
                count("out-of-files")
                await trio.sleep(0.1)
                continue
            if error.errno in (errno.EBADF, errno.EINVAL, errno.ENOTSOCK):
                raise
            continue  # the one connection failed between arriving and being taken
        admit(stream)


class Strangers:
    """Connections that have not yet proved to belong here: at most ``limit``, each for ``timeout`` seconds.

    When one more comes, the one that has dawdled longest goes. Honest peers are done within milliseconds, so
    a thousand sockets that say nothing cost them nothing.
    """

    def __init__(self, limit: int, timeout: float, count: Callable[[str], None]) -> None:
        self._limit = limit
        self._timeout = timeout
        self._count = count
        self._scopes: OrderedDict[int, trio.CancelScope] = OrderedDict()
        self._next = 0

    def __len__(self) -> int:
        return len(self._scopes)

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Do the proving inside; it is cancelled, and counted, when time or place runs out."""
        if len(self._scopes) >= self._limit:
            _, oldest = self._scopes.popitem(last=False)
            oldest.cancel()
            self._count("handshakes-full")
        self._next += 1
        ticket = self._next
        with trio.move_on_after(self._timeout) as scope:
            self._scopes[ticket] = scope
            try:
                yield
            finally:
                evicted = self._scopes.pop(ticket, None) is None
        if scope.cancelled_caught and not evicted:
            self._count("handshake-slow")
