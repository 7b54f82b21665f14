"""``banyan clone``: a branch's whole model on this device, ready to use and to train."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from banyan.node.cli.client import Client
    from banyan.node.home import Home
    from banyan.security.model import BaseModel

#: Seconds between two looks.
INTERVAL = 0.2

#: Seconds that the answer to the first request may take: it counts what is here already.
PATIENCE = 60.0

#: Files up to this size are copied into the folder; larger ones are linked read-only: they are on the disk once.
COPIED = 1 << 20

EXAMPLES = """
Examples:

    banyan clone /en/medical/heart_lung              base model, A and adapters, from several nodes at once

    banyan clone /en/medical --into ~/models/medical and as a folder for other programs

    banyan clone /en --from ~/models/smollm          the base model from a folder, checked by its hashes

    banyan clone /en --from org/model                the base model from the Hugging Face hub, checked likewise
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(clone)


def clone(
    branch: Annotated[str, typer.Argument(help="The branch whose model you want, such as /en/medical.")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="Where the base model comes from: `peers`, a folder, or a hub id such as org/model.",
        ),
    ] = "peers",
    into: Annotated[
        Path | None,
        typer.Option(
            help="Also write the model as a folder that transformers and PEFT load.", show_default=False
        ),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Clone also what this device has too little memory to run.")
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Bring the model of a branch here: base weights, tokenizer, the shared A and the adapters of its path, each by its
    hash. This node works on that branch from then on.

    What was cut short goes on where it stopped. What is here already is not fetched again."""
    from banyan.node import base_folder
    from banyan.node.cli.client import Client
    from banyan.node.cli.wording import named, size
    from banyan.node.home import Home
    from banyan.node.membership import load_charter
    from banyan.node.store import BlobStore
    from banyan.security.errors import BanyanError

    if into is not None and into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise BanyanError(f"{into} is there already", "Choose a folder that is empty or not there yet")
    place = Home.find(home)
    client = Client(place)
    client.get("/status")  # says now that no node is running
    charter = load_charter(place)
    if charter is None:
        raise BanyanError("This node has not reached its network yet", "See `banyan status` for why")
    if base_folder.missing(BlobStore(place.blobs), charter.base_at(branch)):
        _check_device(charter.base_at(branch), anyway)
    asked = {"branch": branch, "base": _base(source)}
    status = client.post("/clone", asked, PATIENCE)
    began = time.monotonic()
    try:
        status = _watch(client, status, quiet=json_)
    except KeyboardInterrupt:
        print("\nNo longer watching; the node goes on. The same command shows how far it is.")
        raise typer.Exit(130) from None
    model = status["model"]
    written = _write(place, charter.base_at(branch), into, model) if into is not None else None
    if json_:
        import json

        facts = {**status, "seconds": round(time.monotonic() - began, 1), "into": written}
        print(json.dumps(facts))
        return
    parts = " + ".join(named(each) for each in model["parts"])
    print(f"Here: {status['base']} ({size(status['total'])}){' + ' + parts if parts else ''}.")
    if not model["adapters"]:
        print(f"{branch} has learnt nothing yet: this is the base model.")
    for peer in status["dropped"]:
        print(f"{peer} sent false bytes; they were thrown away, and it is not asked again for a while.")
    if written is not None:
        print(f"Written to {written}.")
    print(f"Next: banyan train --data PATH{'' if home is None else f' --home {place.root}'}")


def _base(source: str) -> str | None:
    """The folder that ``--from`` means, fetched from the hub where it is an id; None: peers."""
    if source == "peers":
        return None
    from banyan.node.learning.base_model import locate

    return str(locate(source).resolve())


def _check_device(base: BaseModel, anyway: bool) -> None:
    """Raise :class:`ModelError` for a base model that this device could not run, before anything is fetched."""
    from banyan.node.cli.wording import size
    from banyan.node.learning.errors import ModelError
    from banyan.node.learning.fit import all_memory, weight_bytes

    known = _architectures()
    if known and base.architecture not in known:
        raise ModelError(
            f"{base.name} is a {base.architecture}, which the transformers library here does not know",
            "A newer transformers may: pip install --upgrade transformers",
        )
    memory, needed = all_memory(), weight_bytes(base.parameters)
    if memory is not None and needed > memory and not anyway:
        raise ModelError(
            f"{base.name} needs {size(needed)} of memory for its weights alone, and this device has {size(memory)}",
            "Choose a network with a smaller base model, or clone it all the same with --anyway, to serve it to others",
        )


def _architectures() -> set[str]:
    """The classes that transformers generates text with, read from its source, since importing it takes seconds; none
    where they are not found, and then loading says what is wrong."""
    import ast
    from importlib.util import find_spec

    spec = find_spec("transformers")
    source = Path(spec.origin or "").parent / "models" / "auto" / "modeling_auto.py" if spec else Path()
    if not source.is_file():
        return set()
    for statement in ast.parse(source.read_text("utf-8")).body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(name, ast.Name) and name.id == "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"
            for name in statement.targets
        ):
            values = (each for each in ast.walk(statement.value) if isinstance(each, ast.Constant))
            return {each.value for each in values if isinstance(each.value, str)}
    return set()


def _watch(client: Client, status: dict[str, Any], quiet: bool) -> dict[str, Any]:
    """Show bytes, rate and time left until the clone is done. Raises :class:`BanyanError` where it fails."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from banyan.security.errors import BanyanError

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, quiet=quiet)) as progress:
        task = progress.add_task("", total=status["total"], completed=status["bytes"])
        while status["phase"] not in ("done", "failed"):
            progress.update(task, completed=status["bytes"], description=_phase(status))
            time.sleep(INTERVAL)
            status = client.get("/clone")
        progress.update(task, completed=status["bytes"], description=_phase(status))
    if status["phase"] == "failed":
        raise BanyanError(status["error"].rstrip("."), status["cure"])
    return status


def _phase(status: Mapping[str, Any]) -> str:
    sources = len(status["sources"])
    peers = f" from {sources} {'peer' if sources == 1 else 'peers'}" if sources else ""
    return {
        "importing": "copying the base model",
        "fetching": f"fetching {status['base']}{peers}",
        "waiting": f"waiting for news of {status['branch']}",
        "adapters": "fetching adapters",
    }.get(status["phase"], str(status["phase"]))


def _write(home: Home, manifest: BaseModel, into: Path, model: Mapping[str, Any]) -> str:
    """Write ``into/base`` and, where something was learnt, ``into/adapter``. Returns the folder."""
    import os
    import shutil

    from banyan.node import base_folder
    from banyan.node.cli.export import write_model
    from banyan.node.serving.chosen_release import ChosenRelease
    from banyan.node.store import BlobStore

    blobs = BlobStore(home.blobs)
    base: Path = into / "base"
    base.mkdir(parents=True)
    for entry in manifest.files:
        target, blob = base / entry.name, blobs.path(entry.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.size > COPIED:
            blob.chmod(0o400)  # whoever saves over the link must not change the blob
            try:
                os.link(blob, target)
                continue
            except OSError:  # another file system
                base_folder.check_room(into, entry.size)
        shutil.copyfile(blob, target)
    if model["adapters"]:
        chosen = ChosenRelease.of(model)
        name = str(base.absolute())
        write_model(home, into / "adapter", chosen, "peft", "float32", None, name, quiet=True)
    return str(into.absolute())
