"""``banyan card``: what a branch's model is good for and made of; with options, to describe one's own branch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from banyan.node.catalog.listing import Listing

EXAMPLES = """
Examples:

    banyan card /health/first_aid

    banyan card --title "First aid" --description "What to do after burns and cuts." --language en \\
        --domain "first aid" --domain emergency --task question-answering --license mit
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(card)


def card(
    path: Annotated[
        str | None, typer.Argument(help="The branch.", show_default="the one this node works on")
    ] = None,
    title: Annotated[str | None, typer.Option(help="A name for people.", show_default=False)] = None,
    description: Annotated[
        str | None, typer.Option(help="What the model is good for.", show_default=False)
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="A language it knows, such as en; repeat it.", show_default=False)
    ] = None,
    domain: Annotated[
        list[str] | None, typer.Option(help="A subject, in a word or two; repeat it.", show_default=False)
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="chat, question-answering, summarisation, writing, translation, classification, extraction or code; "
            "repeat it.",
            show_default=False,
        ),
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="The adapter's license, such as mit.", show_default=False)
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show a branch's model card. With words to say, sign the card of this node's own branch anew: members of its
    committee may, and the network's roots."""
    import json

    import click

    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    place = Home.find(home)
    words = {
        "title": title,
        "description": description,
        "languages": language,
        "domains": domain,
        "tasks": task,
        "license": license,
    }
    said = {name: value for name, value in words.items() if value}
    if said:
        if path is not None and path != (own := Client(place).get("/status").get("branch")):
            raise click.UsageError(f"This node works on {own} and describes no other branch.")
        answer = Client(place).post("/card", said)
        print(json.dumps(answer) if json_ else f"Signed a card of {answer['branch']}.")
        return
    listing = _find(place, path)
    if json_:
        print(json.dumps(listing.model_dump(mode="json")))
        return
    for name, text in _lines(listing):
        print(f"{name:14}{text}")


def _find(place: object, path: str | None) -> Listing:
    import difflib

    from banyan.node.cli.client import Client, NotRunning
    from banyan.node.cli.listings import listings
    from banyan.node.home import Home
    from banyan.node.settings import load
    from banyan.security.errors import BanyanError

    assert isinstance(place, Home)
    found = {listing.path: listing for listing in listings(place)}
    if path is None:
        try:
            path = str(Client(place).get("/status")["branch"])
        except NotRunning:
            path = load(place.settings).training.branch or "/"
    if path in found:
        return found[path]
    near = difflib.get_close_matches(path, found, n=1)
    raise BanyanError(
        f"This node holds no card of {path}",
        f"Did you mean {near[0]}?" if near else "See `banyan catalog` for those that it holds",
    )


def _lines(listing: Listing) -> Iterator[tuple[str, str]]:
    from banyan.node.catalog.memory import needed
    from banyan.node.catalog.need import Precision, Use
    from banyan.node.cli.listings import model_line
    from banyan.node.cli.wording import age, short, size

    yield "branch", listing.path + (f"  {listing.title}" if listing.title else "")
    for line in listing.description.splitlines():
        yield "", line
    for name in ("languages", "domains", "tasks"):
        if value := getattr(listing, name):
            yield name, ", ".join(value)
    yield "license", ", ".join(listing.licenses) or "not said"
    yield (
        "model",
        f"{model_line(listing)}, context {listing.base.context:,} tokens, adapter rank {listing.adapter_rank}",
    )
    uses: tuple[Use, Use] = ("run", "train")
    precisions: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
    for use in uses:
        chosen = precisions if use == "run" else precisions[:2]
        needs = ", ".join(f"{size(needed(listing, use, each))} in {each}" for each in chosen)
        yield f"to {use}", needs
    if listing.release is None or listing.released is None:
        yield "release", "none yet: a root of the network describes the branch"
    else:
        yield "release", f"{listing.path}@{listing.height} ({listing.release[:8]}), {age(listing.released)}"
        yield "lineage", f"follows {listing.parent[:8]}" if listing.parent else "the first"
        for counted in listing.counts:
            yield "", f"counts {counted}"
        yield "made by", f"{listing.contributors} contributors, of {listing.members} members with a seat"
        if listing.standing == "certified":
            signed = (
                f", {listing.cosigners} signatures" if listing.cosigners else ", counted by the branch above"
            )
            yield "certificate", "checked here" + signed
        else:
            yield "certificate", "not checked here: this node does not follow the branch"
    for probe in listing.probes:
        rows = f" over {probe.rows} rows" if probe.rows else ""
        yield probe.metric, f"{probe.value:.4g} at release {probe.height}{rows}, {probe.source}"
    yield "card", f"signed by {short(listing.author)} {age(listing.signed)}"
