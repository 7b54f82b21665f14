"""``banyan season``: what branches still gain with the A they train under, when a fresh one is due, and one by hand."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

EXAMPLES = """
Examples:

    banyan season              where each branch stands, and what begins the next season

    banyan season --open       a fresh A for everybody, now
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
    trains with a fresh A: what was learned before stays in every model as it is. Worth it once branches gain little,
    and then it begins by itself unless the network was founded with `--seasons manual`."""
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
    policy = found["policy"]
    print(f"The network is in season {found['season']}. {_when(policy)}")
    for each in found["branches"]:
        print(_line(each, policy))


def _when(policy: dict[str, Any]) -> str:
    if policy["policy"] == "manual":
        return "A founder's node opens the next one."
    return (
        f"The next one begins by itself once {policy['share']:.0%} of the branches gain no more than "
        f"{policy['tolerance']:g} over {policy['patience']} releases."
    )


STANDINGS = {
    "gains": "still gains",
    "rests": "has stopped gaining, and gained nothing in this season: another A would not help",
    "asks": "has stopped gaining: ready for the next season",
}


def _line(branch: dict[str, Any], policy: dict[str, Any]) -> str:
    gain, fell, standing = branch["gain"], branch["fell"], branch["standing"]
    told = "too few releases to tell what it gains" if gain is None else f"loss falls by {gain:.3g} a release"
    if fell is not None:
        told = f"loss fell by {fell:.3g} over {policy['patience']} releases (median of {branch['members']} members)"
    if standing:
        told += f"; {STANDINGS[standing]}"
    return f"{branch['branch']}: season {branch['season']}, {told}"
