from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from banyan.security import credential as credentials
from banyan.security import delegation
from banyan.security import invite as invites
from banyan.security.canonical import decode, encode
from banyan.security.charter import Charter
from banyan.security.credential import (
    Credential,
    CredentialRefused,
    Delegation,
    Invite,
    check,
    check_invite,
    conflict,
    delegate,
    issue,
    root_credential,
    self_credential,
)
from banyan.security.errors import Refused
from banyan.security.identity import Identity
from banyan.security.schema import SchemaError, from_plain, to_plain

Who = Callable[[str], Identity]
NOW = 1_800_000_000_000
DAY = 86_400_000
ADDRESSES = ("/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWHgu7w6fzX9i4qsJ8xMSXuXhBWVzCHvWJTGGvNP7EkVR6",)


def invite_by(signer: Identity, charter: Charter, **terms: Any) -> Invite:
    defaults = {
        "network": charter.network_id,
        "addresses": ADDRESSES,
        "now": NOW,
        "expires": NOW + 7 * DAY,
        "until": NOW + 365 * DAY,
        "seed": b"ephemeral".ljust(32),
    }
    return Invite.create(signer, **{**defaults, **terms})


def refused(call: Callable[[], object]) -> str:
    """The reason for which ``call`` is refused, after looking at its sentence."""
    with pytest.raises(CredentialRefused) as caught:
        call()
    assert caught.value.what[0].isupper()
    return caught.value.reason


@pytest.fixture
def invite(who: Who, charter: Charter) -> Invite:
    return invite_by(who("founder"), charter, uses=3, scope="/en")


@pytest.fixture
def chained(who: Who, charter: Charter) -> Invite:
    """An invite by ada, to whom the founder gave the right to invite under /en."""
    right = delegate(
        who("founder"), network=charter.network_id, key=who("ada").node_id, issued=NOW, expires=NOW + 30 *
        DAY, until=NOW + 365 * DAY, scope="/en", may_invite=True, uses=10,
    )  # fmt: skip
    return invite_by(who("ada"), charter, chain=(right,), use=4, scope="/en/medical")


# ------------------------------------------------------------------------------------------ the happy path


def test_an_invited_node_is_a_member_to_anyone_with_the_charter(
    who: Who, charter: Charter, invite: Invite
) -> None:
    received = Invite.parse(str(invite))
    credential = issue(received, who("bob").node_id, NOW, use=2)
    travelled = from_plain(Credential, decode(encode(to_plain(credential)), max_bytes=4_096))
    check(travelled, charter, NOW)
    assert travelled == credential
    assert travelled.digest == credential.digest
    assert travelled.member == who("bob").node_id
    assert travelled.reaches("/en/medical")
    assert not travelled.reaches("/sv")
    assert not travelled.self_signed


def test_a_delegate_can_invite_below_its_own_branch(who: Who, charter: Charter, chained: Invite) -> None:
    check_invite(chained, charter, NOW)
    credential = issue(Invite.parse(str(chained)), who("bob").node_id, NOW)
    check(credential, charter, NOW)
    assert len(credential.chain) == 2
    assert credential.scope == "/en/medical"


def test_a_root_needs_nobody_elses_word(who: Who, charter: Charter) -> None:
    own = root_credential(who("founder"), charter, NOW)
    check(own, charter, NOW)
    assert own.self_signed
    assert own.reaches("/anything")
    check(root_credential(who("founder"), charter, NOW, member=who("bob").node_id), charter, NOW)


def test_a_newcomers_own_word_counts_in_an_open_network_only(
    who: Who, charter: Charter, open_charter: Charter
) -> None:
    credential = self_credential(who("bob"), open_charter, NOW)
    check(credential, open_charter, NOW)
    assert credential.self_signed
    assert refused(lambda: check(self_credential(who("bob"), charter, NOW), charter, NOW)) == "untrusted-root"
    for_another = root_credential(who("bob"), open_charter, NOW, member=who("ada").node_id)
    assert refused(lambda: check(for_another, open_charter, NOW)) == "untrusted-root"


# ------------------------------------------------------------------------------------------------ refusals


