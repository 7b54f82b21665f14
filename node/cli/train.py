"""``banyan train``: learn from this device's data, and watch it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

EXAMPLES = """
Examples:

    banyan train --data ~/notes.jsonl                until the branch has one more release

    banyan train --data ~/notes --branch /health/first_aid --rounds 5 --steps 100

    banyan train --rounds 3                          with the data and settings of last time

    banyan train --rank 4                            on a small device: a quarter of an adapter of rank 16

    banyan train --forever --no-wait

    banyan train --watch ~/notes --rounds 2          two rounds on each file that arrives, none forgotten
"""

#: Seconds between two looks.
INTERVAL = 0.5

#: Events worth a line while one waits for a round.
TOLD = {
    "branch-opened",
    "update-published",
    "update-refused",
    "round-waiting",
    "round-closing",
    "leader-changed",
    "release-certified",
    "release-narrowed",
    "certificate-accepted",
    "model-mixed",
    "mixing-waiting",
    "mixing-began",
    "mixing-ended",
    "state-left-out",
    "node-quarantined",
    "job-failed",
    "worker-restarted",
    "version-rejected",
    "memory-lost",
    "disk-trouble",
    "joining",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(train)


def train(
    data: Annotated[
        Path | None, typer.Option(exists=True, help="JSONL file or folder.", show_default="that of last time")
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder to learn from as JSONL files arrive.",
            show_default="none",
        ),
    ] = None,
    branch: Annotated[str | None, typer.Option(help="The branch to work on.", show_default="as set")] = None,
    rounds: Annotated[int, typer.Option(min=1, max=1_000_000, help="Releases to take part in.")] = 1,
    forever: Annotated[bool, typer.Option("--forever", help="Take part in every round from now on.")] = False,
    rank: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1_024,
            help="Columns of B to train, for a small device; 0: all.",
            show_default="as set",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Optimiser steps a round.", show_default="as set")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=4_096, help="Rows a step.", show_default="as set")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate.", show_default="as set")
    ] = None,
    continual: Annotated[
        str | None,
        typer.Option(
            help="What protects earlier data: replay, ewc, orthogonal, none.", show_default="as set"
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch until the rounds are closed.")] = True,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Train on this device's data in the coming rounds of a branch. The data never leaves the device.

    New data is learnt without forgetting the old: a version that would is kept aside and not published.
    """
    if data is not None and watch is not None:
        raise typer.BadParameter("Give --data or --watch, not both")
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    client = Client(Home.find(home))
    seen = int(client.get("/status")["last_event"])
    answer = client.post(
        "/train",
        {
            "data": str(data.resolve()) if data is not None else None,
            "watch": str(watch.resolve()) if watch is not None else None,
            "branch": branch,
            "rounds": None if forever else rounds,
            "rank": rank,
            "steps": steps,
            "batch": batch,
            "learning_rate": learning_rate,
            "continual": continual,
        },
    )
    if not json_:
        unit = answer["counts"]
        if answer["watch"]:
            print(f"Learning on {answer['branch']} what arrives in {answer['watch']}. See `banyan status`.")
        else:
            until = "for ever" if answer["target"] is None else f"until {unit} {answer['target']}"
            print(f"Training on {answer['branch']}, now at {unit} {answer['height']}, {until}.")
    if wait and not forever and not answer["watch"]:
        try:
            watch_rounds(client, answer, seen, quiet=json_)
        except KeyboardInterrupt:
            print("\nNo longer watching; the node goes on. See `banyan status`.")
            return
    if json_:
        import json

        print(json.dumps(answer | {"releases": client.get("/log", branch=answer["branch"])["releases"]}))


def watch_rounds(client: Any, answer: Mapping[str, Any], seen: int, quiet: bool) -> None:
    """Show progress until the target is reached."""
    from rich.console import Console
    from rich.status import Status

    from banyan.node.cli.status import event_line, training_line, waits_for

    console = Console(quiet=quiet)
    with Status("starting", console=console) as line:
        while True:
            status = client.get("/status")
            for event in client.get("/events", after=seen, limit=500)["events"]:
                seen = event["position"]
                if event["event"] in TOLD and event.get("branch") in (None, answer["branch"]):
                    console.print(event_line(event))
            branch = status.get("core", {}).get("branches", {}).get(answer["branch"], {})
            target = answer["target"]
            if target is None:  # of a branch whose height the node had yet to learn
                target = (status.get("teacher") or {}).get("until") or math.inf
            if branch.get("height", -1) >= target:
                console.print(f"Done: {answer['branch']} has reached {answer['counts']} {branch['height']}.")
                return
            training = status.get("training")
            line.update(
                training_line(training) if training else f"waiting for {waits_for(branch) or 'the core'}"
            )
            time.sleep(INTERVAL)
