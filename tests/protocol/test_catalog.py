"""Model cards: who may sign one, what is believed of it, and how every node comes to hold it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import pytest

from banyan.protocol.card import Base, Card, CardRefused, Probe, Sheet, check_card
from banyan.protocol.catalog import Catalog, Entry, plain_entry
from banyan.protocol.effects import Command, MessageReceived, PeerConnected, Send
from banyan.protocol.events import CardPublished
from banyan.protocol.messages import body_of
from banyan.security.envelope import seal
from banyan.security.errors import Refused
from banyan.security.schema import to_plain
from banyan.simulations.device import Device
from banyan.simulations.world import World, fast_preset


def grown(**changes: object) -> World:
    """Three branches, each some releases old."""
    world = World(4, {"/": 5, "/de": 5, "/en": 5}, fast_preset(f=1), **changes)  # type: ignore[arg-type]
    world.start()
    assert world.run(until=lambda: all(world.agreed(path, 3) for path in ("/", "/de", "/en")))
    return world


@pytest.fixture
def world() -> World:
    return grown()


@pytest.fixture(scope="module")
def still() -> World:
    """One whose catalogs change only where a test says so."""
    return grown()


def sheet(world: World, **changes: object) -> Sheet:
    charter = world.charter
    base = Base(charter.base.name, charter.base.digest, charter.base.license, 1, 2, 16, 24, 2, 8, 261, 128)
    words = Sheet(
        "English",
        "Everyday English.\nSecond line.",
        ("en",),
        ("conversation",),
        ("chat",),
        "mit",
        base,
        charter.adapter.rank,
        charter.adapter.dimension,
        1,
        (Probe("loss", 1.5, 1, 0, "reported"),),
    )
    return replace(words, **changes)  # type: ignore[arg-type]


def text_of(words: Sheet) -> str:
    plain = to_plain(words)
    base = {**to_plain(words.base), "digest": words.base.digest.hex()}
    return json.dumps({**plain, "base": base})


def on(world: World, branch: str) -> list[Device]:
    return [device for device in world.devices.values() if device.settings.branch == branch]


def seated(world: World, branch: str) -> Device:
    """A member of the branch's committee that works on it and is no root."""
    chosen = on(world, branch)
    committee = catalog_host(chosen[0]).branches[branch].chain.committee
    return next(
        device for device in chosen if device.name in committee and device.name != world.charter.roots[0]
    )


def catalog_host(device: Device):  # type: ignore[no-untyped-def]
    assert device.peer is not None
    return device.peer


def catalog(device: Device) -> Catalog:
    return catalog_host(device).catalog  # type: ignore[no-any-return]


def describe(world: World, device: Device, **changes: object) -> None:
    device.handle(Command("describe", {"sheet": text_of(sheet(world, **changes))}))


def everywhere(world: World, branch: str, title: str) -> bool:
    entries = [catalog(device).of(branch) for device in world.devices.values()]
    return all(entry is not None and entry.card.sheet.title == title for entry in entries)


def held(device: Device, branch: str) -> Entry:
    entry = catalog(device).of(branch)
    assert entry is not None
    return entry


def test_a_card_reaches_every_node_of_the_network_and_survives_a_restart(world: World) -> None:
    author = seated(world, "/en")
    describe(world, author)
    assert world.run(until=lambda: everywhere(world, "/en", "English"))
    assert [event.branch for event in author.events if isinstance(event, CardPublished)] == ["/en"]
    stranger = on(world, "/de")[1]
    stranger.crash()
    stranger.start()
    assert held(stranger, "/en").card.sheet.description.startswith("Everyday")


def test_who_was_away_gets_the_cards_by_sync(world: World) -> None:
    late = on(world, "/de")[2]
    late.crash()
    describe(world, seated(world, "/en"))
    world.run(limit=300)
    late.start()
    assert world.run(until=lambda: catalog(late).of("/en") is not None)


def test_age_contributors_and_height_come_from_the_release(world: World) -> None:
    author = seated(world, "/en")
    describe(world, author)
    assert world.run(until=lambda: everywhere(world, "/en", "English"))
    release = held(author, "/en").card.release
    assert release is not None
    plain = plain_entry(held(on(world, "/de")[1], "/en"))
    assert plain["height"] == release.height
    assert plain["release"] == release.digest.hex()
    assert plain["contributors"] == len(release.used) > 0
    assert plain["released"] == release.time
    assert json.loads(json.dumps(plain)) == plain