def test_an_expired_invite_is_refused_before_joining_and_after(
    who: Who, charter: Charter, invite: Invite
) -> None:
    late = NOW + 8 * DAY
    assert refused(lambda: issue(invite, who("bob").node_id, late)) == "expired"
    assert refused(lambda: check_invite(invite, charter, late)) == "expired"
    joined = issue(invite, who("bob").node_id, NOW)
    check(joined, charter, late)  # whoever joined in time stays


def test_a_membership_ends_when_it_says(who: Who, charter: Charter, invite: Invite) -> None:
    credential = issue(invite, who("bob").node_id, NOW)
    skew = charter.limits.clock_skew
    check(credential, charter, credential.expires + skew)
    assert refused(lambda: check(credential, charter, credential.expires + skew + 1)) == "expired"


def test_an_over_used_invite_is_refused(who: Who, invite: Invite) -> None:
    for use in (1, 2, 3):
        issue(invite, who("bob").node_id, NOW, use)
    for use in (0, 4):
        assert refused(lambda use=use: issue(invite, who("bob").node_id, NOW, use)) == "over-used"


def test_a_signed_use_beyond_the_limit_is_refused_by_everybody(
    who: Who, charter: Charter, invite: Invite
) -> None:
    greedy = resigned(issue(invite, who("bob").node_id, NOW), invite.signer, use=4)
    assert refused(lambda: check(greedy, charter, NOW)) == "over-used"


def test_an_invite_of_another_network_is_refused(who: Who, charter: Charter, other_charter: Charter) -> None:
    foreign = invite_by(who("founder"), other_charter)
    assert refused(lambda: check_invite(foreign, charter, NOW)) == "wrong-network"
    assert refused(lambda: check(issue(foreign, who("bob").node_id, NOW), charter, NOW)) == "wrong-network"


def test_an_invite_by_a_stranger_is_refused(who: Who, charter: Charter) -> None:
    forged = invite_by(who("mallory"), charter)
    assert refused(lambda: check_invite(forged, charter, NOW)) == "untrusted-root"
    assert refused(lambda: check(issue(forged, who("bob").node_id, NOW), charter, NOW)) == "untrusted-root"


def test_clocks_may_differ_by_the_charters_skew(who: Who, charter: Charter, invite: Invite) -> None:
    skew = charter.limits.clock_skew
    bob = who("bob").node_id
    check(issue(invite, bob, NOW - skew, skew=skew), charter, NOW)  # the joiner's clock is behind
    check(issue(invite, bob, NOW + skew), charter, NOW)  # or ahead
    assert refused(lambda: check(issue(invite, bob, NOW + skew + 1), charter, NOW)) == "not-yet-valid"
    assert refused(lambda: issue(invite, bob, NOW - skew - 1, skew=skew)) == "not-yet-valid"


def test_a_revoked_member_invite_or_delegate_is_refused(who: Who, charter: Charter, chained: Invite) -> None:
    credential = issue(chained, who("bob").node_id, NOW)
    check(credential, charter, NOW, revoked={who("eve").node_id})
    founder = who("founder").node_id
    assert credential.keys == {who("bob").node_id, chained.key, who("ada").node_id, founder}
    for key in credential.keys - {founder}:  # a root cannot be revoked
        assert refused(lambda key=key: check(credential, charter, NOW, revoked={key})) == "revoked"
    for key in (chained.key, who("ada").node_id):
        assert refused(lambda key=key: check_invite(chained, charter, NOW, revoked={key})) == "revoked"


@pytest.mark.parametrize(
    "change", [{"member": "eve"}, {"issued": NOW + 1}, {"use": 2}, {"scope": "/en/medical"}]
)
def test_an_altered_credential_is_refused(
    who: Who, charter: Charter, invite: Invite, change: dict[str, Any]
) -> None:
    if "member" in change:
        change = {"member": who("eve").node_id}
    bent = replace(issue(invite, who("bob").node_id, NOW), **change)
    assert refused(lambda: check(bent, charter, NOW)) == "altered"


