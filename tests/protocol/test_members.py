"""Membership as one node sees it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from banyan.protocol.members import Members
from banyan.security.credential import Credential, CredentialRefused, issue, root_credential
from banyan.security.identity import Identity, verify
from banyan.security.invite import Invite
from banyan.simulations.world import World

DAY = 86_400_000


def who(name: str) -> Identity:
    return Identity.from_seed(hashlib.sha256(name.encode()).digest())


def test_a_number_of_an_invite_is_good_for_one_member_through_whatever_hands_it_went() -> None:
    """Only equal keys were compared: whoever may invite gave the same numbers away as often as they liked."""
    world = World(1, {"/": 5})
    charter, now = world.charter, world.clock.now
    terms = {
        "network": charter.network_id,
        "addresses": (),
        "now": now,
        "expires": now + DAY,
        "until": now + 2 * DAY,
    }
    root = world.devices[charter.roots[0]].signer
    ada = Invite.create(root, **terms, uses=2, may_invite=True, seed=b"ada".ljust(32))  # type: ignore[arg-type]

    def joined(name: str, use: int) -> Credential:
        seed = name.encode().ljust(32)
        handed = Invite.create(ada.signer, **terms, chain=ada.chain, uses=1, use=use, seed=seed)  # type: ignore[arg-type]
        return issue(handed, who(name).node_id, now)

    members = Members(charter, verify)
    for name, use in (("bob", 1), ("dan", 2), ("bob", 1)):
        members.check_credential(who(name).node_id, "/", joined(name, use), now)
    with pytest.raises(CredentialRefused, match="already joined"):
        members.check_credential(who("eve").node_id, "/", joined("eve", 1), now)


def test_a_credential_that_comes_with_many_records_is_verified_once_and_its_time_each_time() -> None:
    world = World(1, {"/": 5})
    charter, now = world.charter, world.clock.now
    verified: list[str] = []

    def counting(author: str, signature: bytes, message: bytes) -> bool:
        verified.append(author)
        return world.verifier(author, signature, message)

    root = world.devices[charter.roots[0]].signer
    shown = root_credential(root, charter, now)
    members = Members(charter, counting)
    for moment in (now, now + 1, now + DAY):
        members.check_past(root.node_id, "/", shown, moment)
    assert verified == [root.node_id]
    with pytest.raises(CredentialRefused, match="begins in the future"):
        members.check_past(root.node_id, "/", shown, now - DAY)
    with pytest.raises(CredentialRefused, match="signature"):
        members.check_past(root.node_id, "/", replace(shown, signature=bytes(64)), now)