def test_a_card_is_certified_where_the_branch_is_followed_and_claimed_elsewhere(world: World) -> None:
    author, elsewhere = seated(world, "/en"), on(world, "/de")[1]
    describe(world, author)
    assert world.run(until=lambda: everywhere(world, "/en", "English"))
    assert held(author, "/en").standing == "certified"
    assert held(author, "/en").cosigners >= 3
    assert held(elsewhere, "/en").standing in (
        "claimed",
        "certified",
    )  # the parent may have counted this very one
    counted = catalog_host(elsewhere).branches["/"].chain.head.children
    digests = {child.release for child in counted}
    card = held(elsewhere, "/en").card
    assert card.release is not None
    assert (held(elsewhere, "/en").standing == "certified") == (card.release.digest in digests)


def test_the_newest_card_of_a_branch_counts_everywhere(world: World) -> None:
    first, *_, second = [device for device in on(world, "/en") if device.name != world.charter.roots[0]]
    committee = catalog_host(first).branches["/en"].chain.committee
    authors = [device for device in (first, second) if device.name in committee] or [seated(world, "/en")]
    for number, author in enumerate(authors * 2):
        describe(world, author, title=f"card {number}")
        world.run(limit=20)
    last = f"card {2 * len(authors) - 1}"
    assert world.run(until=lambda: everywhere(world, "/en", last))


def test_of_two_cards_of_one_moment_the_same_counts_everywhere(world: World) -> None:
    author = seated(world, "/en")
    cards = []
    for title in ("one", "other"):
        card = Card("/en", author.settings.credential, head(author, "/en"), sheet(world, title=title))
        cards.append(sealed(world, author, card, seq=2**50 + len(cards)))
    one, other = on(world, "/de")[1:3]
    for device, order in ((one, cards), (other, cards[::-1])):
        for data in order:
            device.handle(MessageReceived(author.name, data))
    assert held(one, "/en").card == held(other, "/en").card


def head(device: Device, branch: str):  # type: ignore[no-untyped-def]
    return catalog_host(device).branches[branch].chain.head


def sealed(world: World, author: Device, card: Card, seq: int | None = None, at: int | None = None) -> bytes:
    kind, body = body_of(card)
    now = world.clock.now if at is None else at
    return seal(
        author.signer, network=world.charter.network_id, kind=kind, seq=seq or now, time=now, body=body
    ).data


def refusal(world: World, to: Device, author: Device, card: Card, at: int | None = None) -> str:
    """The reason for which ``to`` refuses ``card``; it must be counted and change nothing."""
    peer = catalog_host(to)
    before, standing = peer.refusals.copy(), peer.catalog.of(card.branch)
    to.handle(MessageReceived(author.name, sealed(world, author, card, at=at)))
    (reason,) = (peer.refusals - before).keys()
    assert peer.catalog.of(card.branch) == standing
    return str(reason)


def test_a_root_may_describe_a_branch_that_has_no_release(still: World) -> None:
    root = still.devices[still.charter.roots[0]]
    card = Card("/en", root.settings.credential, None, sheet(still, probes=()))
    to = on(still, "/de")[3]
    to.handle(MessageReceived(root.name, sealed(still, root, card)))
    assert held(to, "/en").standing == "unreleased"
    assert plain_entry(held(to, "/en"))["contributors"] == 0


def test_who_has_no_seat_is_refused(still: World) -> None:
    author, to = seated(still, "/de"), on(still, "/de")[1]
    own = Card("/en", author.settings.credential, head(seated(still, "/en"), "/en"), sheet(still))
    assert refusal(still, to, author, own) == "not-on-committee"
    none = Card("/de", author.settings.credential, None, sheet(still, probes=()))
    assert refusal(still, to, author, none) == "not-on-committee"


def test_a_card_must_name_a_release_of_its_branch_that_the_branch_has_had(still: World) -> None:
    author, to = seated(still, "/en"), on(still, "/en")[1]
    credential, release = author.settings.credential, head(author, "/en")
    other = Card("/de", credential, release, sheet(still))
    assert refusal(still, to, author, other) == "wrong-branch"
    invented = replace(release, used=release.used * 3)
    assert refusal(still, to, author, Card("/en", credential, invented, sheet(still))) in (
        "unknown-release",
        "not-on-committee",  # the committee is drawn by what the release used
    )
    bigger = replace(release, time=release.time + 1)
    assert refusal(still, to, author, Card("/en", credential, bigger, sheet(still))) == "unknown-release"
    later = sheet(still, probes=(Probe("loss", 0.1, release.height + 1, 9, "measured"),))
    assert refusal(still, to, author, Card("/en", credential, release, later)) == "unknown-release"