def resigned(document: Any, signer: Identity, **change: Any) -> Any:
    """``document`` with fields changed and validly signed again by ``signer``."""
    domain = credentials.DOMAIN if isinstance(document, Credential) else delegation.DOMAIN
    changed = replace(document, **change)
    return replace(changed, signature=signer.sign(delegation.signed_bytes(domain, changed)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scope": "/"}, "scope"),
        ({"scope": "/sv"}, "scope"),
        ({"scope": "/english"}, "scope"),
        ({"expires": NOW + 366 * DAY}, "scope"),
        ({"use": 0}, "over-used"),
        ({"issued": NOW + 8 * DAY}, "expired"),
        ({"issued": NOW - DAY}, "not-yet-valid"),
        ({"author": "eve"}, "altered"),
        ({"chain": ()}, "untrusted-root"),
    ],
)
def test_a_joiner_cannot_give_itself_more_than_the_invite_did(
    who: Who, charter: Charter, invite: Invite, change: dict[str, Any], reason: str
) -> None:
    if change.get("author"):
        change = {"author": who("eve").node_id}
    signer = who("eve") if "author" in change else invite.signer
    bent = resigned(issue(invite, who("bob").node_id, NOW), signer, **change)
    assert refused(lambda: check(bent, charter, NOW)) == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scope": "/"}, "scope"),
        ({"scope": "/sv"}, "scope"),
        ({"expires": NOW + 31 * DAY}, "scope"),
        ({"until": NOW + 366 * DAY}, "scope"),
        ({"issued": NOW + 31 * DAY}, "scope"),
        ({"use": 0}, "over-used"),
        ({"use": 11}, "over-used"),
        ({"uses": 8}, "over-used"),  # numbers 4 to 11 of 10
    ],
)
def test_a_delegate_cannot_pass_on_more_than_it_has(
    who: Who, charter: Charter, chained: Invite, change: dict[str, Any], reason: str
) -> None:
    right, link = chained.chain
    bent = replace(chained, chain=(right, resigned(link, who("ada"), **change)))
    assert refused(lambda: check_invite(bent, charter, NOW)) == reason
    assert refused(lambda: issue(bent, who("bob").node_id, NOW)) == reason


def test_an_invite_needs_a_chain(charter: Charter, chained: Invite) -> None:
    for chain in ((), chained.chain * 2):
        bent = replace(chained, chain=chain)
        assert refused(lambda bent=bent: check_invite(bent, charter, NOW)) == "malformed"


def test_only_a_delegate_with_the_right_can_invite(who: Who, charter: Charter, chained: Invite) -> None:
    right, link = chained.chain
    silent = resigned(right, who("founder"), may_invite=False)
    assert refused(lambda: check_invite(replace(chained, chain=(silent, link)), charter, NOW)) == "scope"


def test_links_of_different_chains_do_not_join(
    who: Who, charter: Charter, invite: Invite, chained: Invite
) -> None:
    mixed = replace(chained, chain=(invite.chain[0], chained.chain[1]))
    assert refused(lambda: check_invite(mixed, charter, NOW)) == "altered"


def test_a_chain_is_no_longer_than_allowed(who: Who, charter: Charter) -> None:
    names = ["founder", "ada", "bob", "cai"]
    links: tuple[Delegation, ...] = ()
    for giver, taker in pairwise(names):
        link = delegate(
            who(giver), network=charter.network_id, key=who(taker).node_id, issued=NOW, expires=NOW + DAY,
            until=NOW + DAY, may_invite=True, use=len(links) and 1,
        )  # fmt: skip
        links = (*links, link)
    terms = {"use": 1, "expires": NOW + DAY, "until": NOW + DAY}
    check_invite(invite_by(who("bob"), charter, chain=links[:2], **terms), charter, NOW)
    with pytest.raises(SchemaError, match="chain must have 0 to 3 items, not 4"):
        invite_by(who("cai"), charter, chain=links, **terms)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.data())
def test_no_bit_of_a_credential_can_change(
    who: Who, charter: Charter, chained: Invite, data: st.DataObject
) -> None:
    encoded = bytearray(encode(to_plain(issue(chained, who("bob").node_id, NOW))))
    bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
    encoded[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Refused):
        check(from_plain(Credential, decode(bytes(encoded), max_bytes=4_096)), charter, NOW)


