"""The lobby: what a newcomer needs to know before it is a member.

A newcomer knows the network's id, where to knock, and the throw-away key of its invite. It knocks with an
envelope signed by that key, or by its own where it comes as a guest; any member answers with the length of the
charter (its hash is the network id, so the newcomer can fetch and check it) and with the number of a grant of the
invite that nobody has spent yet. The answer is a courtesy: a wrong one costs the newcomer time and can neither admit
nor forge anything.

Lobby messages travel beside the core's: they begin with :data:`MARK`, which no envelope does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Final

from banyan.node.daemon.clock import Clock
from banyan.security.charter import MAX_BYTES
from banyan.security.credential import Credential
from banyan.security.doorplate import Doorplate
from banyan.security.envelope import open_envelope, seal
from banyan.security.errors import Refused
from banyan.security.identity import NodeId, Signer
from banyan.security.invite import Invite
from banyan.security.schema import Between, from_plain, to_plain

MARK: Final = b"\0banyan/lobby/1\0"

#: How long a grant stays reserved for the newcomer that was told its number (ms).
RESERVED: Final = 10 * 60_000

#: Newcomers whose reservations are remembered; beyond it the oldest is forgotten.
NEWCOMERS: Final = 1_000

MAX_MESSAGE: Final = 4_096


@dataclass(frozen=True, slots=True)
class Knock:
    """``member`` wants to join with the invite whose key signed this; ``uses`` is how often it serves."""

    member: NodeId
    uses: Annotated[int, Between(1, 10_000)]


@dataclass(frozen=True, slots=True)
class Welcome:
    """The charter has ``charter_bytes`` bytes; grant ``use`` of the invite is free (0: none is, or a
    guest needs none)."""

    charter_bytes: Annotated[int, Between(1, MAX_BYTES)]
    use: Annotated[int, Between(0, 10_000)]


class Lobby:
    """A member's side. ``credentials`` lists the credentials that it has seen."""

    def __init__(
        self,
        signer: Signer,
        network: bytes,
        charter_bytes: int,
        credentials: Callable[[], Iterable[Credential]],
        clock: Clock,
    ) -> None:
        self._signer = signer
        self._network = network
        self._charter_bytes = charter_bytes
        self._credentials = credentials
        self._clock = clock
        self._reserved: dict[tuple[str, str], tuple[int, int]] = {}

    def answer(self, sender: NodeId, data: bytes) -> bytes | None:
        """What to say to ``sender``, or None to what is no knock of its own."""
        try:
            envelope = open_envelope(data[len(MARK) :], network=self._network, max_bytes=MAX_MESSAGE)
            knock = from_plain(Knock, envelope.content())
        except Refused:
            return None
        if envelope.kind != "knock" or knock.member != sender:
            return None
        use = 0 if envelope.author == knock.member else self._free_use(envelope.author, knock)
        return _sealed(
            self._signer, self._network, "welcome", self._clock(), Welcome(self._charter_bytes, use)
        )

    def _free_use(self, key: str, knock: Knock) -> int:
        now = self._clock()
        spent = set()
        for credential in self._credentials():
            if credential.author == key:
                if credential.member == knock.member:
                    return credential.use
                spent.add(credential.use)
        self._reserved = {who: held for who, held in self._reserved.items() if held[1] > now}
        mine = self._reserved.pop((key, knock.member), None)
        taken = spent | {use for (of, _), (use, _) in self._reserved.items() if of == key}
        if mine is not None and mine[0] not in taken:
            use = mine[0]
        else:
            use = next((number for number in range(1, knock.uses + 1) if number not in taken), 0)
        if use:
            while len(self._reserved) >= NEWCOMERS:
                del self._reserved[next(iter(self._reserved))]
            self._reserved[(key, knock.member)] = (use, now + RESERVED)
        return use


def knock(invite: Invite, member: NodeId, now: int) -> bytes:
    """What a newcomer says first."""
    body = Knock(member, invite.chain[-1].uses)
    return _sealed(invite.signer, invite.network, "knock", now, body)


def knock_as_guest(door: Doorplate, guest: Signer, now: int) -> bytes:
    """What a newcomer to an open network says first."""
    return _sealed(guest, door.network, "knock", now, Knock(guest.node_id, 1))


def read_welcome(data: bytes, network: bytes, sender: NodeId) -> Welcome | None:
    """A member's answer, or None if this is none of ``sender``'s."""
    if not data.startswith(MARK):
        return None
    try:
        envelope = open_envelope(data[len(MARK) :], network=network, max_bytes=MAX_MESSAGE)
        if envelope.kind != "welcome" or envelope.author != sender:
            return None
        return from_plain(Welcome, envelope.content())
    except Refused:
        return None


def _sealed(signer: Signer, network: bytes, kind: str, now: int, body: object) -> bytes:
    plain = to_plain(body)
    assert isinstance(plain, dict)
    return MARK + seal(signer, network=network, kind=kind, seq=1, time=now, body=plain).data
