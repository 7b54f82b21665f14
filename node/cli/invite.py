"""``banyan invite``: a right to join, in one string."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from banyan.node.home import Home
    from banyan.security.charter import Charter

from banyan.node.cli.options import HomeOption, JsonOption, ask_passphrase

EXAMPLES = """
Examples:

    banyan invite                                   one member, any branch, within a day

    banyan invite --branch /health/first_aid --uses 5 --expires 7d

    banyan invite --guests                          an open network's address, which may be published

    banyan invite --address /ip4/203.0.113.7/tcp/4701/p2p/12D3KooW…
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(invite)


def invite(
    branch: Annotated[str, typer.Option(help="The branch to open, with all below it.")] = "/",
    uses: Annotated[int, typer.Option(min=1, max=10_000, help="How many may join with it.")] = 1,
    expires: Annotated[str, typer.Option(help="Until when one may join: 30m, 12h, 7d.")] = "1d",
    membership: Annotated[str, typer.Option(help="How long a membership lasts.")] = "365d",
    address: Annotated[
        list[str] | None,
        typer.Option(help="Where the newcomer calls; repeat it.", show_default="this node's addresses"),
    ] = None,
    may_invite: Annotated[
        bool, typer.Option("--may-invite", help="Members may invite others in turn.")
    ] = False,
    guests: Annotated[
        bool,
        typer.Option(
            "--guests", help="Print instead where this open network is: whoever comes with it is a guest."
        ),
    ] = False,
    home: HomeOption = None,
    json_: JsonOption = False,
) -> None:
    """Print an invite: one string, worth a membership to whoever holds it. Send it over a private channel."""
    from banyan.node.cli.wording import seconds_of
    from banyan.node.home import Home, HomeError
    from banyan.node.membership import load_charter, load_identity
    from banyan.security.invite import Invite
    from banyan.security.scope import covers

    place = Home.find(home)
    identity = load_identity(place, ask_passphrase)
    charter = load_charter(place)
    if charter is None:
        raise HomeError("This node has not reached its network yet", "Start it with `banyan up` and wait")
    if guests:
        _print_doorplate(place, charter, address, json_)
        return
    if identity.node_id not in charter.roots:
        raise HomeError(
            f"Only a founder of {charter.name} can invite, and this node is none",
            f"Ask {charter.roots[0]} for an invite",
        )
    branches = _branches(place, charter)
    if not any(covers(branch, path) for path in branches):
        raise HomeError(f"{charter.name} has no branch {branch}", f"Its branches are {', '.join(branches)}")
    addresses = _addresses(place, address)
    now = time.time_ns() // 1_000_000
    joining_until = now + round(seconds_of(expires) * 1000)
    made = Invite.create(
        identity,
        network=charter.network_id,
        addresses=addresses,
        now=now,
        expires=joining_until,
        until=max(joining_until, now + round(seconds_of(membership) * 1000)),
        scope=branch,
        uses=uses,
        may_invite=may_invite,
    )
    if json_:
        import json

        print(json.dumps({"invite": str(made), "key": made.key, "expires": joining_until, "uses": uses}))
    else:
        print(made)


def _addresses(place: Home, given: list[str] | None) -> tuple[str, ...]:
    """Where a newcomer calls: as given, else where this node listens."""
    from banyan.node.cli.client import Client, NotRunning
    from banyan.node.home import HomeError

    if given:
        return tuple(given)
    try:
        return tuple(Client(place).get("/status")["addresses"])[:8]
    except NotRunning:
        raise HomeError(
            "An invite says where to call, and this node is not running",
            "Start it with `banyan up` first, or give its address with --address",
        ) from None


def _branches(place: Home, charter: Charter) -> tuple[str, ...]:
    """The branches that this node knows of if it runs, else those of the charter."""
    from banyan.node.cli.client import Client, NodeRefused, NotRunning

    try:
        return tuple(each["branch"] for each in Client(place).get("/branches")["branches"])
    except (NotRunning, NodeRefused):
        return charter.branches


def _print_doorplate(place: Home, charter: Charter, address: list[str] | None, as_json: bool) -> None:
    from banyan.node.home import HomeError
    from banyan.security.doorplate import Doorplate

    if charter.admission != "open":
        raise HomeError(
            f"{charter.name} admits by invitation only, so there are no guests",
            "Invite members with `banyan invite`; only `banyan found --admission open` makes an open network",
        )
    made = Doorplate(charter.network_id, _addresses(place, address))
    if as_json:
        import json

        print(json.dumps({"invite": str(made), "guests": True}))
    else:
        print(made)
