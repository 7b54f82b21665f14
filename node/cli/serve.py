"""``banyan serve``: the model of a branch behind OpenAI's API, for the tools that one has."""

from __future__ import annotations

from typing import Annotated

import typer

from banyan.node.cli.options import (
    BaseOption,
    DeviceOption,
    HomeOption,
    JsonOption,
    PrivateOption,
    ReleaseOption,
    check_own,
)

EXAMPLES = """
Examples:

    banyan serve                                     the model that this node uses

    banyan serve /health --port 8081

    banyan serve --private                           with what this device has learnt for itself

    banyan serve --release @12                       an older one; nothing is followed

    OPENAI_API_KEY=$(cat ~/.local/share/banyan/serving.key) OPENAI_BASE_URL=http://127.0.0.1:8080/v1 your-tool
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(serve)


def serve(
    branch: Annotated[
        str | None, typer.Argument(metavar="[PATH]", help="The branch.", show_default="what this node uses")
    ] = None,
    release: ReleaseOption = None,
    private: PrivateOption = False,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any free one.")] = 8080,
    slots: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Answers written at once. More: more tokens a second, more memory."
        ),
    ] = 8,
    queue: Annotated[
        int,
        typer.Option(min=1, max=10_000, help="Requests that may wait beyond them; others come back later."),
    ] = 64,
    base: BaseOption = None,
    device: DeviceOption = "auto",
    threads: Annotated[
        int, typer.Option(min=0, max=1024, help="Processor threads; 0: as many as the machine has cores.")
    ] = 0,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Serve a model of the tree as OpenAI's API on this machine, until Ctrl-C.

    New releases are taken up as they come, and running answers end with the model that they began with. Works with a
    running node, and without one from what the device has.
    """
    import json
    import logging
    import sys

    import click

    from banyan.node.home import Home

    if branch is not None and release is not None:
        raise click.UsageError("Give PATH or --release, not both.")
    check_own(private, branch, release)
    import torch
    import trio

    from banyan.node.serving.engine import EngineLimits
    from banyan.node.serving.server import ModelServer

    if threads:
        torch.set_num_threads(threads)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    place = Home.find(home)
    server = ModelServer(
        place,
        branch,
        release,
        base=base,
        device=device,
        private=private,
        host=host,
        port=port,
        limits=EngineLimits(slots=slots, queue=queue),
    )
    server.open()
    if json_:
        print(
            json.dumps({"url": server.url, "key_file": str(place.serving_key), **server.chosen.plain()}),
            flush=True,
        )
    else:
        print(f"Serving {server.chosen.name} at {server.url}")
        if server.key_is_new:
            print(f"A new API key is in {place.serving_key}. Give it to your tools once:")
            print(f"    export OPENAI_BASE_URL={server.url} OPENAI_API_KEY={server.key}")
        else:
            print(f"The API key is in {place.serving_key}")
        if host not in ("127.0.0.1", "::1", "localhost"):
            print("Beyond this machine key and text travel unencrypted: put a TLS proxy in front.")
        print("Stop with Ctrl-C.", flush=True)

    def tell(chosen: object) -> None:
        if not json_:
            print(f"Now serving {chosen.name}", flush=True)  # type: ignore[attr-defined]

    trio.run(server.run, tell)
