"""``banyan export``: what a branch has learnt as a standard PEFT folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from banyan.node.cli.options import HomeOption, JsonOption

#: Seconds that fetching adapters may take.
PATIENCE = 600.0

#: The file that says what an export is made of; PEFT does not look at it.
LINEAGE = "banyan.json"

EXAMPLES = """
Examples:

    banyan export --to adapter      the model that this node uses

    banyan export --private --to mine

    banyan export --branch /health --to health

    banyan export --release /health@12 --to old --base org/model
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(export)


def export(
    to: Annotated[Path, typer.Option(help="The folder to write.")],
    branch: Annotated[
        str | None, typer.Option(help="The newest model of this branch.", show_default="what this node uses")
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(help="The model at a release: PATH@HEIGHT, @~2, or an id.", show_default=False),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The base model's name to write down.", show_default="this node's copy")
    ] = None,
    private: Annotated[
        bool,
        typer.Option("--private", help="With what this device has learnt for itself alone on its branch."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is there.")] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Write a model of the tree as one LoRA adapter, the sum of its branch's and those above it, in a folder that
    `PeftModel.from_pretrained(base, folder)` loads. No base weights are written."""
    import click

    from banyan.node.cli.client import Client
    from banyan.node.cli.wording import named, size
    from banyan.node.home import Home
    from banyan.node.learning.private import find
    from banyan.security.errors import BanyanError

    if private and (branch is not None or release is not None):
        raise click.UsageError(
            "--private is of the model that this node uses: give no --branch or --release."
        )
    if branch is not None and release is not None:
        raise click.UsageError("Give --branch or --release, not both.")
    if to.exists() and (not to.is_dir() or (any(to.iterdir()) and not force)):
        raise BanyanError(
            f"{to} is there already", "Choose another folder, or replace what is in it with --force"
        )
    place = Home.find(home)
    model = Client(place).post("/compose", {"branch": branch, "release": release}, PATIENCE)
    if private and find(place.private, model["branch"]) is None:
        raise BanyanError(
            f"Nothing has been learnt privately on {model['branch']}",
            "First: `banyan train --private --data PATH`",
        )
    if not model["adapters"] and not private:
        raise BanyanError(
            f"{model['branch']} has learnt nothing yet, so there is nothing to export",
            "Wait for its first release: `banyan train`",
        )
    written = write_adapter(place, to, model, base, private=private)
    if json_:
        import json

        print(json.dumps({"to": str(to.absolute()), "bytes": written, **_lineage(model)}))
        return
    parts = " + ".join(named(each) for each in model["parts"]) or "this node's own model, which it mixes"
    if private:
        parts = " + ".join([*map(named, model["parts"]), "what this device has learnt for itself"])
    print(f"Wrote {to} ({size(written)}): {parts}.")


def write_adapter(
    home: Any, to: Path, model: Mapping[str, Any], base: str | None, *, private: bool = False
) -> int:
    """Write the folder of what ``POST /compose`` answered, each file in one step; returns the bytes of the weights."""
    import json
    import tempfile

    from banyan.node import base_folder
    from banyan.node.learning.blobs import read_sum
    from banyan.node.learning.export import write_peft_folder
    from banyan.node.learning.private import read
    from banyan.node.learning.shared_a import from_bytes
    from banyan.node.membership import load_charter
    from banyan.node.store import BlobStore

    charter, blobs = load_charter(home), BlobStore(home.blobs)
    assert charter is not None  # the node has just spoken for its network
    spec, copy = charter.adapter, base_folder.place(home, charter.base)
    vector = read_sum(blobs, map(bytes.fromhex, model["adapters"]), spec)
    if private:
        vector = vector + read(home.private, model["branch"], spec)
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to, prefix=".new-") as name:
        new = Path(name)
        write_peft_folder(
            new,
            vector,
            rank=spec.rank,
            scale=spec.scale,
            tensors=spec.tensors,
            shared_a=from_bytes(blobs.read(spec.a_digest), spec.rank, spec.tensors),
            base_model=base or (str(copy) if copy.is_dir() else charter.base.name),
        )
        lineage = {"network": charter.network_id.hex(), "base": charter.base.name, **_lineage(model)}
        (new / LINEAGE).write_text(json.dumps(lineage, indent=2) + "\n", "utf-8")
        for file in sorted(new.iterdir(), reverse=True):
            file.replace(to / file.name)
    return (to / "adapter_model.safetensors").stat().st_size


def _lineage(model: Mapping[str, Any]) -> dict[str, Any]:
    return {"branch": model["branch"], "releases": model["parts"]}
