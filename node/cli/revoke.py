"""``banyan revoke``: end a membership, for everybody."""

from __future__ import annotations

from typing import Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

EXAMPLES = """
Examples:

    banyan revoke 12D3KooW… --why "left the clinic"
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(revoke)


def revoke(
    subject: Annotated[str, typer.Argument(help="A member's node id, or the key of an invite.")],
    why: Annotated[str, typer.Option(help="For people; everybody can read it.")] = "",
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """End a membership or an invite for everybody, and all that was granted through it. It cannot be undone; only a
    founder's node can do it."""
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    answer = Client(Home.find(home)).post("/revoke", {"subject": subject, "why": why})
    if json_:
        import json

        print(json.dumps(answer))
    else:
        print(f"Revoked {subject}. The news spreads; nothing of it is used any more.")
