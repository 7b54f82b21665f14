"""``banyan doctor``: looks at what usually goes wrong, and says cause and cure."""

from __future__ import annotations

from typing import Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

EXAMPLES = """
Examples:

    banyan doctor

    banyan doctor --json

    banyan doctor --deep                    also hash the base model and read every row of data
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(doctor)


def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Also read all of the base model and the data.")
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Check state directory, settings, ports, clock, disk, model, data and peers: for each its cause and cure."""
    from banyan.node.examination import examine
    from banyan.node.home import Home

    findings = examine(Home.find(home), deep=deep)
    if json_:
        import json

        print(json.dumps([finding.plain() for finding in findings]))
    else:
        for finding in findings:
            sign = {"ok": "✓", "note": "·", "bad": "✗"}[finding.state]
            print(f"{sign} {finding.subject}: {finding.what}")
            if finding.cure:
                print(f"    → {finding.cure}")
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)
