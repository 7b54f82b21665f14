"""Tells a program of the owner's about every release of the node's branch, and of those above it.

The program is run as a list of arguments, never through a shell, and learns what happened from its environment, so
nothing that a peer has chosen is ever parsed as a command. It cannot hurt the node: few run at once, each has a time
limit after which it and its children are killed, what fails is an event, and what is too much is dropped and counted.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import trio

from banyan.node.daemon.events import HookFailed
from banyan.node.settings import Hooks, Settings
from banyan.node.store import StoredEvent
from banyan.protocol.events import Event
from banyan.security.scope import covers

__all__ = ["ReleaseHook"]

AT_ONCE: Final = 2
"""Runs of a hook side by side."""

WAITING: Final = 64
"""Releases that wait for a free run; a node that catches up with more drops the newest of them."""

OUTPUT: Final = 2_048
"""Bytes of a failed hook's output that are reported."""

LAST_WORDS: Final = 1.0
"""Seconds to read what a hook has said once it has ended: a child of its own may hold the pipe open for ever."""

SECRETS: Final = frozenset({"BANYAN_PASSPHRASE"})


class ReleaseHook:
    """Runs ``hooks.release``.

    Args:
        settings: the owner's choices of this moment.
        releases: every release-certified event from now on.
        branch: the branch this node works on at this moment.
        facts: what every run is told, such as ``BANYAN_HOME``.
        report: takes events.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        releases: Callable[[], AsyncIterator[StoredEvent]],
        branch: Callable[[], str],
        facts: Mapping[str, str],
        report: Callable[[Event], None],
    ) -> None:
        self._settings = settings
        self._releases = releases
        self._branch = branch
        self._facts = facts
        self._report = report
        self._dropped = 0

    async def run(self) -> None:
        """Watch and run, for ever."""
        jobs, waiting = trio.open_memory_channel[tuple[Hooks, dict[str, str]]](WAITING)
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(self._work, waiting.clone())
            async for event in self._releases():
                hooks = self._settings().hooks
                if not hooks.release or not covers(str(event.body["branch"]), self._branch()):
                    continue
                try:
                    jobs.send_nowait((hooks, self._facts | _facts_of(event.body)))
                except trio.WouldBlock:
                    self._dropped += 1
                    self._fail(
                        event.body, f"{WAITING} releases wait for it already ({self._dropped} dropped so far)"
                    )

    async def _work(self, waiting: trio.MemoryReceiveChannel[tuple[Hooks, dict[str, str]]]) -> None:
        async for hooks, facts in waiting:
            why = await _run(hooks.release, facts, hooks.timeout)
            if why is not None:
                self._fail({"branch": facts["BANYAN_BRANCH"], "height": int(facts["BANYAN_HEIGHT"])}, why)

    def _fail(self, release: Mapping[str, Any], why: str) -> None:
        self._report(HookFailed("release", str(release["branch"]), int(release["height"]), why))


def _facts_of(release: Mapping[str, Any]) -> dict[str, str]:
    return {
        "BANYAN_EVENT": "release",
        "BANYAN_BRANCH": str(release["branch"]),
        "BANYAN_HEIGHT": str(release["height"]),
        "BANYAN_RELEASE": str(release["release"]),
        "BANYAN_LEADER": str(release["leader"]),
        "BANYAN_USED": str(len(release["used"])),
        "BANYAN_LEFT_OUT": str(len(release["left_out"])),
    }


async def _run(command: tuple[str, ...], facts: Mapping[str, str], limit: float) -> str | None:
    """Run ``command`` for at most ``limit`` seconds; returns what went wrong, or None."""
    environment = {name: value for name, value in os.environ.items() if name not in SECRETS} | dict(facts)
    try:
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # so that what it starts can be ended with it
        )
    except (OSError, ValueError) as error:
        return f"{command[0]} cannot be run ({error})"
    assert process.stderr is not None
    said = bytearray()
    ended = False
    try:
        with trio.move_on_after(limit):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_read, process.stderr, said)
                await process.wait()
                ended = True
                nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stderr.aclose()
    if not ended:
        return f"{command[0]} was ended after {limit:g} s"
    if process.returncode:
        words = " ".join(bytes(said).decode("utf-8", "replace").split())
        return f"{command[0]} ended with {process.returncode}" + (f": {words[-300:]}" if words else "")
    return None


async def _read(pipe: trio.abc.ReceiveStream, said: bytearray) -> None:
    """Keep the last of what it says, and never let it block on a full pipe."""
    async for chunk in pipe:
        said += chunk
        del said[:-OUTPUT]
