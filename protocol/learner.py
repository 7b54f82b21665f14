"""This node's own learning: when it trains, what it announces, and what it carries over to the next round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Protocol

from banyan.protocol.amnesia import Amnesia
from banyan.protocol.branch import Branch
from banyan.protocol.composition import blobs_of, parts_of
from banyan.protocol.effects import Digest, Effect, PutState, SetTimer, Train, Trained
from banyan.protocol.events import Compensated, Event, UpdatePublished
from banyan.protocol.messages import Update
from banyan.protocol.plateau import Memory
from banyan.protocol.records import Record, Records
from banyan.protocol.release import UNCHANGED, Release
from banyan.protocol.season import is_turn
from banyan.security import canonical
from banyan.security.charter import Charter
from banyan.security.credential import Credential

__all__ = ["Learner", "finite"]

CARRY, PENDING, ABOVE = KEPT = "carry|", "pending-carry|", "above|"
"""Begin the keys, which end with the branch, under which is kept on disk what goes into a branch's next update."""

LOSSES: Final = "losses|"
"""Begins the key, which ends with the branch, under which its losses of late are kept."""

RETRY: Final = 30_000
"""ms after which failed training is tried again."""

STATE_BYTES: Final = 65_536
"""Room on disk for the digests of a whole path, of every season."""


class Host(Protocol):
    """What a learner needs of the node it lives at."""

    amnesia: Amnesia
    now: int
    me: str
    charter: Charter
    records: Records
    branches: dict[str, Branch]

    def adapters_above(self, path: str) -> tuple[Digest, ...]: ...
    def do(self, effect: Effect) -> None: ...
    def tell(self, event: Event) -> None: ...
    def publish(self, message: object) -> Record: ...
    def has_blob(self, digest: bytes) -> bool: ...


