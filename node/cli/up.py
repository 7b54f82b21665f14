"""``banyan up`` and ``banyan down``: start and stop this node."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from banyan.node.cli.options import HomeOption, ask_passphrase

if TYPE_CHECKING:
    from banyan.node.home import Home

#: Seconds that a node may take to answer after its start, and to end after it was asked to.
STARTING, STOPPING = 60.0, 30.0

UP_EXAMPLES = """
Examples:

    banyan up                                        in the background, until `banyan down`

    banyan up --foreground --port 4701

    banyan up --data ~/notes.jsonl                   train in every round from now on

    banyan up --app mypackage.client:app             with your own Flower ClientApp
"""

DOWN_EXAMPLES = """
Examples:

    banyan down

    banyan down --home ~/nodes/second
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=UP_EXAMPLES)(up)
    app.command(epilog=DOWN_EXAMPLES)(down)


def up(
    foreground: Annotated[
        bool, typer.Option("--foreground/--detach", help="Stay in this terminal, with the log on it.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="TCP port to listen on.", show_default="that of last time"),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="by preset")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(exists=True, help="File or folder to train on in every round.")
    ] = None,
    app: Annotated[
        str | None, typer.Option(help="Your own Flower ClientApp, as package.module:attribute.")
    ] = None,
    branch: Annotated[str | None, typer.Option(help="The branch to work on.")] = None,
    home: HomeOption = None,
) -> None:
    """Start this node: it connects, verifies, serves others, and trains if it has data."""
    from banyan.node.cli.client import Client
    from banyan.node.home import Home
    from banyan.node.membership import is_encrypted, passphrase_from

    place = Home.find(home)
    place.require_network()
    flags = {
        "network.port": port,
        "network.listen": listen,
        "training.data": str(data.resolve()) if data is not None else None,
        "training.app": app,
        "training.branch": branch,
    }
    flags = {name: value for name, value in flags.items() if value is not None}
    if foreground:
        from banyan.node.daemon.process import serve

        raise typer.Exit(serve(place, flags, ask_passphrase, to_stderr=True))
    if Client(place).running():
        print(f"A node already runs on {place.root}.")
        return
    secret = ask_passphrase() if is_encrypted(place) and passphrase_from() is None else None
    pid = start(place, flags, secret)
    status = Client(place).get("/status")
    print(f"Node {status['node']} is up (process {pid}), {status['phase']}.")
    for address in status["addresses"]:
        print(f"  {address}")
    where = "" if home is None else f" --home {place.root}"
    print(f"Next: banyan status{where} --watch")


def start(home: Home, flags: Mapping[str, object] | None = None, passphrase: str | None = None) -> int:
    """Start a node in the background and wait until it answers; returns its process id.

    Raises :class:`StartFailed` with the node's own last words.
    """
    from banyan.node.cli.client import Client, NotRunning

    home.create()
    said = home.root / "start.log"
    command = [sys.executable, "-m", "banyan.node.daemon", "--home", str(home.root)]
    command += ["--flags", json.dumps(dict(flags or {}))]
    if passphrase is not None:
        command.append("--passphrase-from-stdin")
    with open(said, "wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    process.stdin.write(f"{passphrase or ''}\n".encode())
    process.stdin.close()
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            Client(home).get("/status")
        except NotRunning:
            time.sleep(0.05)
        else:
            return process.pid
    raise _start_failed(process, said, home)


def _start_failed(process: subprocess.Popen[bytes], said: Path, home: Home) -> Exception:
    from banyan.security.errors import BanyanError

    lines = said.read_text("utf-8", "replace").strip().splitlines()
    if process.poll() is None:
        process.terminate()
        return BanyanError(f"The node did not answer within {STARTING:.0f} s", f"Look at {home.log}")
    if lines and lines[-1].startswith("banyan: "):
        return BanyanError(lines[-1].removeprefix("banyan: "))
    named = [line.strip(" |") for line in lines if "Error: " in line]
    last = named[-1] if named else f"exit code {process.returncode}"
    return BanyanError(f"The node ended at its start ({last})", f"Look at {said} and {home.log}")


def down(home: HomeOption = None) -> None:
    """Stop this node cleanly. What it has acknowledged is kept; `banyan up` goes on from there."""
    from banyan.node.cli.client import Client, NotRunning
    from banyan.node.home import Home

    place = Home.find(home)
    try:
        Client(place).post("/stop", {})
    except NotRunning:
        print(f"No node is running on {place.root}.")
        return
    from banyan.node.store.errors import HomeInUse
    from banyan.node.store.lock import HomeLock
    from banyan.security.errors import BanyanError

    deadline = time.monotonic() + STOPPING
    while time.monotonic() < deadline:
        try:
            with HomeLock(place.root):
                print("Stopped.")
                return
        except HomeInUse:
            time.sleep(0.05)
    raise BanyanError(f"The node is still ending after {STOPPING:.0f} s", f"Look at {place.log}")
