"""``banyan simulate``: one run of the core on a virtual network, from one seed, shown round by round."""

from __future__ import annotations

import json
from typing import Annotated

import numpy as np
import typer

from banyan.aggregation import build
from banyan.protocol.events import Event, ReleaseCertified
from banyan.security.charter import Preset
from banyan.security.errors import BanyanError
from banyan.simulations.attacks import ATTACKS
from banyan.simulations.device import Device
from banyan.simulations.network import Conditions
from banyan.simulations.world import World, fast_preset

__all__ = ["app", "run", "simulate"]

app = typer.Typer(add_completion=False)


def run(arguments: list[str]) -> int:
    """Parse ``arguments`` and simulate; the exit code."""
    return int(app(arguments, prog_name="banyan simulate", standalone_mode=False) or 0)


@app.command()
def simulate(
    nodes: Annotated[int, typer.Option(min=1, max=2_000, help="Honest nodes.")] = 6,
    attackers: Annotated[int, typer.Option(min=0, max=100, help="Malicious nodes beside them.")] = 1,
    attack: Annotated[str, typer.Option(help=f"What they do: {', '.join(ATTACKS)}.")] = "sign-flip",
    rounds: Annotated[int, typer.Option(min=1, max=10_000, help="Releases to reach.")] = 5,
    rule: Annotated[str, typer.Option(help="The aggregation rule.")] = "nnm+multi-krum",
    loss: Annotated[float, typer.Option(min=0, max=0.9, help="Share of messages that are lost.")] = 0.0,
    latency: Annotated[int, typer.Option(min=1, max=10_000, help="Longest latency of a link, ms.")] = 40,
    crashes: Annotated[int, typer.Option(min=0, max=10_000, help="Power cuts, each with a restart.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The only source of chance: one seed, one trace.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> int:
    """Run the very core of the daemon on a virtual network with a virtual clock.

    Devices learn a quadratic whose best common answer is known, so the distance to it is exact.
    """
    if attack not in ATTACKS:
        raise BanyanError(f"There is no attack {attack!r}", f"Choose one of {', '.join(ATTACKS)}")
    conditions = Conditions(latency=(min(5, latency), latency), loss=loss)
    world = World(seed, {"/": nodes + attackers}, _policies(rule, attackers, nodes), conditions)
    devices = list(world.devices.values())
    for device in devices[nodes:]:
        world.corrupt(device, attack)
    releases: dict[int, ReleaseCertified] = {}

    def watch(_: str, event: Event) -> None:
        if isinstance(event, ReleaseCertified) and event.height not in releases:
            releases[event.height] = event
            if not json_:
                _show(event, world)

    world.on_event = watch
    world.start()
    _schedule_crashes(world, devices[:nodes], crashes)
    honest = devices[:nodes]
    done = world.run(
        until=lambda: all(device.height("/") >= rounds and device.has_model("/") for device in honest),
        limit=3_600_000,
    )
    result = {
        "seed": seed,
        "reached": done,
        "virtual_seconds": (world.clock.now - world.charter.created) / 1000,
        "messages_per_node_and_round": world.messages / len(devices) / rounds,
        "bytes_per_node_and_round": world.bytes / len(devices) / rounds,
        "distance_to_optimum": _distance(world, honest),
        "quarantined": sorted({name for device in honest if device.peer for name in device.peer.quarantined}),
        "trace": world.trace_hash,
    }
    if json_:
        pages = [
            {"height": r.height, "leader": r.leader, "used": list(r.used), "left_out": list(r.left_out)}
            for r in releases.values()
        ]
        print(json.dumps({**result, "rounds": pages}, indent=2))
    else:
        for name, value in result.items():
            print(
                f"{name.replace('_', ' '):30} {value:.4g}"
                if isinstance(value, float)
                else f"{name:30} {value}"
            )
    return 0 if done else 1


def _policies(rule: str, f: int, honest: int) -> Preset:
    """A quorum that the honest can meet alone, and that the rule accepts."""
    need = max(build(rule, f=f).minimum_n, 2 * f + 1)
    if honest < need:
        raise BanyanError(
            f"{rule} with {f} attackers needs {need} honest nodes and there are {honest}",
            f"Use --nodes {need} or more, or fewer attackers",
        )
    return fast_preset(rule=rule, f=f, min_updates=need)


def _schedule_crashes(world: World, devices: list[Device], count: int) -> None:
    for _ in range(count):
        victim, at = world.rng.choice(devices), world.rng.randrange(2_000, 60_000)
        world.clock.after(at, victim.crash)
        back = at + world.rng.randrange(500, 15_000)
        world.clock.after(back, lambda victim=victim: None if victim.peer else victim.start())  # type: ignore[misc]


def _distance(world: World, honest: list[Device]) -> float:
    """Relative distance of the newest release to the honest devices' best common answer."""
    best = np.mean([world.task.wish(device.name) for device in honest], axis=0)
    reached = [device for device in honest if device.has_model("/")]
    if not reached:
        return float("nan")
    newest = max(reached, key=lambda device: device.height("/"))
    return float(np.linalg.norm(newest.model("/") - best) / np.linalg.norm(best))


def _show(event: ReleaseCertified, world: World) -> None:
    seconds = (world.clock.now - world.charter.created) / 1000
    left_out = ", ".join(f"…{author[-6:]} ({reason})" for author, reason in event.left_out) or "nobody"
    print(
        f"{seconds:8.1f} s  release {event.height:3}  led by …{event.leader[-6:]}  "
        f"used {len(event.used)}  left out: {left_out}",
        flush=True,
    )
