"""``banyan branch create`` and ``banyan branch approve``: the tree grows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

CREATE_EXAMPLES = """
Examples:

    banyan branch create /en/medical/dermatology

    banyan branch create /en/medical/dermatology --description "Skin, hair and nails"

    banyan branch create /en/medical/dermatology --probe public-questions.jsonl
"""

APPROVE_EXAMPLES = """
Examples:

    banyan branches                                   what is proposed, and how many have agreed

    banyan branch approve /en/medical/dermatology
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    branch = typer.Typer(
        name="branch", no_args_is_help=True, help="Found a branch of the tree, or agree that there be one."
    )
    branch.command(epilog=CREATE_EXAMPLES)(create)
    branch.command(epilog=APPROVE_EXAMPLES)(approve)
    app.add_typer(branch)


def create(
    path: Annotated[
        str, typer.Argument(help="The branch, such as /en/medical/dermatology; the one above must exist.")
    ],
    description: Annotated[str, typer.Option(help="What it is for, in one line.")] = "",
    probe: Annotated[
        Path | None,
        typer.Option(
            help="Public held-out rows that its releases are tried on: up to 256, JSONL, CSV or text.",
            show_default="none",
        ),
    ] = None,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Found a branch. It begins as the model of the branch above it, so whoever joins can train at once.

    The network's charter says who may: its founders, any member of the branch above, or such a member once votes of
    that branch's committee agree.
    """
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    wish = {"branch": path, "description": description}
    if probe is not None:
        wish["probe"] = str(probe.expanduser().resolve())
    answer = Client(Home.find(home)).post("/branch", wish)
    if json_:
        import json

        print(json.dumps(answer))
        return
    where = "" if home is None else f" --home {home}"
    if answer["policy"] == "votes":
        print(f"Proposed {path}: it is there once {answer['votes']} of the committee above it agree.")
        print(f"They run: banyan branch approve {path}")
        return
    print(f"Founded {path}.")
    print(f"Next: banyan train --branch {path} --data PATH{where}")


def approve(
    path: Annotated[str, typer.Argument(help="The branch that somebody has proposed.")],
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Agree that there be a branch, as a member of the committee of the branch above it."""
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    answer = Client(Home.find(home)).post("/approve", {"branch": path})
    if json_:
        import json

        print(json.dumps(answer))
        return
    print(f"Agreed to {path}. It takes {answer['votes']} votes: see `banyan branches`.")
