"""``banyan season``: what branches still gain with the A they train under, and a fresh one for all."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

EXAMPLES = """
Examples:

    banyan season              where each branch stands

    banyan season --open       a fresh A for everybody
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(season)


def season(
    open_: Annotated[
        bool, typer.Option("--open", help="Open the next season, for every branch; a founder's node can.")
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show in which season each branch is and what it still gains there; or open the next. In a new season everybody
    trains with a fresh A: what was learned before stays in every model as it is. Worth it once branches gain little."""
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    client = Client(Home.find(home))
    if open_:
        opened = client.post("/season", {})
        if json_:
            import json

            print(json.dumps(opened))
        else:
            print(
                f"Opened season {opened['season']}. Each branch begins it when it has closed its running round."
            )
        return
    found = client.get("/seasons")
    if json_:
        import json

        print(json.dumps(found, indent=2))
        return
    print(f"The network is in season {found['season']}.")
    for each in found["branches"]:
        print(_line(each))


def _line(branch: dict[str, Any]) -> str:
    gain = branch["gain"]
    told = "too few releases to tell what it gains" if gain is None else f"loss falls by {gain:.3g} a release"
    return f"{branch['branch']}: season {branch['season']}, {told}"
