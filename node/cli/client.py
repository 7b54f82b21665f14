"""Talks to a running node over its Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from banyan.node.home import Home
from banyan.security.errors import BanyanError

#: Seconds that a node may take to answer one request.
TIMEOUT = 20.0


class NotRunning(BanyanError):
    """No node answers on this state directory."""

    def __init__(self, home: Home) -> None:
        super().__init__(f"No node is running on {home.root}", "Start it with `banyan up`")


class NodeRefused(BanyanError):
    """The node would not do what it was asked."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("node", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """One node's control API. Raises :class:`NotRunning` and :class:`NodeRefused`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """The JSON answer to ``GET path``."""
        return self._ask("GET", path, query, None, TIMEOUT)

    def post(self, path: str, body: Mapping[str, object], timeout: float = TIMEOUT) -> dict[str, Any]:
        """The JSON answer to ``POST path``, waited for ``timeout`` seconds."""
        return self._ask("POST", path, {}, body, timeout)

    def running(self) -> bool:
        """Whether a node answers."""
        try:
            self.get("/status")
        except NotRunning:
            return False
        return True

    def follow(self, after: int | None = None) -> Iterator[dict[str, Any]]:
        """Every event as it happens, until the node stops."""
        query = {"follow": "1"} if after is None else {"follow": "1", "after": after}
        connection, answer = self._open("GET", "/events", query, None, None)
        try:
            while line := answer.readline():
                yield json.loads(line)
        finally:
            connection.close()

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, object],
        body: Mapping[str, object] | None,
        timeout: float,
    ) -> dict[str, Any]:
        connection, answer = self._open(method, path, query, body, timeout)
        try:
            plain = json.loads(answer.read())
        except (ValueError, OSError, http.client.HTTPException) as error:
            raise NodeRefused(f"The node's answer could not be read ({error})", "Look at its log") from error
        finally:
            connection.close()
        if answer.status != 200:
            what = str(plain.get("error", f"the node answered {answer.status}"))
            raise NodeRefused(what, str(plain.get("cure", "")))
        return dict(plain)

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, object],
        body: Mapping[str, object] | None,
        timeout: float | None,
    ) -> tuple[_UnixConnection, http.client.HTTPResponse]:
        connection = _UnixConnection(str(self._home.socket), timeout)
        target = path + ("?" + urlencode({k: v for k, v in query.items() if v is not None}) if query else "")
        try:
            connection.request(method, target, None if body is None else json.dumps(body))
            return connection, connection.getresponse()
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            raise NotRunning(self._home) from None
        except TimeoutError:
            connection.close()
            raise NodeRefused(
                f"The node on {self._home.root} did not answer within {timeout:.0f} s", "Look at its log"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NotRunning(self._home) from error
