"""``banyan catalog``: the models of the network, as their cards describe them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from banyan.node.catalog.listing import Listing

EXAMPLES = """
Examples:

    banyan catalog

    banyan catalog --search "tax in German"

    banyan catalog --json | jq '.[].path'
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(catalog)


def catalog(
    search: Annotated[
        str | None, typer.Option(help="Only branches that match these words, the best first.")
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """List every branch that has a model card. Answers from this node's own store, also when it does not run."""
    from banyan.node.cli.listings import listings
    from banyan.node.home import Home

    found = listings(Home.find(home))
    chosen = _matching(found, search) if search else found
    if json_:
        import json

        print(json.dumps([listing.model_dump(mode="json") for listing in chosen]))
        return
    if not chosen:
        print(f"No card matches {search!r}." if found else "No card has reached this node yet.")
        return
    _show(chosen)


def _matching(found: list[Listing], search: str) -> list[Listing]:
    from banyan.node.catalog.matching import Matcher
    from banyan.node.catalog.recommender import LEAST_MATCH
    from banyan.node.catalog.understand import understand

    scores = Matcher(found).scores(understand(search))
    ranked = sorted(zip(scores, found, strict=True), key=lambda pair: (-pair[0], pair[1].path))
    return [listing for score, listing in ranked if score >= LEAST_MATCH]


def _show(chosen: list[Listing]) -> None:
    from rich.console import Console
    from rich.table import Table

    from banyan.node.catalog.memory import to_run
    from banyan.node.cli.listings import model_line
    from banyan.node.cli.wording import age, size

    table = Table("branch", "for", "languages", "model", "memory", "by", "released")
    for each in chosen:
        about = each.title or ", ".join(each.domains)
        released = age(each.released) if each.released is not None else "not yet"
        table.add_row(
            each.path,
            about,
            " ".join(each.languages),
            model_line(each),
            size(to_run(each, "float32")),
            f"{each.contributors}" + ("" if each.standing == "certified" else "?"),
            released,
        )
    console = Console()
    console.print(table)
    if any(each.standing == "claimed" for each in chosen):
        console.print("? as the card claims: this node does not follow that branch.", style="dim")
