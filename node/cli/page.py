"""``banyan page``: this node in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from banyan.node.home import Home

EXAMPLES = """
Examples:

    banyan page

    banyan page --no-open                            only print the link

    banyan settings page.port=4780                   always the same address, from the next `banyan up`

From another machine, through SSH: `ssh -L 4780:127.0.0.1:4780 HOST`, with page.port set to 4780 there.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(page)


def page(
    open_: Annotated[
        bool, typer.Option("--open/--no-open", help="Open it in this user's browser, where there is one.")
    ] = True,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Open this node's page: ask for a model, look through catalog and tree, and watch it learn. It is served to this
    machine alone. The link opens once, within ten minutes; then the browser remembers."""
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    place = Home.find(home)
    answer = Client(place).post("/page", {})
    if json_:
        import json

        print(json.dumps(answer))
        return
    print(answer["url"])
    if open_ and _has_screen():
        _open(place, answer["url"])


def _has_screen() -> bool:
    import os
    import sys

    return sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))


def _open(home: Home, url: str) -> None:
    """By way of a private file: other users of this machine can read a command line, and the ticket with it."""
    import html
    import webbrowser

    from banyan.node.home import write_durably

    text = f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(url)}"><title>Banyan</title>\n'
    write_durably(home.page_link, text.encode(), 0o600)
    try:
        webbrowser.open(home.page_link.as_uri())
    except webbrowser.Error:
        print("No browser could be opened: open the link yourself.")