# ------------------------------------------------------------------------------------------------ over-use


def test_a_delegate_that_gives_its_numbers_away_twice_is_proved_to(
    who: Who, charter: Charter, chained: Invite
) -> None:
    right = chained.chain[0]

    def member(name: str, use: int, uses: int) -> Credential:
        seed = f"{name} {use} {uses}".encode().ljust(32)
        made = invite_by(who("ada"), charter, chain=(right,), use=use, uses=uses, scope="/en", seed=seed)
        credential = issue(made, who(name).node_id, NOW)
        check(credential, charter, NOW)
        return credential

    assert conflict(member("bob", 1, 4), member("eve", 4, 2))  # both may use ada's number 4
    assert conflict(member("eve", 4, 2), member("bob", 1, 4))
    assert not conflict(member("bob", 1, 3), member("eve", 4, 2))
    direct = resigned(member("dan", 1, 1), who("ada"), chain=(right,), author=who("ada").node_id, use=3)
    check(direct, charter, NOW)
    assert conflict(member("bob", 1, 4), direct)
    assert not conflict(member("eve", 4, 2), direct)


def test_one_number_used_for_two_members_proves_itself(who: Who, charter: Charter, invite: Invite) -> None:
    bob, eve = (issue(invite, who(name).node_id, NOW, use=1) for name in ("bob", "eve"))
    check(bob, charter, NOW)
    check(eve, charter, NOW)
    assert conflict(bob, eve)
    assert conflict(eve, bob)


def test_what_is_no_over_use_is_no_conflict(who: Who, charter: Charter, invite: Invite) -> None:
    bob = issue(invite, who("bob").node_id, NOW, use=1)
    other = invite_by(who("founder"), charter, seed=b"another".ljust(32))
    for innocent in (
        bob,
        issue(invite, who("bob").node_id, NOW + 1, use=1),  # the same member again, on a new day
        issue(invite, who("eve").node_id, NOW, use=2),
        issue(other, who("eve").node_id, NOW, use=1),
        root_credential(who("founder"), charter, NOW),
    ):
        assert not conflict(bob, innocent)
    roots = [root_credential(who("founder"), charter, NOW, who(name).node_id) for name in ("bob", "eve")]
    assert not conflict(*roots)


# ------------------------------------------------------------------------------------------ the one string


def test_an_invite_is_one_word_that_survives_wrapping_and_capitals(chained: Invite) -> None:
    text = str(chained)
    assert text.startswith("banyan1")
    assert text.isalnum()
    wrapped = "\n  ".join(text[at : at + 60] for at in range(0, len(text), 60))
    for variant in (text, wrapped, text.upper(), f"\t{text}\r\n"):
        assert Invite.parse(variant) == chained


def test_an_invite_does_not_print_its_secret(invite: Invite) -> None:
    assert "ephemeral" not in repr(invite)


def test_an_invite_stays_short_enough_to_paste(invite: Invite, chained: Invite) -> None:
    assert len(str(invite)) < 600
    assert len(str(chained)) < 900


def test_any_slip_of_one_letter_is_noticed(invite: Invite) -> None:
    text = str(invite)
    for at in range(len("banyan1"), len(text)):
        other = "q" if text[at] != "q" else "p"
        assert (
            refused(lambda at=at, other=other: Invite.parse(text[:at] + other + text[at + 1 :])) == "altered"
        )
    assert refused(lambda: Invite.parse(text[:-3])) == "altered"
    assert refused(lambda: Invite.parse(text + "q")) == "altered"
    assert refused(lambda: Invite.parse(text[:30] + "b" + text[31:])) == "altered"


@pytest.mark.parametrize("length", range(5))
def test_an_invite_has_one_spelling_only(who: Who, charter: Charter, length: int) -> None:
    # Unless the bytes fill the last letter, it has spare bits, which a lax decoder would ignore.
    text = str(invite_by(who("founder"), charter, addresses=("/dns4/" + "a" * length,)))
    for last in set("qpzry9x8gf2tvdw0s3jn54khce6mua7l") - {text[-1]}:
        assert refused(lambda last=last: Invite.parse(text[:-1] + last)) == "altered"


