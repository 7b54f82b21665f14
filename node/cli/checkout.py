"""``banyan checkout``: use an older release, or the newest again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from banyan.node.cli.client import Client

#: Seconds that the adapters may take to come from other nodes.
PATIENCE = 600.0

EXAMPLES = """
Examples:

    banyan checkout @~1          back to the release before the newest

    banyan checkout /health/first_aid@12

    banyan checkout 9ab3f1c2

    banyan checkout --latest     follow the branch again
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(checkout)


def checkout(
    release: Annotated[
        str | None,
        typer.Argument(help="One of this node's branch.", show_default=False),
    ] = None,
    latest: Annotated[bool, typer.Option("--latest", help="Use the branch's newest release again.")] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Pin this node to a release of its branch: what it serves and exports is the model as it stood then, the branches
    above included, until --latest. It goes on taking part as before: it follows, votes, and trains from the newest
    release, since an update from an old one would undo what the others have learned.

    Name a release as in git: PATH@HEIGHT, PATH~2, @HEIGHT or @~2 on this node's branch, or its id."""
    from banyan.node.cli.client import Client
    from banyan.node.cli.wording import named
    from banyan.node.home import Home

    if (release is None) is not latest:
        raise click.UsageError("Give a release, or --latest.")
    client = Client(Home.find(home))
    seen = int(client.get("/status")["last_event"])
    asked = client.post("/checkout", {"release": release})
    if release is not None:
        _wait(client, asked, seen)
    if json_:
        import json

        print(json.dumps(asked))
    elif release is not None:
        print(
            f"Pinned to {named(asked)}.\nThis node serves and exports that release, and takes part as before.\n"
            "Back to the newest: banyan checkout --latest"
        )
    elif was := asked["was"]:
        print(f"No longer pinned to {named(was)}: the newest counts again.")
    else:
        print(f"This node is not pinned: it uses the newest release of {asked['branch']}.")


def _wait(client: Client, asked: dict[str, Any], seen: int) -> None:
    """Return once the node is pinned. Raises :class:`BanyanError` if it cannot be."""
    from rich.console import Console
    from rich.status import Status

    from banyan.security.errors import BanyanError

    deadline = time.monotonic() + PATIENCE
    with Status(f"fetching {asked['branch']}@{asked['height']}", console=Console(stderr=True)):
        while time.monotonic() < deadline:
            for kind in ("release-pinned", "pin-failed"):
                for event in client.get("/events", after=seen, kind=kind)["events"]:
                    if event["release"] != asked["release"]:
                        continue
                    if kind == "release-pinned":
                        return
                    raise BanyanError(
                        event["why"],
                        "This node goes on as it was. Members keep the adapters of a branch's newest releases, and of "
                        "those that they are pinned to: try again when others are connected, or choose a newer release",
                    )
            time.sleep(0.2)
    raise BanyanError(
        f"{asked['branch']}@{asked['height']} has not come within {PATIENCE:.0f} s",
        "The node goes on trying until it is restarted: see `banyan status`",
    )
