"""``banyan join``: accept an invite, or come to an open network as a guest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption, PassphraseOption, new_passphrase

EXAMPLES = """
Examples:

    banyan join banyan1qpzry9x8…

    banyan join banyanopen1qpzry9x8…                       an open network, as a guest

    banyan join banyan1qpzry9x8… --branch /health/first_aid --base ~/models/smollm
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(join)


def join(
    invite: Annotated[str, typer.Argument(help="The string that `banyan invite` (or `--guests`) printed.")],
    branch: Annotated[
        str | None,
        typer.Option(help="The branch to work on.", show_default="the first that the invite opens"),
    ] = None,
    base: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A folder that already holds the network's base model.",
            show_default="fetched from peers",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="local, lan or wan: this node's own time-outs.", show_default="guessed from the invite"
        ),
    ] = None,
    home: HomeOption = None,
    passphrase: PassphraseOption = False,
    json_: JsonOption = False,
) -> None:
    """Make this directory a node of the network that the invite is for. `banyan up` then connects.

    With the address of an open network you come as a guest: you learn, follow and contribute, and members decide.
    """
    import time

    from banyan.node.cli.wording import choice
    from banyan.node.home import Home
    from banyan.node.membership import accept_invite, create_identity, read_invite
    from banyan.node.settings import save
    from banyan.security.credential import issue
    from banyan.security.doorplate import Doorplate
    from banyan.security.scope import covers

    place = Home.find(home)
    parsed = read_invite(invite)
    guest = isinstance(parsed, Doorplate)
    scope = "/" if isinstance(parsed, Doorplate) else parsed.chain[-1].scope
    if branch is not None and not (covers(scope, branch)):
        from banyan.node.home import HomeError

        raise HomeError(
            f"The invite opens {scope}, which does not cover {branch}", "Choose a branch below it"
        )
    if not isinstance(parsed, Doorplate):
        issue(parsed, parsed.key, time.time_ns() // 1_000_000, skew=600_000)  # says now what would fail later
    secret = new_passphrase(passphrase)
    accept_invite(place, invite, secret)
    local = bool(parsed.addresses) and all(
        address.startswith(("/ip4/127.", "/ip6/::1/", "/memory/")) for address in parsed.addresses
    )
    chosen = choice("--preset", preset, ("local", "lan", "wan")) if preset else ("local" if local else "lan")
    changes = {
        "preset": chosen,
        "training.branch": branch,
        "training.base": str(base.resolve()) if base else None,
    }
    save(place.settings, {name: value for name, value in changes.items() if value is not None})
    node = create_identity(place, secret).node_id
    if json_:
        import json

        facts = {"network": parsed.network.hex(), "node": node, "scope": scope, "home": str(place.root)}
        print(json.dumps(facts | {"guest": guest}))
        return
    how = "comes as a guest to" if guest else "joins"
    print(f"This node {node} {how} network {parsed.network.hex()[:16]}… under {scope}")
    where = "" if home is None else f" --home {place.root}"
    print(f"Next: banyan up{where}, then banyan train --data PATH{where}")
