"""``banyan audit``: do a certified release over."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

#: Seconds to wait for updates that other nodes hold.
PATIENCE = 60.0

EXAMPLES = """
Examples:

    banyan audit

    banyan audit /health/first_aid --release 12
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(audit)


def audit(
    branch: Annotated[str | None, typer.Argument(show_default="the one this node works on")] = None,
    release: Annotated[int | None, typer.Option(min=1, help="Its height.", show_default="the newest")] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Do a release over from the signed updates it names, and say whether it is right. Updates are kept for three
    rounds."""
    from banyan.node.cli.client import Client
    from banyan.node.cli.wording import short
    from banyan.node.home import Home
    from banyan.security.errors import BanyanError

    client = Client(Home.find(home))
    seen = int(client.get("/status")["last_event"])
    asked = client.post("/audit", {"branch": branch, "height": release})
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for event in client.get("/events", after=seen, kind="release-audited")["events"]:
            if event["release"] == asked["release"]:
                break
        else:
            time.sleep(0.2)
            continue
        break
    else:
        raise BanyanError(
            f"Not every update of release {asked['height']} could be had within {PATIENCE:.0f} s",
            "Updates are kept for three rounds: audit a newer release",
        )
    if json_:
        import json

        print(json.dumps(event))
    elif event["problem"]:
        print(f"Release {asked['height']} of {asked['branch']} is false. {event['problem']}.")
    else:
        print(f"Release {asked['height']} of {asked['branch']} is right: done over from its signed updates.")
        for member, weight in event["weights"]:
            print(f"  {short(member)}  weight {weight:.3f}")
    raise typer.Exit(1 if event["problem"] else 0)
