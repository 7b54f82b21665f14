"""``banyan settings``: every setting, what it is here, and what it trades."""

from __future__ import annotations

from typing import Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

EXAMPLES = """
Examples:

    banyan settings

    banyan settings training.steps=200 worker.threads=4

    banyan settings network.port=                    back to the default
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(settings)


def settings(
    changes: Annotated[list[str] | None, typer.Argument(metavar="[NAME=VALUE]...")] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show this node's settings, or change some; they hold from the next `banyan up`."""
    from banyan.node.home import Home
    from banyan.node.settings import describe, load, save

    place = Home.find(home)
    if changes:
        place.create()
        save(place.settings, dict(_parse(change) for change in changes))
    tree = load(place.settings).model_dump(mode="json")
    rows = [(name, _value(tree, name), default, text) for name, default, text in describe()]
    if json_:
        import json

        print(json.dumps({name: value for name, value, _, _ in rows}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("setting", "value", "what it does", show_lines=True)
    for name, value, default, text in rows:
        mark = "" if str(value) == str(default) else "[bold]"
        table.add_row(name, f"{mark}{value}", text)
    Console().print(table)


def _parse(change: str) -> tuple[str, object]:
    import json

    import click

    name, equals, text = change.partition("=")
    if not equals:
        raise click.BadParameter(f"{change!r} is not of the form name=value", param_hint="NAME=VALUE")
    if not text:
        return name, None
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def _value(tree: dict[str, object], name: str) -> object:
    value: object = tree
    for part in name.split("."):
        assert isinstance(value, dict)
        value = value[part]
    return value
