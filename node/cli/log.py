"""``banyan log``: the history of a branch."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

EXAMPLES = """
Examples:

    banyan log

    banyan log /health/first_aid --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(log)


def log(
    branch: Annotated[str | None, typer.Argument(show_default="the one this node works on")] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show a branch's certified releases: who led and co-signed, what was used, what was left out and why."""
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    answer = Client(Home.find(home)).get("/log", branch=branch)
    if json_:
        import json

        print(json.dumps(answer, indent=2))
        return
    import time

    from rich.console import Console
    from rich.table import Table

    from banyan.node.cli.wording import short

    releases = answer["releases"]
    if not releases:
        if answer["coordination"] == "gossip":
            print(f"{answer['branch']} has no releases: its members mix their models. See `banyan status`.")
        else:
            print(f"{answer['branch']} has no release yet.")
        return
    table = Table("release", "when", "id", "leader", "co-signed", "used", "left out", title=answer["branch"])
    for each in reversed(releases):
        why = Counter(str(item["reason"]) for item in each["left_out"])
        names = ", ".join(short(item["author"]) for item in each["left_out"][:3])
        table.add_row(
            str(each["height"]),
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each["time"] / 1000)),
            each["release"][:12],
            short(each["leader"]) if each["leader"] else "–",
            str(len(each["cosigners"])),
            str(len(each["used"])),
            ", ".join(f"{count} {reason}" for reason, count in why.items())
            + (f" ({names})" if names else ""),
        )
    Console().print(table)
