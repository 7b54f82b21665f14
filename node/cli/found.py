"""``banyan found``: a new network with this node as its root."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from banyan.node.cli.options import HomeOption, JsonOption, PassphraseOption, new_passphrase

EXAMPLES = """
Examples:

    banyan found garden                                    one branch, invited members, the embedded model

    banyan found clinics --branch /health/first_aid --branch /health/nutrition --preset wan

    banyan found clinic --voters 7                         members try each release before it is signed

    banyan found clinic --voters 7 --probe /=public.jsonl                      and on public rows

    banyan found village --coordination gossip             no committees: neighbours mix their models

    banyan found clinics --base ~/models/smollm --base-of /en/medical/pocket=~/models/pocket

    banyan found village --admission open --growth members          anybody may come, any member may found a branch

    banyan found lab --base ~/models/smollm --rank 32 --rule nnm+trimmed-mean --f 2 --admission open
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=EXAMPLES)(found)


def found(
    name: Annotated[str, typer.Argument(help="What people will call the network.")],
    home: HomeOption = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="The base model: a folder, or a hub id such as org/model.", show_default="the embedded one"
        ),
    ] = None,
    base_of: Annotated[
        list[str] | None,
        typer.Option(
            "--base-of",
            help="Another base model for a branch and all below it, as /path=MODEL; repeat it.",
            show_default="none",
        ),
    ] = None,
    branch: Annotated[
        list[str] | None,
        typer.Option(help="A branch of the tree, such as /health/first_aid; repeat it.", show_default="/"),
    ] = None,
    admission: Annotated[
        str,
        typer.Option(
            help="`invite`: members need an invite. `open`: anybody may come as a guest and contribute; members decide."
        ),
    ] = "invite",
    preset: Annotated[
        str,
        typer.Option(help="`local` (one machine), `lan` (one site) or `wan` (the internet): all time-outs."),
    ] = "lan",
    rank: Annotated[int, typer.Option(help="Rank of the adapters; twice what you would give LoRA.")] = 16,
    rule: Annotated[
        str | None,
        typer.Option(help="How updates become a release.", show_default="nnm+multi-krum"),
    ] = None,
    f: Annotated[
        int | None,
        typer.Option("--f", help="How many malicious members, or neighbours, to survive.", show_default="1"),
    ] = None,
    min_updates: Annotated[
        int | None, typer.Option(help="Updates a round needs to close.", show_default="what rule and f need")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds a round waits for the slow.", show_default="by preset")
    ] = None,
    committee: Annotated[
        int | None, typer.Option(help="Members that co-sign each release.", show_default="7")
    ] = None,
    leader_timeout: Annotated[
        float | None, typer.Option(help="Seconds a leader may be silent.", show_default="by preset")
    ] = None,
    memory: Annotated[
        int | None, typer.Option(help="Rounds a silent member stays on the roster.", show_default="3")
    ] = None,
    coordination: Annotated[
        str,
        typer.Option(
            help="`committee`: certified releases. `gossip`: no releases, every node mixes its neighbours' models."
        ),
    ] = "committee",
    lift: Annotated[
        str | None,
        typer.Option(
            help="When what child branches share moves up: `every-round`, on `agreement`, or where it is a `gain`.",
            show_default="gain",
        ),
    ] = None,
    min_children: Annotated[
        int | None, typer.Option(help="Child branches that a lift counts at least.", show_default="2")
    ] = None,
    voters: Annotated[
        int | None,
        typer.Option(
            help="Members that try each release on their own held-out rows before it is signed; 0: none.",
            show_default="0",
        ),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(
            help="By how much a release may raise the median loss of those who try it.", show_default="0"
        ),
    ] = None,
    mixing_rule: Annotated[
        str | None, typer.Option(help="How a node mixes its neighbours' models.", show_default="nna")
    ] = None,
    min_neighbours: Annotated[
        int | None, typer.Option(help="Fewest neighbours to mix with.", show_default="what f needs")
    ] = None,
    fallback: Annotated[
        float | None,
        typer.Option(
            help="Seconds without a committee after which members mix; 0: never.", show_default="by preset"
        ),
    ] = None,
    growth: Annotated[
        str | None,
        typer.Option(
            help="Who may found more branches: `founders`, any of the `members` of the branch above, or these with "
            "`votes` of its committee.",
            show_default="founders",
        ),
    ] = None,
    votes: Annotated[
        int | None, typer.Option(help="Committee members that must agree to a branch.", show_default="3")
    ] = None,
    dormancy: Annotated[
        float | None,
        typer.Option(
            help="Seconds without anybody after which a branch costs no traffic.", show_default="by preset"
        ),
    ] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            help="Public held-out rows that a branch's releases are tried on besides the voters' own, as /path=FILE; "
            "repeat it.",
            show_default="none",
        ),
    ] = None,
    seasons: Annotated[
        str | None,
        typer.Option(
            help="What begins a season, a fresh A for everybody: a `plateau`, by itself, or `manual`, a founder.",
            show_default="plateau",
        ),
    ] = None,
    codec: Annotated[
        str | None, typer.Option(help="float32, bf16, int8 or int4.", show_default="int8")
    ] = None,
    passphrase: PassphraseOption = False,
    json_: JsonOption = False,
) -> None:
    """Found a network: identity, base model, shared A and a signed charter, all in this node's directory."""
    from banyan.node.cli.wording import choice
    from banyan.node.founding import Founding, found_network
    from banyan.node.home import Home
    from banyan.node.settings import save
    from banyan.protocol.transfer import POLICIES

    place = Home.find(home)
    wish = Founding(
        name=name,
        base=_base(base),
        bases=tuple(_base_of(each) for each in base_of or ()),
        probes=tuple(_probe_of(each) for each in probe or ()),
        branches=tuple(branch or ("/",)),
        admission=choice("--admission", admission, ("invite", "open")),
        preset=choice("--preset", preset, ("local", "lan", "wan")),
        rank=rank,
        rule=rule,
        f=f,
        min_updates=min_updates,
        deadline=None if deadline is None else round(deadline * 1000),
        codec=None if codec is None else choice("--codec", codec, ("float32", "bf16", "int8", "int4")),
        committee=committee,
        memory=memory,
        leader_timeout=None if leader_timeout is None else round(leader_timeout * 1000),
        coordination=choice("--coordination", coordination, ("committee", "gossip")),
        lift=None if lift is None else choice("--lift", lift, tuple(POLICIES)),
        min_children=min_children,
        voters=voters,
        epsilon=epsilon,
        mixing_rule=mixing_rule,
        min_neighbours=min_neighbours,
        fallback=None if fallback is None else round(fallback * 1000),
        growth=None if growth is None else choice("--growth", growth, ("founders", "members", "votes")),
        votes=votes,
        dormancy=None if dormancy is None else round(dormancy * 1000),
        seasons=None if seasons is None else choice("--seasons", seasons, ("manual", "plateau")),
    )
    _check_rule(wish)
    say = (lambda step: None) if json_ else (lambda step: print(f"  {step} …"))
    charter = found_network(place, wish, time.time_ns() // 1_000_000, new_passphrase(passphrase), say)
    save(place.settings, {"preset": preset})
    if json_:
        import json

        facts = {
            "network": charter.network_id.hex(),
            "name": charter.name,
            "node": charter.author,
            "home": str(place.root),
            "branches": list(charter.branches),
            "dimension": charter.adapter.dimension,
            "coordination": charter.round.coordination,
        }
        print(json.dumps(facts))
        return
    print(f"Founded {charter.name}: network {charter.network_id.hex()[:16]}…, node {charter.author}")
    print(f"  branches {', '.join(charter.branches)}; base model {charter.base.name}")
    for each in charter.bases:
        print(f"  from {each.path} down: base model {each.base.name}")
    rounds, mixing = charter.round, charter.mixing
    how = f"rule {rounds.rule}, f = {rounds.f}, at least {rounds.min_updates} updates a round"
    if charter.validation.voters:
        how += f"; at least {max(charter.validation.voters, 3 * rounds.f + 1)} voters try each release"
    if rounds.coordination == "gossip":
        how = f"mixing rule {mixing.rule}, f = {mixing.f}, at least {mixing.min_neighbours} neighbours"
    print(f"  {charter.adapter.dimension:,} trained parameters; {how}")
    if charter.admission == "open":
        print(
            "  open: whoever comes without an invite is a guest: none has a seat, and at most "
            f"f = {rounds.f} of a round's updates come from guests; invite those who are to decide"
        )
    where = "" if home is None else f" --home {place.root}"
    also = (
        f"; guests come with what banyan invite{where} --guests prints" if charter.admission == "open" else ""
    )
    print(f"Next: banyan up{where}, then banyan invite{where}{also}")


def _base(given: str | None) -> Path:
    if given is None:
        from banyan.node.assets import base_model_path

        return base_model_path()
    from banyan.node.learning.base_model import locate

    return locate(given)


def _base_of(given: str) -> tuple[str, Path]:
    path, equals, model = given.partition("=")
    if not equals or not path.startswith("/") or not model:
        raise typer.BadParameter(f"--base-of takes /path=MODEL, not {given!r}")
    return path, _base(model)


def _probe_of(given: str) -> tuple[str, Path]:
    path, equals, file = given.partition("=")
    if not equals or not path.startswith("/") or not file:
        raise typer.BadParameter(f"--probe takes /path=FILE, not {given!r}")
    return path, Path(file).expanduser()


def _check_rule(wish: object) -> None:
    """A rule that no node knows would make a network that can never close a round, or mix."""
    from banyan.aggregation import build, build_mixing
    from banyan.node.founding import Founding

    assert isinstance(wish, Founding)
    if wish.rule is not None:
        build(wish.rule, wish.f if wish.f is not None else 1)
    if wish.mixing_rule is not None:
        build_mixing(wish.mixing_rule, wish.f if wish.f is not None else 1)
