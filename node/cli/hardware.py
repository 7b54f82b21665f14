"""``banyan hardware``: what this machine can give to a model, and how fast it is."""

from __future__ import annotations

from typing import Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption

EXAMPLES = """
Examples:

    banyan hardware

    banyan hardware --fresh          measure again, about two seconds after torch has loaded

    banyan hardware --json
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(hardware)


def hardware(
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure throughput again.")] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Show memory, cores, disk and accelerators as a program here may use them, and the measured throughput."""
    from rich.console import Console

    from banyan.node.catalog.hardware import probe
    from banyan.node.cli.wording import age, size
    from banyan.node.home import Home

    with Console(stderr=True).status("Measuring this machine …"):
        found = probe(Home.find(home).root, fresh=fresh)
    if json_:
        print(found.model_dump_json())
        return
    limit = " (a container's limit)" if found.limited else ""
    print(f"memory       {size(found.memory_free)} free of {size(found.memory)}{limit}")
    print(f"cores        {found.cores:g}")
    print(f"disk         {size(found.disk_free)} free")
    speed = found.throughput
    if speed is None:
        return
    for each in speed.accelerators:
        print(f"accelerator  {each.name}: {size(each.free)} free of {size(each.memory)}")
    if not speed.accelerators:
        print("accelerator  none that PyTorch can use")
    print(f"products     {speed.flops / 1e9:.3g} GFLOP/s in {speed.precision} on {speed.device}")
    print(f"weights      read at {speed.bytes_per_second / 1e9:.3g} GB/s")
    for billions in (0.1, 1, 7):
        per_token = billions * 1e9 * (2 if speed.precision == "bfloat16" else 4)
        rate = 1 / (per_token / speed.bytes_per_second + 2e9 * billions / speed.flops)
        print(
            f"             at best {rate:.3g} tokens a second from a model of {billions:g} billion parameters"
        )
    if found.measured is not None:
        print(f"measured     {age(found.measured)}")