@pytest.mark.parametrize("text", ["", "hello", "banyan2qqqq", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"])
def test_what_is_not_an_invite_is_said_to_be_none(text: str) -> None:
    assert refused(lambda: Invite.parse(text)) == "malformed"


def test_an_endless_invite_is_refused_unread() -> None:
    assert refused(lambda: Invite.parse("banyan1" + "q" * 10_000)) == "malformed"


@given(st.text(alphabet="qpzry9x8gf2tvdw0s3jn54khce6mua7l", max_size=200))
def test_arbitrary_letters_are_no_invite(text: str) -> None:
    refused(lambda: Invite.parse("banyan1" + text))


@settings(max_examples=40)
@given(st.recursive(st.none() | st.integers(0, 9) | st.binary(max_size=40) | st.text(max_size=60), st.lists))
def test_a_payload_of_another_shape_is_refused_though_its_checksum_holds(payload: object) -> None:
    for value in (
        payload,
        [payload] * 5,
        [bytes(32), [], bytes(32), "", payload],
        [bytes(32), [], bytes(32), "", [payload]],
    ):
        data = encode(value)
        text = invites.checksummed("banyan1", data)
        assert refused(lambda text=text: Invite.parse(text)) == "malformed"


def test_a_tampered_chain_is_refused_on_use_though_its_checksum_holds(
    who: Who, charter: Charter, invite: Invite
) -> None:
    link: Delegation = invite.chain[0]
    for change in ({"scope": "/"}, {"uses": 9}, {"expires": NOW + 99 * DAY}, {"may_invite": True}):
        bent = Invite.parse(str(replace(invite, chain=(replace(link, **change),))))  # type: ignore[arg-type]
        assert refused(lambda bent=bent: issue(bent, who("bob").node_id, NOW)) == "altered"
        assert refused(lambda bent=bent: check_invite(bent, charter, NOW)) == "altered"


def test_an_invite_with_terms_out_of_bounds_cannot_be_made(who: Who, charter: Charter) -> None:
    with pytest.raises(SchemaError, match="uses"):
        invite_by(who("founder"), charter, uses=0)
    with pytest.raises(SchemaError, match="scope"):
        invite_by(who("founder"), charter, scope="en")
    with pytest.raises(SchemaError, match="addresses must have"):
        invite_by(who("founder"), charter, addresses=ADDRESSES * 9)
    for odd in ("example.org", "/dns4/a b", "/ip4/\x1b[2J"):
        with pytest.raises(SchemaError, match=r"addresses\[0\] must be a multiaddr"):
            invite_by(who("founder"), charter, addresses=(odd,))


def test_a_member_cannot_make_an_invite_that_nobody_would_honour(
    who: Who, charter: Charter, chained: Invite
) -> None:
    right = chained.chain[:1]
    assert refused(lambda: invite_by(who("eve"), charter, chain=right, use=1, scope="/en")) == "altered"
    assert refused(lambda: invite_by(who("ada"), charter, chain=right, use=1, scope="/sv")) == "scope"
    assert refused(lambda: invite_by(who("ada"), charter, chain=right, use=11, scope="/en")) == "over-used"


def test_the_largest_invite_that_can_be_made_can_be_read(who: Who, charter: Charter) -> None:
    scope = "/" + "/".join(["s" * 32] * 8)
    right, passed_on = (
        delegate(
            who(giver), network=charter.network_id, key=who(taker).node_id, issued=2**53, expires=2**53,
            until=2**53, scope=scope, may_invite=True, uses=uses, use=10_000 - uses,
        )
        for giver, taker, uses in (("founder", "ada", 10_000), ("ada", "bob", 5_000))
    )  # fmt: skip
    address = "/dns4/" + "a" * 194
    terms = {"now": 2**53, "expires": 2**53, "until": 2**53, "scope": scope, "uses": 2_500, "use": 2_500}
    largest = invite_by(who("bob"), charter, chain=(right, passed_on), addresses=(address,) * 8, **terms)
    assert Invite.parse(str(largest)) == largest
