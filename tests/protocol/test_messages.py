"""A message's packed body is its plain body encoded, whichever way it was put together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from banyan.protocol.messages import (
    CertifiedRelease,
    Draft,
    Opening,
    Proposal,
    Trial,
    Vote,
    body_of,
    pack,
    read_body,
)
from banyan.protocol.release import Attempt, Losses, Seat, TrialVote, opening
from banyan.security import canonical
from banyan.security.envelope import seal
from banyan.security.identity import Identity
from banyan.security.schema import SchemaError

RELEASE = opening("/en", [Seat("ada", 0, "/en")], 7)
VOTES = (TrialVote("ada", bytes(32), 0.5),)
TRIED = replace(
    RELEASE,
    votes=VOTES,
    refused=(Attempt("mean", bytes(32), 9, bytes(32), 9, VOTES),),
    reported=Losses(2.5, 2.25, 3),
)
MESSAGES = [
    Opening(RELEASE),
    Proposal("/en", 1, 0, -1, (), RELEASE),
    CertifiedRelease(RELEASE, "ada", 3, (b"a vote", b"another")),
    Vote("/en", 1, 0, "prevote", RELEASE.digest, ""),
    Draft("/en", 1, 0, 1, bytes(32), 9),
    Trial("/en", 1, bytes(32), -0.25, 64),
    Proposal("/en", 1, 0, -1, (), TRIED),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_packing_gives_the_one_canonical_encoding(message: object) -> None:
    kind, plain = body_of(message)
    assert pack(message) == (kind, canonical.encode(plain))
    envelope = seal(
        Identity.from_seed(bytes(32)), network=bytes(32), kind=kind, seq=1, time=0, body=pack(message)[1]
    )
    assert read_body(envelope, type(message)) == message


def test_packing_checks_every_field_but_the_release_that_was_checked() -> None:
    with pytest.raises(SchemaError, match="view"):
        pack(CertifiedRelease(RELEASE, "ada", -1, (b"a vote",)))
