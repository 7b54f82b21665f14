from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from banyan.security.canonical import decode, encode
from banyan.security.charter import Charter
from banyan.security.identity import Identity
from banyan.security.revocation import Revocation, RevocationRefused, check_revocation, revoke
from banyan.security.schema import from_plain, to_plain

Who = Callable[[str], Identity]
NOW = 1_800_000_000_000


@pytest.fixture
def revocation(who: Who, charter: Charter) -> Revocation:
    return revoke(who("founder"), charter, subject=who("bob").node_id, why="left the project", now=NOW)


def test_everybody_accepts_a_roots_revocation(charter: Charter, revocation: Revocation) -> None:
    travelled = from_plain(Revocation, decode(encode(to_plain(revocation)), max_bytes=1_024))
    check_revocation(travelled, charter)
    assert travelled == revocation


def test_only_a_root_can_revoke(who: Who, charter: Charter, revocation: Revocation) -> None:
    with pytest.raises(RevocationRefused, match="Only a founder"):
        revoke(who("ada"), charter, subject=who("bob").node_id, why="", now=NOW)
    with pytest.raises(RevocationRefused, match="Only a founder"):
        check_revocation(replace(revocation, author=who("ada").node_id), charter)


def test_a_root_cannot_be_revoked(who: Who, charter: Charter) -> None:
    with pytest.raises(RevocationRefused, match="cannot be revoked"):
        revoke(who("founder"), charter, subject=who("founder").node_id, why="", now=NOW)


def test_a_revocation_of_another_network_is_refused(
    charter: Charter, other_charter: Charter, revocation: Revocation
) -> None:
    with pytest.raises(RevocationRefused) as caught:
        check_revocation(revocation, other_charter)
    assert caught.value.reason == "wrong-network"


@pytest.mark.parametrize("field", ["subject", "why", "time"])
def test_an_altered_revocation_is_refused(
    who: Who, charter: Charter, revocation: Revocation, field: str
) -> None:
    other = {"subject": who("ada").node_id, "why": "", "time": NOW + 1}[field]
    with pytest.raises(RevocationRefused) as caught:
        check_revocation(replace(revocation, **{field: other}), charter)  # type: ignore[arg-type]
    assert caught.value.reason == "altered"
