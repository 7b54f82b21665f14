"""Goes with the node: when what it uses changes, the server hears of it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from banyan.node.cli.client import Client
from banyan.node.home import Home
from banyan.node.serving.chosen_release import ChosenRelease
from banyan.security.errors import BanyanError

log = logging.getLogger("banyan.serving")

#: Seconds until the next look for a node that does not answer.
PAUSE = 3.0

#: Events after which a node may use another model.
NEWS = frozenset(
    {
        "branch-opened",
        "caught-up",
        "mixing-began",
        "mixing-ended",
        "model-mixed",
        "node-started",
        "private-lesson-finished",
        "private-shared",
        "release-certified",
        "release-pinned",
        "release-unpinned",
    }
)


async def follow(
    home: Home,
    choose: Callable[[], ChosenRelease],
    now: ChosenRelease,
    change: Callable[[ChosenRelease], None],
) -> None:
    """Call ``change``, in a thread, with each model that ``choose`` names after ``now`` when the running node has come
    to use another. Waits for a node where none runs, and goes on until cancelled."""
    client, told = Client(home), ""
    while True:
        try:
            # Read before the model is asked for, so that no change falls between the two.
            status = await trio.to_thread.run_sync(client.get, "/status", abandon_on_cancel=True)
            newest = await trio.to_thread.run_sync(choose, abandon_on_cancel=True)
            if newest != now:
                await trio.to_thread.run_sync(change, newest)
                now = newest
            told = ""
            await trio.to_thread.run_sync(
                _wait_for_news, client, status["last_event"], abandon_on_cancel=True
            )
        except BanyanError as error:
            if str(error) != told:
                told = str(error)
                log.warning("%s Until then the same model is served.", told)
            await trio.sleep(PAUSE)


def _wait_for_news(client: Client, after: int) -> None:
    """Return when the node has said something that may matter, or has ended."""
    try:
        for event in client.follow(after):
            if event.get("event") in NEWS:
                return
    except (OSError, ValueError):
        return  # its last line was cut off
