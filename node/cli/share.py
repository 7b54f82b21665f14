"""``banyan share``: give a branch what this device has learnt for itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from banyan.node.cli.client import Client

#: Seconds between two looks.
INTERVAL = 0.5

EXAMPLES = """
Examples:

    banyan share                    asks first

    banyan share --yes --no-wait
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(share)


def share(
    yes: Annotated[bool, typer.Option("--yes", help="Share without asking first.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch until the round is closed.")] = True,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Give the branch's next round what `banyan train --private` has taught this device: the change of the adapter, as
    one signed update. The rows stay here. It cannot be taken back."""
    from banyan.node.cli.client import Client
    from banyan.node.cli.train import ask_to_share
    from banyan.node.home import Home

    client = Client(Home.find(home))
    status = client.get("/status")
    if status.get("private", {}).get("kept") and not yes:
        ask_to_share(status["branch"])
    asked = client.post("/share", {})
    answer = {**asked, "release": _watch(client, asked, int(status["last_event"]), json_) if wait else None}
    if json_:
        import json

        print(json.dumps(answer))
    elif not wait:
        print(f"It goes into the next round of {asked['branch']}. See `banyan status`.")


def _watch(client: Client, asked: dict[str, Any], seen: int, quiet: bool) -> dict[str, Any] | None:
    """Wait until the update is announced and its round is closed; the release as in the log."""
    from rich.console import Console
    from rich.status import Status

    from banyan.node.cli.status import waits_for

    console, height = Console(quiet=quiet), None
    with Status("starting", console=console) as line:
        while True:
            status = client.get("/status")
            if height is None:
                shared = client.get("/events", after=seen, kind="private-shared")["events"]
                if shared:
                    height = int(shared[0]["height"])
                    console.print(f"Announced for {asked['branch']}@{height}.")
            branch = status.get("core", {}).get("branches", {}).get(asked["branch"], {})
            if height is not None and branch.get("height", -1) >= height:
                break
            line.update(f"waiting for {waits_for(branch) or 'the core'}")
            time.sleep(INTERVAL)
    pages = client.get("/log", branch=asked["branch"])["releases"]
    page = next((each for each in pages if each["height"] == height), None)
    if page is not None:
        used = status["node"] in page["used"]
        console.print(
            f"{asked['branch']}@{height} has it."
            if used
            else f"{asked['branch']}@{height} left it out; it goes into this node's next update."
        )
    return page
