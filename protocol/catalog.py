"""The cards that a node holds, and how far each can be believed here.

A node checks a card as far as it knows the branch. Of a branch that it follows it holds the certified history, so a
card of a release that is not in it is refused. Of any other it knows what the parent's certified release counts, if it
follows the parent; else the author's membership and the release's own committee are all that vouch: such a card is
*claimed*, and shown as that. Whoever clones the branch gets its whole history and then knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

from banyan.protocol.branch import Branch, NotNow
from banyan.protocol.card import Card, CardRefused, Sheet, check_card
from banyan.protocol.events import CardPublished, Event
from banyan.protocol.members import Members
from banyan.protocol.messages import pack
from banyan.protocol.paths import parent_of
from banyan.protocol.records import Record, Records
from banyan.protocol.release import Release
from banyan.protocol.tree import Tree
from banyan.security.charter import Charter
from banyan.security.credential import Credential
from banyan.security.errors import Refused
from banyan.security.schema import from_plain, to_plain

__all__ = ["Catalog", "Entry", "Standing", "plain_entry"]

ROOM: Final = 64 << 20
"""Bytes that the cards of all branches may take, each an equal share, those that may still be founded counted: 16 KiB
where there are 4,096, enough to quote a release of fifty contributors. A thousand branches of twenty contributors take
8 MB."""

SIGNED: Final = 512
"""Bytes of an envelope beside its body, at most."""

Standing: TypeAlias = Literal["certified", "claimed", "unreleased"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A card that this node holds: who signed it and when (ms), and how far its release is proved here. ``cosigners``
    are the signatures of its certificate, 0 where this node does not hold that."""

    card: Card
    author: str
    time: int
    standing: Standing
    cosigners: int


class Host(Protocol):
    """What a catalog needs of the node it lives at."""

    me: str
    charter: Charter
    records: Records
    members: Members
    branches: dict[str, Branch]

    @property
    def tree(self) -> Tree: ...
    def publish(self, message: object) -> Record: ...
    def tell(self, event: Event) -> None: ...


class Catalog:
    """The cards of one node, which works on ``path``."""

    def __init__(self, host: Host, path: str, credential: Credential) -> None:
        self._host = host
        self._path = path
        self._credential = credential

    def __iter__(self) -> Iterator[Entry]:
        """What is held, by path. The word of a node that was shut out since does not count."""
        for path in self._host.tree:
            entry = self.of(path)
            if entry is not None:
                yield entry

    def of(self, path: str) -> Entry | None:
        """What is known of one branch."""
        record = self._host.records.at("card", path)
        if record is None or record.envelope.author in self._host.members.quarantined:
            return None
        assert isinstance(record.body, Card)
        envelope, standing = record.envelope, self._standing(record.body)
        branch = self._host.branches.get(path)
        proof = branch.chain.proof(record.body.height) if branch and standing == "certified" else None
        cosigners = len(proof.certificate) if proof else 0
        return Entry(record.body, envelope.author, envelope.time, standing, cosigners)

    def check(self, record: Record) -> None:
        """Check a card before it is kept.

        Raises:
            CardRefused, CredentialRefused: with the reason.
            NotNow: it is of a release that is still on its way to us.
        """
        card, author = record.body, record.envelope.author
        assert isinstance(card, Card)
        check_card(card, author, self._host.charter, self._host.tree)
        members = self._host.members
        if author in members.quarantined or not card.credential.keys.isdisjoint(members.revoked):
            raise CardRefused("quarantined", "The node is shut out")
        members.check_past(author, card.branch, card.credential, record.envelope.time)
        self._check_release(card)
        self._check_size(len(record.envelope.data))

    def restore(self, record: Record) -> None:
        """Take a card back from disk. Raises as :meth:`check`, but for a release that is to come again: it was here
        when the card was taken."""
        with suppress(NotNow):
            self.check(record)
        self._host.records.add(record)

    def describe(self, text: str) -> None:
        """Sign a card of the branch that this node works on: ``text`` is a :class:`Sheet` as JSON.

        Raises:
            Refused: the text is no sheet, or this node may not speak for its branch.
        """
        card = self.check_sheet(text)
        record = self._host.publish(card)
        self._host.tell(CardPublished(card.branch, card.height, record.id.hex()))

    def check_sheet(self, text: str) -> Card:
        """The card that :meth:`describe` would sign now. Raises as that."""
        try:
            plain: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused("malformed", f"The sheet is not valid JSON ({error})") from None
        with suppress(
            AttributeError, KeyError, TypeError, ValueError
        ):  # what is wrong with it is refused below
            plain["base"]["digest"] = bytes.fromhex(plain["base"]["digest"])
        card = Card(self._path, self._credential, self._head(), from_plain(Sheet, plain))
        check_card(card, self._host.me, self._host.charter, self._host.tree)
        self._check_size(len(pack(card)[1]) + SIGNED)
        return card

    def is_due(self, now: int, interval: int) -> bool:
        """Whether this node should sign its branch's card anew: it leads the branch's next round, and the card that
        stands is missing, or is of an older release and older than ``interval`` (ms)."""
        chain = self._host.branches[self._path].chain
        if chain.head is None or chain.head.height == 0 or chain.committee[:1] != (self._host.me,):
            return False
        entry = self.of(self._path)
        return entry is None or (entry.card.height < chain.head.height and now - entry.time >= interval)

    # -------------------------------------------------------------------------------------------------

    def _head(self) -> Release | None:
        return self._host.branches[self._path].chain.head

    def _check_size(self, size: int) -> None:
        charter = self._host.charter
        share = ROOM // (
            len(charter.branches) + charter.growth.most
        )  # the same everywhere, whoever knows of what
        if size > share:
            raise CardRefused(
                "too-long", f"A card of {size} bytes is longer than a branch's share of {share}"
            )

    def _check_release(self, card: Card) -> None:
        branch, release = self._host.branches.get(card.branch), card.release
        if release is None or branch is None or release.height < branch.chain.first:
            return
        known = branch.chain.at(release.height)
        if known is None:
            raise NotNow
        if known.digest != release.digest:
            raise CardRefused("unknown-release", f"{card.branch} never had the release that the card names")

    def _standing(self, card: Card) -> Standing:
        release = card.release
        if release is None:
            return "unreleased"
        branch = self._host.branches.get(card.branch)
        known = branch.chain.at(release.height) if branch is not None else None
        if known is not None and known.digest == release.digest:
            return "certified"
        above = self._host.branches.get(parent_of(card.branch) or "")
        head = above.chain.head if above is not None else None
        counted = any(child.release == release.digest for child in head.children) if head else False
        return "certified" if counted else "claimed"


def plain_entry(entry: Entry) -> dict[str, object]:
    """An entry, JSON-ready: the sheet, and what follows from the release."""
    card, release = entry.card, entry.card.release
    sheet, base = to_plain(card.sheet), to_plain(card.sheet.base)
    return {
        "path": card.branch,
        "standing": entry.standing,
        "author": entry.author,
        "signed": entry.time,
        "height": card.height,
        "release": release.digest.hex() if release else None,
        "parent": release.parent.hex() if release else None,
        "released": release.time if release else None,
        "contributors": len(release.used) if release else 0,
        "members": len(release.members) if release else 0,
        "cosigners": entry.cosigners,
        "counts": [f"{child.branch}@{child.height}" for child in release.children] if release else [],
        **sheet,
        "base": {**base, "digest": card.sheet.base.digest.hex()},
    }
