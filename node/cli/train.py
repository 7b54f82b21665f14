"""``banyan train``: learn from this device's data, and watch it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from banyan.node.home import Home

EXAMPLES = """
Examples:

    banyan train --data ~/notes.jsonl                until the branch has one more release

    banyan train --data ~/faq.csv --data-only        say what is understood of the data, and train nothing

    banyan train --data ~/notes --branch /health/first_aid --rounds 5 --steps 100 --yes

    banyan train --data ~/notes --private            for this device alone, until `banyan share`

    banyan train --data ~/notes --rounds 10 --dp epsilon=8,delta=1e-5

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

#: Seconds that trying the model on the data may take: it may have to be fetched and loaded first.
REHEARSAL = 900.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(train)


def train(
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="JSONL, CSV, text, Markdown, Parquet, or a folder of them.",
            show_default="that of last time",
        ),
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder to learn from as files arrive.",
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
        int | None,
        typer.Option(
            min=1,
            max=1_000_000,
            help="Optimiser steps a round.",
            show_default="as set, else as the device allows",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, max=4_096, help="Rows a step.", show_default="as set, else as the device allows"),
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
    private: Annotated[
        bool | None,
        typer.Option(
            "--private/--shared",
            help="Keep what is learnt on this device until `banyan share`; or let it go into the branch's rounds.",
            show_default="as set",
        ),
    ] = None,
    dp: Annotated[
        str | None,
        typer.Option(
            "--dp",
            help="Differential privacy: epsilon=8[,delta=1e-5][,clip=1], spread over --rounds; or off.",
            show_default="as set",
        ),
    ] = None,
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Say what is understood of the data, and train nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Share without asking first.")] = False,
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
    from banyan.node.cli.lesson import parse_privacy, result_lines, sample_lines
    from banyan.node.home import Home
    from banyan.node.settings import load

    place = Home.find(home)

    def say(lines: list[str]) -> None:
        if lines and not json_:
            print("\n".join(lines))

    privacy = parse_privacy(dp) if dp is not None else {}
    if privacy.get("dp_epsilon"):
        if forever:
            raise typer.BadParameter("A privacy budget is spread over --rounds, not over --forever")
        privacy["dp_rounds"] = rounds
    if data_only:
        _show_data(place, branch, data, json_)
        return
    client = Client(place)
    status = client.get("/status")
    seen, chosen = int(status["last_event"]), load(place.settings).training
    keeps = chosen.private if private is None else private
    tried: dict[str, Any] | None = None
    if data is not None:
        _show_data(place, branch, data, quiet=json_)
        if chosen.app is None and status["phase"] == "running":
            measure = steps is None and batch is None and not {"steps", "batch"} & chosen.model_fields_set
            tried = _rehearse(client, data, branch, measure, quiet=json_)
            say(sample_lines("The model before:", tried["samples"]))
            if measure and tried["batch"]:
                steps, batch = tried["steps"], tried["batch"]
                each = tried["step_seconds"]
                say([f"This device: {batch} rows a step, {steps} steps a round, about {steps * each:.0f} s"])
    if (data is not None or watch is not None or private is False) and not keeps and not yes:
        ask_to_share(branch or status.get("branch", "the branch"))
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
            "private": private,
            **privacy,
        },
    )
    if answer.get("private"):
        say([f"Learning for this device alone, on top of {answer['branch']}."])
        if wait:
            course = _watch_private(client, quiet=json_)
            say(result_lines(course["metrics"] or {}))
            _after(client, data, answer["branch"], tried, say, json_)
            say(["Nothing left this device. Next: banyan serve --private, or banyan share"])
            answer |= {"course": course}
        if json_:
            import json

            print(json.dumps(answer))
        return
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
        ended = client.get("/events", after=seen, kind="training-finished", limit=500)["events"]
        mine = [event["metrics"] for event in ended if event["branch"] == answer["branch"]]
        say(result_lines(mine[-1]) if mine else [])
        _after(client, data, answer["branch"], tried, say, json_)
    if json_:
        import json

        print(json.dumps(answer | {"releases": client.get("/log", branch=answer["branch"])["releases"]}))


def _show_data(place: Home, branch: str | None, data: Path | None, quiet: bool) -> None:
    """Read the data as training on ``branch`` will, and say what was understood. Raises :class:`DataError`."""
    from banyan.node import base_folder
    from banyan.node.cli.lesson import preview_lines
    from banyan.node.learning.preview import preview, tokenizer_of
    from banyan.node.membership import covered_branch, load_charter
    from banyan.node.settings import load

    if data is None:
        raise typer.BadParameter("Say which data: --data PATH")
    charter = load_charter(place)
    count = None
    if charter is not None:
        chosen = branch or load(place.settings).training.branch or covered_branch(place, charter)
        base = charter.base_at(chosen)
        count = tokenizer_of(base_folder.place(place, base))
    seen = preview([data.resolve()], count)
    if not quiet:
        print("\n".join(preview_lines(seen)))


def _rehearse(client: Any, data: Path, branch: str | None, measure: bool, quiet: bool) -> dict[str, Any]:
    from rich.console import Console
    from rich.status import Status

    with Status("trying the model on your data", console=Console(stderr=True, quiet=quiet)):
        asked = {"data": str(data.resolve()), "branch": branch, "measure": measure}
        return dict(client.post("/rehearse", asked, REHEARSAL))


def _after(
    client: Any,
    data: Path | None,
    branch: str,
    tried: Mapping[str, Any] | None,
    say: Callable[[list[str]], None],
    quiet: bool,
) -> None:
    """The same samples once more."""
    from banyan.node.cli.lesson import sample_lines

    if data is not None and tried is not None and tried["samples"] and not quiet:
        say(sample_lines("The model now:", _rehearse(client, data, branch, False, quiet)["samples"]))


def ask_to_share(branch: str) -> None:
    """Have the owner agree that what is learnt is shared. Raises ``click.Abort``, and a usage error where nobody can
    be asked."""
    import sys

    import click

    if not sys.stdin.isatty():
        raise click.UsageError(
            f"What is learnt would be shared with {branch}, and there is nobody to ask. Say --yes, or keep it here "
            "with --private."
        )
    print(f"A signed change of the adapter will go to the members of {branch}; your rows stay here.")
    typer.confirm("Share what is learnt?", abort=True)


def _watch_private(client: Any, quiet: bool) -> dict[str, Any]:
    """Show progress until the lessons are over. Raises :class:`BanyanError` where one came to nothing."""
    from rich.console import Console
    from rich.status import Status

    from banyan.node.cli.status import training_line
    from banyan.security.errors import BanyanError

    with Status("starting", console=Console(quiet=quiet)) as line:
        while True:
            status = client.get("/status")
            course = status["private"]["course"]
            if course["error"] is not None:
                raise BanyanError(course["error"].rstrip("."), "What was learnt before is still here")
            if course["done"] >= course["lessons"]:
                return dict(course)
            told = course["training"]
            if told:
                name = {"branch": course["branch"], "height": course["done"] + 1}
                line.update(training_line(told | name).replace(" round ", " lesson "))
            elif fetching := status.get("training"):
                line.update(training_line(fetching))
            time.sleep(INTERVAL)


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
