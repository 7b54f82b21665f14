"""``banyan branches``: the tree, who is where, what sleeps, and what the geometry of updates suggests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from rich.console import RenderableType

EXAMPLES = """
Examples:

    banyan branches

    banyan branches --json | jq '.branches[] | select(.state == "dormant") | .branch'
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(branches)


def branches(home: HomeOption = None, json_: JsonOption = False) -> None:
    """List the tree: each branch with its members, its newest release, and whether it sleeps."""
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    answer = Client(Home.find(home)).get("/branches")
    if json_:
        import json

        print(json.dumps(answer, indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(tree(answer))
    for line in answer["suggestions"]:
        console.print(f"[yellow]suggested[/] {suggestion_line(line)}")


def tree(answer: Mapping[str, Any]) -> RenderableType:
    """The tree, drawn."""
    from rich.tree import Tree

    drawn: dict[str, Tree] = {}
    top: Tree | None = None
    for page in answer["branches"]:  # sorted by path: a branch follows the one above it
        path = page["branch"]
        above = drawn.get(path.rpartition("/")[0] or "/") if path != "/" else None
        label = _label(page, own=path == answer["own"])
        drawn[path] = above.add(label) if above is not None else Tree(label)
        top = top or drawn[path]
    return top or Tree(answer["network"])


def _label(page: Mapping[str, Any], own: bool) -> str:
    from rich.markup import escape

    path, state = page["branch"], page["state"]
    facts = []
    if page["members"] is not None:
        guests = f" and {page['guests']} guests" if page["guests"] else ""
        facts.append(f"{page['members']} {'member' if page['members'] == 1 else 'members'}{guests}")
    if page["height"] is not None:
        facts.append(f"release {page['height']} ({page['head'][:8]})")
    if state == "proposed":
        votes = f"{len(page['agreed'])} of {page['votes']} votes"
        facts.append(f"proposed: {votes}" if page["votes"] else "waits for the branch above it")
    elif state in ("dormant", "waiting"):
        facts.append("[dim]dormant[/]" if state == "dormant" else "not open yet")
    elif state == "elsewhere":
        facts.append("[dim]not followed here[/]")
    name = f"[bold]{path}[/]" if own else path
    about = f" [dim]{escape(page['description'])}[/]" if page["description"] else ""
    return f"{name}  {', '.join(facts)}{about}"


def suggestion_line(suggestion: Mapping[str, Any]) -> str:
    """What the geometry of updates suggests, for people."""
    from banyan.node.cli.wording import short

    if suggestion["kind"] == "merge":
        one, other = suggestion["branches"]
        return (
            f"{one} and {other} have become nearly the same model (cosine {suggestion['cosine']:.2f} over "
            f"{suggestion['rounds']} rounds): one of them may be enough"
        )
    groups = "; ".join(", ".join(map(short, group[:6])) for group in suggestion["groups"])
    return (
        f"the members of {suggestion['branch']} have pulled two ways for {suggestion['rounds']} rounds (cosine "
        f"{suggestion['within']:.2f} within, {suggestion['across']:.2f} across): {groups}. Each may want a branch of "
        "its own: `banyan branch create`"
    )
