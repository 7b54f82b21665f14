"""``banyan recommend``: the model that fits a need and this machine, and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from banyan.node.catalog.need import Need
    from banyan.node.catalog.recommender import Recommendation

EXAMPLES = """
Examples:

    banyan recommend "help with German tax returns on a laptop with 8 GB"

    banyan recommend "Modell für Pflegeberichte" --use train

    banyan recommend "python" --memory 4GB --license commercial --top 1 --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(recommend)


def recommend(
    wish: Annotated[str, typer.Argument(help="What it is for, in English, German, Spanish or French.")],
    use: Annotated[
        str | None,
        typer.Option(help="`run` it, or also `train` it here.", show_default="as the words say, else run"),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(help="The memory it may take, such as 4GB.", show_default="what is free here"),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(help="A language it must know, such as de; repeat it.", show_default=False),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(help="`commercial`, or a license by name, such as mit.", show_default=False),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(help="Tokens a second at least.", min=0.001, show_default=False)
    ] = None,
    top: Annotated[int, typer.Option(help="How many to offer.", min=1, max=50)] = 3,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Recommend models of the network that fit a need and this machine, say why, what was left out, and what would have
    to change where nothing fits. Nothing that cannot run here is offered. Exits with 1 where nothing fits."""
    import time

    from rich.console import Console

    from banyan.node.catalog.hardware import device_of, probe
    from banyan.node.catalog.recommender import Recommender
    from banyan.node.cli.listings import listings
    from banyan.node.home import Home
    from banyan.node.settings import load

    place = Home.find(home)
    need = _need(wish, use, memory, language, license, speed)
    found, chosen = listings(place), load(place.settings).catalog
    with Console(stderr=True).status("Looking at this machine …"):
        device = device_of(probe(place.root))
        embedder = _embedder(chosen.embedding)
        recommender = Recommender(found, now=time.time_ns() // 10**6, weights=chosen, embedder=embedder)
        answer = recommender.recommend(need, device, top)
    if json_:
        print(answer.model_dump_json())
    else:
        print("\n".join(_text(answer)))
    if not answer.offers:
        raise typer.Exit(1)


def _need(
    wish: str,
    use: str | None,
    memory: str | None,
    language: list[str] | None,
    license: str | None,
    speed: float | None,
) -> Need:
    """What the words say, and over it what the options say."""
    import click

    from banyan.node.catalog.sizes import size_of
    from banyan.node.catalog.understand import understand
    from banyan.node.cli.wording import choice

    said: dict[str, Any] = {}
    if use is not None:
        said["use"] = choice("--use", use, ("run", "train"))
    if memory is not None:
        said["memory"] = size_of(memory)
        if said["memory"] is None:
            raise click.BadParameter(f"{memory!r} is no size: write 4GB or 800MB", param_hint="--memory")
    said |= {"languages": tuple(language)} if language else {}
    said |= {"license": license} if license else {}
    said |= {"tokens_per_second": speed} if speed else {}
    return understand(wish).model_copy(update=said)


def _embedder(folder: Path | None) -> Any:
    if folder is None:
        return None
    from banyan.node.catalog.embedding import SentenceModel

    return SentenceModel(folder)


def _text(answer: Recommendation) -> Iterator[str]:
    yield f"Understood: {_understood(answer.need)}."
    for number, offer in enumerate(answer.offers, 1):
        title = f"  {offer.listing.title}" if offer.listing.title else ""
        yield f"\n{number}. {offer.listing.path}{title}  ({offer.score:.0%})"
        yield from (f"   + {reason}" for reason in offer.reasons)
        yield from (f"   - {caution}" for caution in offer.cautions)
    if not answer.offers:
        yield "\nNothing fits."
    if answer.left_out:
        yield "\nLeft out:"
        yield from (f"   {each.path}: {'; '.join(each.reasons)}" for each in answer.left_out)
    if answer.changes:
        yield "\nWhat would help:"
        yield from (f"   {change}" for change in answer.changes)


def _understood(need: Need) -> str:
    from banyan.node.catalog.sizes import in_words

    parts = [", ".join(each.replace("_", " ") for each in need.domains) or "no subject in particular"]
    parts += [f"in {', '.join(need.languages)}"] if need.languages else []
    parts += [f"to {need.use}"]
    parts += [f"in {in_words(need.memory)} of memory"] if need.memory else []
    parts += [f"in {in_words(need.disk)} of disk"] if need.disk else []
    parts += [f"license {need.license}"] if need.license else []
    parts += ["on this device alone, as every model of the tree"] if need.private else []
    parts += [f"{need.prefers} first"] if need.prefers else []
    return "; ".join(parts)
