"""``banyan serve``: an engine, the API before it, and an ear on the node."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

from banyan.node.daemon.listener import read_token
from banyan.node.home import Home
from banyan.node.serving.api import Served, application
from banyan.node.serving.base_in_memory import BaseInMemory
from banyan.node.serving.chosen_release import (
    ChosenRelease,
    base_of,
    charter_of,
    choose,
    model_of,
    shared_a_of,
    with_lessons,
)
from banyan.node.serving.engine import Engine, EngineLimits
from banyan.node.serving.errors import ServingError
from banyan.node.serving.following import follow

#: Seconds that running answers may take to end when the server stops.
GRACE = 5.0


class ModelServer:
    """One branch's newest model behind OpenAI's API.

    :meth:`open` loads and binds, and raises :class:`BanyanError` for whatever cannot be; :meth:`run` serves.
    """

    def __init__(
        self,
        home: Home,
        branch: str | None = None,
        release: str | None = None,
        *,
        base: Path | None = None,
        device: str = "auto",
        private: bool = False,
        host: str = "127.0.0.1",
        port: int = 8080,
        limits: EngineLimits = EngineLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._home = home
        self._branch, self._release = branch, release
        self._base, self._device, self._private = base, device, private
        self._host, self._port = host, port
        self._limits = limits
        self._key_is_new = not home.serving_key.exists()

    def open(self) -> None:
        """Bind the port, choose the release, load the base."""
        self._socket = _bind(self._host, self._port)
        self.url = _url(self._socket)
        try:
            self._charter = charter_of(self._home)
            self.chosen = choose(self._home, self._branch, self._release, private=self._private)
            if self._private:
                with_lessons(self.chosen)
            self._ground = self._charter.foundation_of(self.chosen.branch)
            folder, spec = base_of(self._home, self._ground.base, self._base), self._ground.adapter
            base = BaseInMemory(folder, spec, shared_a_of(self._home, spec), self._device)
            self.engine = Engine(base, self._limits)
            self.served = Served(self.engine, self.chosen, int(time.time()))
            self.key = read_token(self._home.serving_key)
            self._change(self.chosen)
        except BaseException:
            self._socket.close()
            raise
        self.engine.start()

    @property
    def key_is_new(self) -> bool:
        """Whether the API key was made just now."""
        return self._key_is_new

    async def run(self, changed: Callable[[ChosenRelease], None] = lambda _: None) -> None:
        """Serve until SIGINT or SIGTERM, or until cancelled. ``changed`` is told of each new model, in a thread."""

        def change(chosen: ChosenRelease) -> None:
            self._change(chosen)
            changed(chosen)

        stopping = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                if threading.current_thread() is threading.main_thread():
                    await nursery.start(_stop_on_signal, stopping)
                if self._release is None:
                    newest = partial(choose, self._home, self._branch, private=self._private)
                    nursery.start_soon(follow, self._home, newest, self.chosen, change)
                app = application(self.served, self.key)
                await serve(app, self._config(), shutdown_trigger=stopping.wait, mode="asgi")  # type: ignore[arg-type]
                nursery.cancel_scope.cancel()
        finally:
            self.engine.close()

    def _change(self, chosen: ChosenRelease) -> None:
        ground = self._charter.foundation_of(chosen.branch)
        if ground != self._ground:
            raise ServingError(
                f"{chosen.branch} has another base model ({ground.base.name}) than the one that is served",
                "Start `banyan serve` again to serve that",
            )
        there = (self._home, ground.adapter, chosen)
        self.engine.serve(chosen.fingerprint, *model_of(*there))
        self.chosen = self.served.chosen = chosen

    def _config(self) -> Config:
        config = Config()
        config.bind = [f"fd://{self._socket.detach()}"]  # Hypercorn closes it
        config.accesslog = None
        config.errorlog = None
        config.graceful_timeout = GRACE
        config.shutdown_timeout = GRACE
        config.include_server_header = False
        return config


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServingError(
            f"{host} is no address of this machine ({error.strerror})",
            "Give 127.0.0.1 for this machine only, 0.0.0.0 for every network it is on",
        ) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise ServingError(
            f"Port {port} on {host} cannot be listened on ({error.strerror})",
            f"Choose another: `banyan serve --port {port % 65_535 + 1}`; port 0 takes any free one",
        ) from None
    return bound


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


async def _stop_on_signal(
    stopping: trio.Event, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if stopping.is_set():
                raise KeyboardInterrupt
            stopping.set()
