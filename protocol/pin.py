"""Which model this device uses: that of the heads, or one that its owner has pinned it to.

A pin holds the whole path as it stood while the pinned release was the head, so that what the device serves and exports
stays the same model whatever is released later, in its branch or above it. It says nothing about taking part: a pinned
device follows, votes and trains from the head as before, since an update from an old release would undo what the others
have learned since.

A release is pinned once its blobs are here, and then survives a restart; until then the device goes on as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from banyan.protocol.adapters import Adapters
from banyan.protocol.composition import Part, blobs_of
from banyan.protocol.effects import Digest, Effect, FetchBlob, PutState
from banyan.protocol.events import Event, PinFailed, ReleasePinned, ReleaseUnpinned
from banyan.security import canonical
from banyan.security.errors import Refused
from banyan.security.schema import Length, from_plain, to_bytes

__all__ = ["Pin"]

KEY: Final = "pin"
"""Under which the pin is kept on disk."""

MAX_BYTES: Final = 131_072


@dataclass(frozen=True, slots=True)
class _Pinned:
    """The parts of a pinned model, from where its base begins down; the last is the pinned release. None: not
    pinned."""

    parts: Annotated[tuple[Part, ...], Length(0, 16)]


class Host(Protocol):
    """What a pin needs of the node it lives at."""

    adapters: Adapters

    def do(self, effect: Effect) -> None: ...
    def tell(self, event: Event) -> None: ...
    def has_blob(self, digest: Digest) -> bool: ...


class Pin:
    """The pin of a node that works on ``path``. One on another branch counts again once the node is back there."""

    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self._path = path
        self._pinned: tuple[Part, ...] = ()
        self._wanted: tuple[Part, ...] = ()
        self._missing: set[Digest] = set()

    def restore(self, state: Mapping[str, bytes]) -> None:
        """Take up the pin from before a restart; one that cannot be read is none."""
        with suppress(Refused, KeyError):
            self._pinned = from_plain(_Pinned, canonical.decode(state[KEY], max_bytes=MAX_BYTES)).parts

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the pinned model, from where its base begins down; none where this device is not pinned."""
        return self._pinned if self._pinned and self._pinned[-1].branch == self._path else ()

    def keep(self) -> set[Digest]:
        """The blobs that must not be collected."""
        return set(blobs_of((*self.parts, *self._wanted)))

    def status(self) -> dict[str, object] | None:
        """What this device is pinned to, JSON-ready; None where it is not."""
        if not self.parts:
            return None
        pinned = self.parts[-1]
        missing = [part for part in self.parts if not self._is_here(part)]
        return {
            "branch": pinned.branch,
            "height": pinned.height,
            "release": pinned.release.hex(),
            "missing": [f"{part.branch}@{part.height}" for part in missing],
        }

    def hold(self, parts: tuple[Part, ...]) -> None:
        """Pin the device to the model of ``parts`` as soon as its blobs are here."""
        self._wanted = parts
        self._missing = set(blobs_of(parts))
        for part in parts:
            self._fetch(part)  # even those that seem to be here: a collection may just have taken one
        self._settle()

    def let_go(self) -> None:
        """Use the heads again."""
        pinned, self._pinned, self._wanted = self.parts, (), ()
        self._keep_in_mind()
        if pinned:
            gone = pinned[-1]
            self._host.tell(ReleaseUnpinned(gone.branch, gone.height, gone.release.hex()))

    def fetch(self) -> None:
        """Ask again for what a pinned model lacks: at the start, and every sync interval."""
        for part in self.parts:
            if not self._is_here(part):
                self._fetch(part)

    def _is_here(self, part: Part) -> bool:
        return all(self._host.has_blob(blob) for blob in blobs_of([part]))

    def blob_fetched(self, digest: Digest, error: str | None) -> None:
        """A blob is here, or nobody has it: then the wish for what needs it has failed, and a pin waits for it."""
        if not self._wanted or digest not in self._missing:
            return
        if error is None:
            self._missing.discard(digest)
            self._settle()
            return
        wish, lacks = self._wanted[-1], next(part for part in self._wanted if digest in blobs_of([part]))
        self._wanted = ()
        why = f"The adapter of {lacks.branch}@{lacks.height} is not here and cannot be fetched: {error}"
        self._host.tell(PinFailed(wish.branch, wish.height, wish.release.hex(), why))

    def _settle(self) -> None:
        if self._wanted and not self._missing:
            self._pinned, self._wanted = self._wanted, ()
            self._keep_in_mind()
            pinned = self._pinned[-1]
            self._host.tell(ReleasePinned(pinned.branch, pinned.height, pinned.release.hex()))

    def _keep_in_mind(self) -> None:
        self._host.do(PutState(KEY, to_bytes(_Pinned(self._pinned))))

    def _fetch(self, part: Part) -> None:
        for blob, size in part.blobs:
            self._host.do(FetchBlob(blob, size, self._host.adapters.holders(part.branch)))
