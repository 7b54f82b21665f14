"""``banyan diff``: how far two releases are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from banyan.node.learning.comparison import Comparison

EXAMPLES = """
Examples:

    banyan diff @~1 @                     the branch's last change

    banyan diff /en/medical@3 /en/medical

    banyan diff 9ab3f1c2 41d07e5a --matrices 50

    banyan diff /en /en/medical --whole   the models at two paths
"""

#: Seconds that fetching adapters may take.
PATIENCE = 600.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(diff)


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A release.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another.")],
    whole: Annotated[
        bool, typer.Option("--whole", help="The whole models, the branches above included.")
    ] = False,
    matrices: Annotated[
        int, typer.Option(min=0, help="Target matrices to show, the most changed first.")
    ] = 10,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Compare two releases: norms, their distance and angle, in each target matrix too; who came, who went, who was
    left out. Without --whole a release counts for what its own branch holds, not for the branches above it.

    Name a release as in git: PATH, PATH@HEIGHT, PATH~2, @HEIGHT or @~2 on this node's branch, or its id."""
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    place = Home.find(home)
    client = Client(place)
    sides = [
        client.post("/compose", {"release": name, "alone": not whole}, PATIENCE) for name in (first, second)
    ]
    comparison = _compared(place, sides)
    pages = [side["page"] for side in sides]
    people = _people(*pages, _between(client, *pages))
    if json_:
        import dataclasses
        import json

        print(
            json.dumps(
                {
                    "a": pages[0],
                    "b": pages[1],
                    "whole": whole,
                    **people,
                    **dataclasses.asdict(comparison.whole),
                }
                | {"matrices": {name: dataclasses.asdict(each) for name, each in comparison.tensors.items()}},
                indent=2,
            )
        )
        return
    _show(pages, comparison, people, matrices)


def _compared(home: Any, sides: Sequence[Mapping[str, Any]]) -> Comparison:
    from banyan.node.learning.blobs import read_sum
    from banyan.node.learning.comparison import compare
    from banyan.node.learning.layout import Layout
    from banyan.node.membership import load_charter
    from banyan.node.store import BlobStore
    from banyan.security.errors import BanyanError

    charter, blobs = load_charter(home), BlobStore(home.blobs)
    assert charter is not None  # the node has just spoken for its network
    first, second = (side["branch"] for side in sides)
    if not charter.is_alike(first, second):
        raise BanyanError(
            f"{first} and {second} have different base models: their adapters cannot be compared",
            "Compare releases of branches with one base model",
        )
    spec = charter.adapter_at(first)
    one, other = (read_sum(blobs, map(bytes.fromhex, side["adapters"]), spec) for side in sides)
    return compare(one, other, Layout(spec.rank, spec.tensors))


def _between(client: Any, first: Mapping[str, Any], second: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The releases after the older up to the newer, where both are of one branch; else only the second."""
    if first["branch"] != second["branch"]:
        return [dict(second)]
    low, high = sorted((first["height"], second["height"]))
    releases = client.get("/log", branch=first["branch"])["releases"]
    return [page for page in releases if low < page["height"] <= high]


def _people(
    first: Mapping[str, Any], second: Mapping[str, Any], between: list[dict[str, Any]]
) -> dict[str, Any]:
    """Whose updates are in one of the two only, and who was left out of the releases ``between``, and why."""
    before, after = set(first["used"]), set(second["used"])
    left_out: dict[str, dict[str, int]] = {}
    for page in between:
        for item in page["left_out"]:
            reasons = left_out.setdefault(item["author"], {})
            reasons[item["reason"]] = reasons.get(item["reason"], 0) + 1
    return {
        "came": sorted(after - before),
        "went": sorted(before - after),
        "stayed": sorted(before & after),
        "left_out": dict(sorted(left_out.items())),
    }


def _show(
    pages: list[Mapping[str, Any]], comparison: Comparison, people: Mapping[str, Any], matrices: int
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from banyan.node.cli.wording import age, named, short

    console = Console(highlight=False)
    for letter, page in zip("AB", pages, strict=True):
        console.print(f"[bold]{letter}[/]  {named(page)}  [dim]{age(page['time'])}[/]", soft_wrap=True)
    whole = comparison.whole
    console.print(
        f"norm {whole.first:.4g} and {whole.second:.4g} · difference {whole.difference:.4g} · cosine "
        f"{_cosine(whole.cosine)}"
    )
    for word, style in (("came", "green"), ("went", "yellow"), ("stayed", "")):
        if names := people[word]:
            console.print(f"{word} {len(names)}: {', '.join(map(short, names))}", style=style)
    for author, reasons in people["left_out"].items():
        why = ", ".join(reason if count == 1 else f"{count} × {reason}" for reason, count in reasons.items())
        console.print(f"left out {short(author)}: {why}", style="red")
    tensors = sorted(comparison.tensors.items(), key=lambda item: -item[1].difference)
    if not matrices:
        return
    table = Table("target matrix", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("A", "B", "B − A", "cosine"):
        table.add_column(title, justify="right")
    for name, each in tensors[:matrices]:
        figures = (f"{value:.4g}" for value in (each.first, each.second, each.difference))
        table.add_row(name.removeprefix("model.layers."), *figures, _cosine(each.cosine))
    console.print(table)
    if len(tensors) > matrices:
        print(f"{len(tensors) - matrices} more: see them with --matrices {len(tensors)}.")


def _cosine(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
