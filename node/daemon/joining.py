"""The way into a network: knock, fetch and check the charter, take a credential.

Runs before there is a core. Every step says what it does and why it waits; nothing of it is lost by a kill:
what was fetched is in the store, and the next start goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from banyan.node.daemon.clock import Clock
from banyan.node.daemon.events import Joining
from banyan.node.daemon.fetcher import Fetcher
from banyan.node.daemon.lobby import Welcome, knock, knock_as_guest, read_welcome
from banyan.node.home import Home, write_durably
from banyan.node.membership import save_credential
from banyan.node.network.errors import NetworkError, RefusedByPeer
from banyan.node.network.transport import MessageArrived, Transport
from banyan.node.store import BlobStore
from banyan.protocol.events import Event
from banyan.security.charter import Charter
from banyan.security.credential import (
    CredentialRefused,
    check,
    check_invite,
    is_guest,
    issue,
    self_credential,
)
from banyan.security.doorplate import Doorplate
from banyan.security.identity import Identity
from banyan.security.invite import Invite

log = logging.getLogger("banyan.daemon")

#: Seconds to wait for a welcome before knocking again, and between attempts to connect at all.
PATIENCE = 5.0
PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0)


class Entrance:
    """One newcomer's way in. :meth:`pass_through` returns the charter once all is in place."""

    def __init__(
        self,
        home: Home,
        identity: Identity,
        invite: Invite | Doorplate,
        transport: Transport,
        blobs: BlobStore,
        fetcher: Fetcher,
        report: Callable[[Event], None],
        clock: Clock,
    ) -> None:
        self._home = home
        self._identity = identity
        self._invite = invite
        self._transport = transport
        self._blobs = blobs
        self._fetcher = fetcher
        self._report = report
        self._clock = clock
        self._said = ""

    async def pass_through(self) -> Charter:
        """Join. Retries whatever may succeed later; raises what a person must act on
        (:class:`CredentialRefused`: the invite is expired, over-used, for another network …)."""
        attempt = 0
        while True:
            try:
                member, welcome = await self._be_welcomed()
                charter = await self._fetch_charter(member, welcome)
            except (NetworkError, RefusedByPeer) as error:
                if isinstance(error, RefusedByPeer) and error.reason == "wrong-network":
                    raise
                self._say("waiting", str(error))
                await trio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
                attempt += 1
            else:
                await self._take_credential(charter, welcome.use)
                return charter

    def _say(self, step: str, detail: str) -> None:
        if detail != self._said:
            self._said = detail
            self._report(Joining(step=step, detail=detail))

    async def _be_welcomed(self) -> tuple[str, Welcome]:
        self._say("connecting", f"calling {len(self._invite.addresses)} addresses of the invite")
        member = await self._transport.dial(self._invite.addresses)
        await self._transport.send(member, self._knock())
        with trio.move_on_after(PATIENCE):
            async for arrival in self._transport.arrivals:
                if isinstance(arrival, MessageArrived):
                    welcome = read_welcome(arrival.data, self._invite.network, arrival.peer)
                    if welcome is not None:
                        return arrival.peer, welcome
        raise NetworkError(
            f"The member {member} did not answer within {PATIENCE:.0f} s",
            "It may be starting; we knock again",
        )

    def _knock(self) -> bytes:
        if isinstance(self._invite, Doorplate):
            return knock_as_guest(self._invite, self._identity, self._clock())
        return knock(self._invite, self._identity.node_id, self._clock())

    async def _fetch_charter(self, member: str, welcome: Welcome) -> Charter:
        self._say("charter", f"fetching the charter ({welcome.charter_bytes:,} bytes)")
        network = self._invite.network
        failure = await self._fetcher.fetch(network, welcome.charter_bytes, (member,))
        if failure is not None:
            raise NetworkError(f"The charter could not be fetched: {failure}")
        data = await trio.to_thread.run_sync(self._blobs.read, network)
        return Charter.decode(data, network=network)

    async def _take_credential(self, charter: Charter, use: int) -> None:
        now = self._clock()
        if isinstance(self._invite, Doorplate):
            if charter.admission != "open":
                raise CredentialRefused(
                    "invitation-only",
                    f"{charter.name} admits by invitation only",
                    "Ask a founder for an invite",
                )
            credential = self_credential(self._identity, charter, now)
        else:
            check_invite(self._invite, charter, now)
            if use == 0:
                raise CredentialRefused(
                    "over-used", "Every use of this invite has been spent by others", "Ask for a new invite"
                )
            credential = issue(self._invite, self._identity.node_id, now, use, skew=charter.limits.clock_skew)
        check(credential, charter, now)

        def keep() -> None:
            save_credential(self._home, credential)
            write_durably(self._home.charter, charter.encode())  # last: with it, this node has joined

        await trio.to_thread.run_sync(keep)
        role = "guest" if is_guest(credential, charter) else "member"
        self._say("joined", f"a {role} of {charter.name} under {credential.scope}")
