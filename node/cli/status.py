"""``banyan status``: what this node does, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from rich.console import RenderableType

EXAMPLES = """
Examples:

    banyan status

    banyan status --watch

    banyan status --json | jq .core.branches
"""

#: Seconds between two looks with --watch.
INTERVAL = 1.0

#: Events shown under the table.
EVENTS = 8


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(status)


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until interrupted.")] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show this node: network, peers, branches, rounds, training, and what it waits for."""
    from banyan.node.cli.client import Client
    from banyan.node.home import Home

    client = Client(Home.find(home))
    if json_:
        _print_json(client, watch)
        return
    from rich.console import Console

    if not watch:
        Console().print(page(client.get("/status"), client.get("/events", limit=EVENTS)["events"]))
        return
    import time

    from rich.live import Live

    with Live(refresh_per_second=4) as live:
        while True:
            live.update(page(client.get("/status"), client.get("/events", limit=EVENTS)["events"]))
            time.sleep(INTERVAL)


def _print_json(client: Any, watch: bool) -> None:
    import json
    import time

    while True:
        print(json.dumps(client.get("/status"), indent=None if watch else 2), flush=True)
        if not watch:
            return
        time.sleep(INTERVAL)


def page(status: Mapping[str, Any], events: list[Mapping[str, Any]]) -> RenderableType:
    """The whole picture."""
    from rich.console import Group

    parts: list[RenderableType] = [_head(status)]
    if branches := status.get("core", {}).get("branches"):
        parts.append(_branches(branches, status))
    if training := status.get("training"):
        parts.append(f"[bold]training[/] {training_line(training)}")
    if pin := status.get("core", {}).get("pin"):
        parts.append(f"[bold]pinned[/] {pin_line(pin)}")
    if suggestions := status.get("core", {}).get("suggestions"):
        from banyan.node.cli.branches import suggestion_line

        parts += [f"[yellow]suggested[/] {suggestion_line(each)}" for each in suggestions]
    parts += [f"[yellow]{line}[/]" for line in troubles(status)]
    parts += [event_line(event) for event in events]
    return Group(*parts)


def _head(status: Mapping[str, Any]) -> str:
    from banyan.node.cli.wording import duration, short, size

    network = status["network"]
    name = network["name"] or f"network {short(network['id'])}"
    core = status.get("core", {})
    lines = [
        f"[bold]{name}[/] ({network['admission'] or 'joining'}) · node {status['node']} · {status['phase']} for "
        f"{duration(status['uptime_seconds'])}",
        f"{len(status['peers'])} peers · {len(core.get('members', []))} members · "
        f"{size(status['bytes_received'])} in · {size(status['bytes_sent'])} out · {', '.join(status['addresses'])}",
    ]
    if quarantined := core.get("quarantined"):
        cheats = ", ".join(f"{short(node)} ({why})" for node, why in quarantined.items())
        lines.append(f"[red]shut out[/] {cheats}")
    return "\n".join(lines)


def _branches(branches: Mapping[str, Any], status: Mapping[str, Any]) -> RenderableType:
    from rich.table import Table

    from banyan.node.cli.wording import short

    table = Table("branch", "release", "round", "leader", "waits for", expand=False)
    for path, branch in branches.items():
        round_, mixing = branch.get("round") or {}, branch.get("mixing")
        have = f"{round_['have']} of {round_['need']} updates" if round_ else "–"
        own = "[bold]" if path == status.get("branch") else ""
        table.add_row(
            f"{own}{path}",
            _reached(branch),
            f"{mixing['have']} of {mixing['need']} neighbours" if mixing else have,
            short(round_["leader"]) if round_.get("leader") else "–",
            waits_for(branch),
        )
    return table


def _reached(branch: Mapping[str, Any]) -> str:
    """The release a branch has reached, and the step where this node mixes on its own."""
    if branch["height"] < 0:
        return "–"
    step = f"step {branch['mixing']['step']}" if branch.get("mixing") else ""
    return ", ".join(filter(None, (str(branch["height"]) if "head" in branch or not step else "", step)))