def test_a_card_of_a_release_that_is_still_on_its_way_is_neither_kept_nor_refused(still: World) -> None:
    root, to = still.devices[still.charter.roots[0]], on(still, "/en")[1]
    release = head(to, "/en")
    ahead = Card("/en", root.settings.credential, replace(release, height=release.height + 5), sheet(still))
    peer = catalog_host(to)
    refused, standing = peer.refusals.copy(), peer.catalog.of("/en")
    to.handle(MessageReceived(root.name, sealed(still, root, ahead)))
    assert peer.catalog.of("/en") == standing
    assert peer.refusals == refused


def test_what_the_charter_says_of_the_base_is_not_the_authors_to_change(still: World) -> None:
    author, to = seated(still, "/en"), on(still, "/de")[1]
    credential, release = author.settings.credential, head(author, "/en")
    for words in (
        sheet(still, base=replace(sheet(still).base, parameters=7)),
        sheet(still, base=replace(sheet(still).base, license="mit, honestly")),
        sheet(still, adapter_rank=still.charter.adapter.rank + 1),
    ):
        assert refusal(still, to, author, Card("/en", credential, release, words)) == "wrong-base"


def test_a_card_of_another_base_model_than_its_branchs_is_refused(still: World) -> None:
    author = seated(still, "/en")
    words = sheet(still, base=replace(sheet(still).base, digest=bytes(32)))
    card = Card("/en", author.settings.credential, head(author, "/en"), words)
    with pytest.raises(CardRefused, match="base model"):
        check_card(card, author.name, still.charter, still.charter.branches)


def test_a_branch_that_nobody_has_founded_has_no_card(still: World) -> None:
    author, to = seated(still, "/en"), on(still, "/de")[1]
    release = replace(head(author, "/en"), branch="/en/moon")
    card = Card("/en/moon", author.settings.credential, release, sheet(still))
    assert refusal(still, to, author, card) == "unknown-branch"


def test_a_branch_that_was_founded_later_has_a_card_as_any_other(world: World) -> None:
    root, reader = world.devices[world.charter.roots[0]], on(world, "/de")[2]
    root.handle(Command("found", {"branch": "/en/moon", "description": ""}))
    assert world.run(until=lambda: all("/en/moon" in catalog_host(d).tree for d in world.devices.values()))
    card = Card("/en/moon", root.settings.credential, None, sheet(world, title="Moon", probes=()))
    reader.handle(MessageReceived(root.name, sealed(world, root, card)))
    assert world.run(until=lambda: everywhere(world, "/en/moon", "Moon"))
    reader.crash()
    reader.start()
    assert [entry.card.branch for entry in catalog(reader)] == ["/en/moon"]


def test_a_foreign_or_borrowed_credential_is_refused(still: World) -> None:
    author, to = seated(still, "/en"), on(still, "/de")[1]
    other = on(still, "/en")[-1] if on(still, "/en")[-1] is not author else on(still, "/en")[-2]
    card = Card("/en", other.settings.credential, head(author, "/en"), sheet(still))
    assert refusal(still, to, author, card) == "altered"


def test_one_that_was_shut_out_is_not_heard_and_its_card_no_longer_shown(world: World) -> None:
    author, to = seated(world, "/en"), on(world, "/de")[1]
    describe(world, author)
    assert world.run(until=lambda: everywhere(world, "/en", "English"))
    root = world.devices[world.charter.roots[0]]
    root.handle(Command("revoke", {"subject": author.name, "why": "test"}))
    assert world.run(until=lambda: catalog(to).of("/en") is None)
    again = Card("/en", author.settings.credential, head(author, "/en"), sheet(world, title="again"))
    assert refusal(world, to, author, again) == "quarantined"