class Learner:
    """Trains once a round while it is to.

    Args:
        host: the node.
        path: the branch it learns for.
        credential: goes into every update.
        trains: whether to train at all.
        target: the height of the branch at which to stop; None: never.
    """

    def __init__(
        self, host: Host, path: str, credential: Credential, trains: bool, target: int | None
    ) -> None:
        self._host = host
        self._path = path
        self._credential = credential
        self.trains = trains
        self.target = target
        self._training: tuple[int, Digest] | None = None
        self._carry: tuple[Digest, ...] = ()
        self._announced: tuple[Digest, ...] = ()
        self._elsewhere: set[Digest] = set()
        self._above: tuple[Digest, ...] | None = None  # what our last update was trained below
        self._starting: tuple[Digest, ...] = ()  # and what the training under way is
        self._memory = Memory()

    # ------------------------------------------------------------------------------------ in and out

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Take up what was kept before a restart, or before this node worked on other branches: it is of one branch's
        models and of no other's."""
        self._carry = _digests(state.get(CARRY + self._path))
        self._announced = _digests(state.get(PENDING + self._path))
        self._above = _digests(state[ABOVE + self._path]) if ABOVE + self._path in state else None
        self._memory = Memory.decode(state.get(LOSSES + self._path, b""))
        self._elsewhere = {
            digest
            for key, value in state.items()
            if key.startswith(KEPT) and key not in {kept + self._path for kept in KEPT}
            for digest in _digests(value)
        }

    def keep(self) -> set[Digest]:
        """The blobs that must not be collected."""
        return {*self._carry, *self._announced, *(self._above or ()), *self._elsewhere}

    @property
    def busy(self) -> bool:
        return self._training is not None

    @property
    def announced(self) -> tuple[Digest, ...]:
        """The blobs whose sum is what this node learned for the running round, once it is announced."""
        return self._announced

    @property
    def update(self) -> Record | None:
        """This node's own update for the running round, once it is announced."""
        return self._host.records.at("update", self._path, self._branch.chain.height + 1, self._host.me)

    @property
    def _branch(self) -> Branch:
        return self._host.branches[self._path]

    def aim(self, trains: bool, target: int | None) -> None:
        """The owner's wish: train, until the branch has reached ``target`` or for ever (None); or not at all."""
        self.trains, self.target = trains, target
        self.train_if_due()

    # ------------------------------------------------------------------------------------ a round

    def train_if_due(self) -> None:
        """Start training for the running round if we are to, can, and have not yet: from the head of our branch and, of
        those above it, the newest that is here. A branch does not wait for what comes down to it."""
        head = self._branch.chain.head
        if not self.trains or head is None or self.update is not None:
            return
        if self.target is not None and head.height >= self.target:
            return
        if self._training == (head.height + 1, head.digest):
            return
        if self.may_have_spoken:
            self._host.do(SetTimer("train", self._host.amnesia.until))
            return
        if all(self._host.has_blob(blob) for blob, _ in head.blobs):
            self._training = (head.height + 1, head.digest)
            above = self._starting = self._host.adapters_above(self._path)
            self._host.do(
                Train(
                    branch=self._path,
                    height=head.height + 1,
                    base=head.digest,
                    adapters=(*above, *blobs_of(parts_of([head]))),
                    carry=self._carry,
                    before=self._before(head, above),
                    epsilon=self._host.charter.transfer.epsilon,
                    season=head.season,
                )
            )

    @property
    def may_have_spoken(self) -> bool:
        """Whether the running round may hold an update of ours that we have forgotten and that has not come back."""
        head = self._branch.chain.head
        return head is not None and self._host.amnesia.covers(head) and self.update is None

    def _before(self, head: Release, above: tuple[Digest, ...]) -> tuple[Digest, ...] | None:
        """What our model was the sum of without what came down since our last update to make it what is ``above``; None
        where nothing did or it is no longer here."""
        last = self._above
        if last is None or last == above or not all(map(self._host.has_blob, last)):
            return None
        return (*last, *(blob for blob, _ in head.blobs))

    def trained(self, event: Trained) -> None:
        """Training is done: announce the update, unless the head has moved meanwhile."""
        head = self._branch.chain.head
        if self._training == (event.height, event.base):
            self._training = None
        if head is None or event.base != head.digest or self.update is not None:
            self.train_if_due()
            return
        self._announced = (event.blob, *((event.carry,) if event.carry else ()))
        self._above = self._starting
        self._host.do(PutState(PENDING + self._path, canonical.encode(list(self._announced))))
        self._host.do(PutState(ABOVE + self._path, canonical.encode(list(self._above))))
        if rise := finite(event.metrics.get("compensated")):
            self._host.tell(Compensated(self._path, event.height, rise))
        before, after = (finite(event.metrics.get(name)) for name in ("loss_before", "loss_after"))
        record = self._host.publish(
            Update(
                branch=self._path,
                height=event.height,
                base=event.base,
                blob=event.blob,
                size=event.size,
                credential=self._credential,
                loss_before=before,
                loss_after=after,
                fell=self._fell(head, before),
            )
        )
        told = UpdatePublished(self._path, event.height, event.blob.hex(), event.size, before, after)
        self._host.tell(told)
        self._branch.take(record)

    def _fell(self, head: Release, loss: float | None) -> float | None:
        """By how much this node's own loss has fallen of late, now that it is ``loss`` at ``head``; and remember it."""
        policy = self._host.charter.season
        if policy.policy == "manual" or loss is None:
            return None
        self._memory = self._memory.after(head.season, head.height, loss, policy.patience)
        self._host.do(PutState(LOSSES + self._path, self._memory.encode()))
        return self._memory.fall(policy.patience)

    def failed(self) -> None:
        """Training came to nothing: try again in a while."""
        self._host.do(SetTimer("train", self._host.now + RETRY))

    def retry(self) -> None:
        self._training = None
        self.train_if_due()

    def settle(self, head: Release) -> None:
        """Rebase on a new head: what the network did not take of our last update stays ours and goes into the next.

        Used: only what the encoding lost. Left out: the whole update. Where the votes refused whatever was made of the
        round's updates: what was carried before, since pushing on with what was refused would only push further.
        Where a season begins, nothing: what is ours is in terms of the old A.
        """
        if is_turn(head):
            self._carry = self._announced = ()
            self._host.do(PutState(CARRY + self._path, canonical.encode([])))
            self._host.do(PutState(PENDING + self._path, canonical.encode([])))
        if self._announced:
            if self._announced[0] not in head.counted:
                self._carry = self._announced
            elif head.rule != UNCHANGED:
                self._carry = self._announced[1:]
            self._announced = ()
            self._host.do(PutState(CARRY + self._path, canonical.encode(list(self._carry))))
            self._host.do(PutState(PENDING + self._path, canonical.encode([])))


def finite(loss: float | None) -> float | None:
    """A loss as it can be told: training may well end in one that is no number."""
    return loss if loss is not None and math.isfinite(loss) else None


def _digests(data: bytes | None) -> tuple[bytes, ...]:
    value = canonical.decode(data, max_bytes=STATE_BYTES) if data else []
    return tuple(item for item in value if isinstance(item, bytes)) if isinstance(value, list) else ()