def waits_for(branch: Mapping[str, Any]) -> str:
    """What a branch needs to go on, for people."""
    if said := branch.get("waits_for"):
        return str(said)
    if mixing := branch.get("mixing"):
        if mixing["phase"] != "waiting":
            return ""
        return f"models of {_names(mixing['missing'])}" if mixing["missing"] else "more neighbours"
    round_ = branch.get("round")
    if not round_:
        return ""
    if round_["have"] >= round_["need"] and not round_["missing"]:
        return "the committee's signatures"
    missing = _names(round_["missing"])
    return f"updates of {missing}" if missing else "more members"


def _names(nodes: list[str]) -> str:
    """The first of ``nodes``, and how many more there are."""
    from banyan.node.cli.wording import short

    more = len(nodes) - 4
    return ", ".join(map(short, nodes[:4])) + (f" and {more} more" if more > 0 else "")


def pin_line(pin: Mapping[str, Any]) -> str:
    """Which release this node uses instead of the newest, and how it uses that again."""
    from banyan.node.cli.wording import named

    name = named(pin)
    if missing := pin["missing"]:
        return f"to {name}, but the adapter of {', '.join(missing)} is lost and not fetched again yet"
    return f"to {name}: served and exported instead of the newest, until `banyan checkout --latest`"


def training_line(training: Mapping[str, Any]) -> str:
    """How far training is: rate and time left."""
    from banyan.node.cli.wording import duration, size

    if "total" in training:
        return f"{training['phase']}: {size(training['bytes'])} of {size(training['total'])}"
    line = f"{training['branch']} round {training['height']}: {training.get('phase') or 'start'}"
    if training.get("steps"):
        line += f" {training['step']}/{training['steps']}"
    if training.get("loss") is not None:
        line += f", loss {training['loss']:.3f}"
    if training.get("tokens_per_second"):
        line += f", {training['tokens_per_second']:,.0f} tokens/s"
    if training.get("seconds_left") is not None:
        line += f", {duration(training['seconds_left'])} left"
    return line


def troubles(status: Mapping[str, Any]) -> list[str]:
    """What its owner should look at."""
    found = []
    if status.get("disk_trouble"):
        found.append(f"disk: {status['disk_trouble']}")
    if aside := status.get("set_aside"):
        last = aside[-1]
        found.append(
            f"{len(aside)} versions were kept aside, the last of {last['branch']} round {last['height']}: an "
            f"earlier source's loss would have risen by {last['rise']:.3f} nats a token, {last['allowed']:g} is "
            f"allowed ({last['file']})"
        )
    if refused := (status.get("watch") or {}).get("refused"):
        found.append(f"not learnt from until they change: {', '.join(refused)}")
    for service in status.get("services", []):
        if not service["running"] and service["last_error"] and service["name"] != "joining":
            found.append(f"{service['name']} is starting again: {service['last_error']}")
    return found


def event_line(event: Mapping[str, Any]) -> str:
    """One event as a line."""
    import time

    from rich.markup import escape

    from banyan.node.cli.wording import short

    moment = time.strftime("%H:%M:%S", time.localtime(event["time"] / 1000))
    facts = []
    for key, value in event.items():
        if key in ("position", "time", "event") or value in (None, "", [], {}):
            continue
        if isinstance(value, float):
            value = f"{value:.4g}"
        elif isinstance(value, list):
            value = f"{len(value)}" if len(value) > 3 else ",".join(map(_brief, value))
        elif isinstance(value, dict):
            value = " ".join(f"{short(k)}:{_brief(v)}" for k, v in list(value.items())[:6])
        elif isinstance(value, str) and " " not in value and not value.startswith("/"):
            value = short(value)
        facts.append(f"{key}={value}")
    return f"[dim]{moment}[/] {event['event']} [dim]{escape(' '.join(facts))}[/]"


def _brief(value: object) -> str:
    from banyan.node.cli.wording import short

    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "/".join(_brief(item) for item in value)
    return short(value)