def test_a_guest_does_not_speak_for_a_branch() -> None:
    world = World(4, {"/": 6}, fast_preset(f=1), admission="open", guests=1)
    world.start()
    assert world.run(until=lambda: world.agreed("/", 1))
    guest = list(world.devices.values())[-1]
    card = Card("/", guest.settings.credential, head(guest, "/"), sheet(world))
    assert refusal(world, on(world, "/")[1], guest, card) == "guest"


def test_a_card_from_the_future_is_refused(still: World) -> None:
    author, to = seated(still, "/en"), on(still, "/de")[1]
    card = Card("/en", author.settings.credential, head(author, "/en"), sheet(still))
    late = still.clock.now + still.charter.limits.clock_skew + 10_000
    assert refusal(still, to, author, card, at=late) == "future"


@pytest.mark.parametrize(
    "damage",
    [
        {"languages": ["English"]},
        {"tasks": ["mind-reading"]},
        {"title": "x" * 81},
        {"title": "two\nlines"},
        {"description": "bell \x07"},
        {"domains": ["d"] * 33},
        {"adapter_rank": 0},
        {"probes": [{"metric": "loss", "value": 1, "height": 1, "rows": 0, "source": "reported"}]},
        {"surprise": 1},
    ],
)
def test_a_sheet_out_of_bounds_is_refused_by_name(still: World, damage: dict[str, object]) -> None:
    author = seated(still, "/en")
    plain = json.loads(text_of(sheet(still))) | damage
    with pytest.raises(Refused) as caught:
        catalog_host(author).handle(Command("describe", {"sheet": json.dumps(plain)}), still.clock.now)
    assert caught.value.reason == "malformed"
    assert next(iter(damage)) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[" * 50_000, "[]", "{}", "null", '{"title": NaN}'])
def test_what_is_no_sheet_is_refused(still: World, text: str) -> None:
    with pytest.raises(Refused) as caught:
        catalog_host(seated(still, "/en")).handle(Command("describe", {"sheet": text}), still.clock.now)
    assert caught.value.reason == "malformed"


def test_a_chatterer_is_not_passed_on(still: World) -> None:
    author, to = seated(still, "/en"), on(still, "/de")[4]
    titles = []
    for number in range(8):
        card = Card(
            "/en", author.settings.credential, head(author, "/en"), sheet(still, title=f"again {number}")
        )
        now = still.clock.now + 20 + number
        to.handle(MessageReceived(author.name, sealed(still, author, card, at=now)))
        titles.append(held(to, "/en").card.sheet.title)
    assert titles[-1] == titles[3] == "again 3"


def test_what_one_of_two_nodes_lacks_comes_once_though_both_ask_when_they_meet(world: World) -> None:
    author, other = seated(world, "/en"), on(world, "/de")[1]
    peers = {device.name: catalog_host(device) for device in (author, other)}
    now = world.clock.now + 600_000  # nobody has asked lately
    peers[author.name].handle(Command("describe", {"sheet": text_of(sheet(world))}), now)
    card = peers[author.name].records.at("card", "/en").envelope.data
    mail = [(name, PeerConnected(met)) for name, met in permutations(peers)]
    heard: list[bytes] = []
    while mail:
        name, event = mail.pop(0)
        if isinstance(event, MessageReceived) and name == other.name:
            heard.append(event.data)
        sent = [effect for effect in peers[name].handle(event, now) if isinstance(effect, Send)]
        mail += [(to, MessageReceived(name, each.data)) for each in sent for to in each.to if to in peers]
    assert catalog(other).of("/en") is not None
    assert [card in data for data in heard].count(True) == 1


def test_the_leader_renews_a_card_once_it_has_aged_and_its_branch_has_moved_on(world: World) -> None:
    def leader() -> Device:
        return world.devices[catalog_host(on(world, "/en")[1]).branches["/en"].chain.committee[0]]

    assert world.run(until=lambda: leader() in on(world, "/en"))
    now = world.clock.now
    assert [device for device in on(world, "/en") if catalog(device).is_due(now, 1_000)] == [leader()]
    describe(world, leader())
    assert not catalog(leader()).is_due(now, 0)  # nothing has changed
    height = catalog_host(leader()).branches["/en"].chain.height
    assert world.run(
        until=lambda: (
            world.agreed("/en", height + 2)
            and leader() in on(world, "/en")
            and catalog(leader()).of("/en") is not None
        )
    )
    assert catalog(leader()).is_due(world.clock.now, 1_000)
    assert not catalog(leader()).is_due(world.clock.now, 10**9)
