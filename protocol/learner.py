"""This node's own learning: when it trains, what it announces, and what it carries over to the next round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Protocol

from banyan.protocol.branch import Branch
from banyan.protocol.effects import Digest, Effect, PutState, SetTimer, Train, Trained
from banyan.protocol.events import Event, UpdatePublished
from banyan.protocol.messages import Update
from banyan.protocol.records import Record, Records
from banyan.protocol.release import Release
from banyan.security import canonical
from banyan.security.charter import Charter
from banyan.security.credential import Credential

__all__ = ["Learner", "finite"]

CARRY, PENDING = "carry|", "pending-carry|"
"""Begin the keys, which end with the branch, under which carries are kept on disk."""

RETRY: Final = 30_000
"""ms after which failed training is tried again."""


class Host(Protocol):
    """What a learner needs of the node it lives at."""

    now: int
    me: str
    charter: Charter
    records: Records
    branches: dict[str, Branch]

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

    # ------------------------------------------------------------------------------------ in and out

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Take up what was carried over before a restart, or before this node worked on other branches: a carry is a
        part of one branch's adapter and of no other's."""
        self._carry = _digests(state.get(CARRY + self._path))
        self._announced = _digests(state.get(PENDING + self._path))
        self._elsewhere = {
            digest
            for key, value in state.items()
            if key.startswith((CARRY, PENDING)) and key not in (CARRY + self._path, PENDING + self._path)
            for digest in _digests(value)
        }

    def keep(self) -> set[Digest]:
        """The blobs that must not be collected."""
        return {*self._carry, *self._announced, *self._elsewhere}

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
        """Start training for the running round if we are to, can, and have not yet."""
        head = self._branch.chain.head
        if not self.trains or head is None or self.update is not None:
            return
        if self.target is not None and head.height >= self.target:
            return
        if self._training == (head.height + 1, head.digest):
            return
        if not head.adapter or self._host.has_blob(head.adapter):
            self._training = (head.height + 1, head.digest)
            self._host.do(Train(self._path, head.height + 1, head.digest, self._adapters(), self._carry))

    def _adapters(self) -> tuple[Digest, ...]:
        """The adapters that our model is the sum of, from where its base begins down: the newest that are here. A
        branch does not wait for what comes down from those above it."""
        path = self._host.charter.model_path(self._path)
        newest = (self._newest(self._host.branches[each]) for each in path)
        return tuple(adapter for adapter in newest if adapter)

    def _newest(self, branch: Branch) -> Digest:
        held = (release.adapter for release in branch.newest() if self._host.has_blob(release.adapter))
        return next(held, b"")

    def trained(self, event: Trained) -> None:
        """Training is done: announce the update, unless the head has moved meanwhile."""
        head = self._branch.chain.head
        if self._training == (event.height, event.base):
            self._training = None
        if head is None or event.base != head.digest or self.update is not None:
            self.train_if_due()
            return
        self._announced = (event.blob, *((event.carry,) if event.carry else ()))
        self._host.do(PutState(PENDING + self._path, canonical.encode(list(self._announced))))
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
            )
        )
        told = UpdatePublished(self._path, event.height, event.blob.hex(), event.size, before, after)
        self._host.tell(told)
        if self._branch.round is not None:
            self._branch.take(record)

    def failed(self) -> None:
        """Training came to nothing: try again in a while."""
        self._host.do(SetTimer("train", self._host.now + RETRY))

    def retry(self) -> None:
        self._training = None
        self.train_if_due()

    def settle(self, head: Release) -> None:
        """Rebase on a new head: what the network did not take of our last update stays ours and goes into the next.

        Used: only what the encoding lost. Left out: the whole update.
        """
        if self._announced:
            used = any(each.blob == self._announced[0] for each in head.used)
            self._carry, self._announced = self._announced[1:] if used else self._announced, ()
            self._host.do(PutState(CARRY + self._path, canonical.encode(list(self._carry))))
            self._host.do(PutState(PENDING + self._path, canonical.encode([])))


def finite(loss: float | None) -> float | None:
    """A loss as it can be told: training may well end in one that is no number."""
    return loss if loss is not None and math.isfinite(loss) else None


def _digests(data: bytes | None) -> tuple[bytes, ...]:
    value = canonical.decode(data, max_bytes=1024) if data else []
    return tuple(item for item in value if isinstance(item, bytes)) if isinstance(value, list) else ()
