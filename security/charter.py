"""The charter: the signed founding document of a network. The network's id is its hash.

Encoded, it is the canonical map ``{author, body, signature}``: ``body`` is the canonical encoding of every
other field as bytes, ``author`` one of the root keys in it, and ``signature`` the author's over
``"banyan/charter/1\\0" ‖ author's public key ‖ body``. Nobody can change a byte of it without changing the
network id, which every envelope names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Final, Literal, Self, TypeAlias

from banyan.security import canonical
from banyan.security.canonical import CanonicalError
from banyan.security.errors import Refused
from banyan.security.identity import NodeId, Signer, Verifier, public_key, verify
from banyan.security.model import AdapterSpec, BaseModel, FileEntry, TensorSpec
from banyan.security.policy import (
    CommitteePolicy,
    GossipPolicy,
    GrowthPolicy,
    Limits,
    MixingPolicy,
    Preset,
    RoundPolicy,
    SeasonPolicy,
    TransferPolicy,
    ValidationPolicy,
    preset,
)
from banyan.security.schema import Between, Length, Printable, SchemaError, from_plain, to_plain
from banyan.security.scope import Path

__all__ = [
    "AdapterSpec",
    "BaseModel",
    "Charter",
    "CharterRefused",
    "CommitteePolicy",
    "FileEntry",
    "Foundation",
    "GossipPolicy",
    "GrowthPolicy",
    "Limits",
    "MixingPolicy",
    "Preset",
    "Probe",
    "RoundPolicy",
    "SeasonPolicy",
    "TensorSpec",
    "TransferPolicy",
    "ValidationPolicy",
    "found",
    "preset",
]

DOMAIN: Final = b"banyan/charter/1\0"
MAX_BYTES: Final = 2**20  # a 400-billion-parameter model with every matrix adapted needs about 100 KB

BY_HAND: Final = SeasonPolicy(policy="manual")
"""The seasons of a charter that does not name any: those that are older than the choice."""

Admission: TypeAlias = Literal["open", "invite"]


@dataclass(frozen=True, slots=True)
class Foundation:
    """The base model of the branch ``path`` and all below it, another than above, and the adapter on it.

    A model is a sum of adapters on one base, so such a branch begins anew: nothing above it is a part of its models,
    and its releases are no part of its parent's rounds. Knowledge crosses by distillation.
    """

    path: Path
    base: BaseModel
    adapter: AdapterSpec


PROBE_BYTES: Final = 2**18
"""The most bytes of a probe set: every voter of the branch fetches it, and reads it at each release."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The probe set of the branch ``path``: public held-out rows that a release of it is tried on, a JSONL file known
    by its SHA-256 and its size."""

    path: Path
    digest: Annotated[bytes, Length(32, 32)]
    size: Annotated[int, Between(1, PROBE_BYTES)]


class CharterRefused(Refused):
    """A document that is not a valid charter; ``reason`` is one of ``too-long``, ``malformed``,
    ``bad-author``, ``bad-signature``, ``wrong-network``."""


@dataclass(frozen=True)
class Charter:
    """A network's founding document. Made by :func:`found` and :meth:`decode`, which prove the signature."""

    name: Annotated[str, Length(1, 64), Printable]
    """What people call the network; not unique, unlike its id."""

    created: Annotated[int, Between(0, 2**53)]
    """The founder's clock, ms."""

    roots: Annotated[tuple[NodeId, ...], Length(1, 16)]
    """The keys that may invite, revoke and found branches. More roots survive the loss of one, and each of
    them can admit anybody."""

    admission: Admission
    """``invite``: only members with a chain to a root. ``open``: anyone may come as a guest, who
    contributes and never decides."""

    base: BaseModel
    adapter: AdapterSpec
    round: RoundPolicy
    transfer: TransferPolicy
    committee: CommitteePolicy
    validation: ValidationPolicy
    mixing: MixingPolicy
    gossip: GossipPolicy
    growth: GrowthPolicy
    limits: Limits

    branches: Annotated[tuple[Path, ...], Length(1, 4_096)]
    """The tree at its founding, sorted; each branch's parent is in it, so ``/`` always is."""

    author: NodeId
    """The root that signed."""

    signature: Annotated[bytes, Length(64, 64)] = field(repr=False)

    bases: Annotated[tuple[Foundation, ...], Length(0, 64)] = ()
    """Branches with another base model than the branch above them, sorted by path. A charter without any does not name
    this field, as all did before there was one."""

    season: SeasonPolicy = BY_HAND
    """When a fresh A is drawn for everybody. A charter with :data:`BY_HAND` does not name this field."""

    probes: Annotated[tuple[Probe, ...], Length(0, 4_096)] = ()
    """The probe sets of branches that have one from the beginning, sorted by path. A charter without any does not name
    this field."""

    def __post_init__(self) -> None:
        _check_branches(self.branches)
        _check_probes(self.probes, self.branches)
        _check_bases(self.bases, self.branches)
        if len(set(self.roots)) != len(self.roots):
            raise SchemaError("roots", "must not name a key twice")
        if self.author not in self.roots:
            raise SchemaError("author", "must be one of the roots")
        if self.growth.branches == "votes":
            if self.round.coordination == "gossip":
                raise SchemaError(
                    "growth.branches", "cannot be votes where no committee leads: choose members"
                )
            if self.growth.votes > self.committee.size:
                raise SchemaError("growth.votes", f"must not exceed the {self.committee.size} seats")
        for adapter in (self.adapter, *(each.adapter for each in self.bases)):
            if adapter.dimension * 4 + 65_536 > self.limits.blob_bytes:
                raise SchemaError("limits.blob_bytes", f"must hold an adapter of {adapter.dimension} float32")
            if adapter.a_size > self.limits.blob_bytes:
                raise SchemaError("limits.blob_bytes", f"must hold the shared A of {adapter.a_size} bytes")

    # ------------------------------------------------------------------------------------ base models

    @cached_property
    def foundations(self) -> dict[str, Foundation]:
        """Every base model by the branch where it begins, the root's among them."""
        return {"/": Foundation("/", self.base, self.adapter)} | {each.path: each for each in self.bases}

    def foundation_of(self, branch: str) -> Foundation:
        """What ``branch`` is built on: the nearest foundation at or above it."""
        while branch not in self.foundations:
            branch = _parent(branch)
        return self.foundations[branch]

    def base_at(self, branch: str) -> BaseModel:
        """The base model of ``branch``."""
        return self.foundation_of(branch).base

    def adapter_at(self, branch: str) -> AdapterSpec:
        """The shape of the adapters of ``branch``."""
        return self.foundation_of(branch).adapter

    def model_path(self, branch: str) -> tuple[str, ...]:
        """The branches whose adapters the model at ``branch`` is the sum of: from where its base model begins, down."""
        below = [branch]
        while below[-1] not in self.foundations:
            below.append(_parent(below[-1]))
        return tuple(reversed(below))

    def is_alike(self, branch: str, other: str) -> bool:
        """Whether the adapters of two branches can be added up, averaged and mixed."""
        return self.foundation_of(branch).path == self.foundation_of(other).path

    def branches_like(self, branch: str, among: Iterable[str]) -> tuple[str, ...]:
        """Those of the branches ``among`` that are built on what ``branch`` is built on, in their order."""
        if not self.bases:
            return tuple(among)
        return tuple(each for each in among if self.is_alike(branch, each))

    # ------------------------------------------------------------------------------------ the document

    @cached_property
    def _document(self) -> bytes:
        return canonical.encode({"author": self.author, "body": self._body(), "signature": self.signature})

    def _body(self) -> bytes:
        plain = to_plain(self)
        del plain["author"], plain["signature"]
        if not self.bases:
            del plain["bases"]
        if not self.probes:
            del plain["probes"]
        if self.season == BY_HAND:
            del plain["season"]
        return canonical.encode(plain)

    def encode(self) -> bytes:
        """The signed document, the bytes to hand to anyone."""
        return self._document

    @cached_property
    def network_id(self) -> bytes:
        """The SHA-256 of :meth:`encode`."""
        return hashlib.sha256(self._document).digest()

    @classmethod
    def decode(cls, data: bytes, *, network: bytes | None = None, verify: Verifier = verify) -> Self:
        """The charter in ``data``, checked field by field and proved to be signed by one of its roots.

        With ``network``, it must also be that network's. Raises :class:`CharterRefused`.
        """
        if len(data) > MAX_BYTES:
            raise CharterRefused("too-long", f"A charter has {len(data)} bytes where {MAX_BYTES} are allowed")
        if network is not None and hashlib.sha256(data).digest() != network:
            raise CharterRefused(
                "wrong-network", "This charter is another network's", "Ask the founder for a new invite"
            )
        try:
            document = from_plain(_Document, canonical.decode(data, max_bytes=MAX_BYTES, max_depth=1))
            body = canonical.decode(document.body, max_bytes=MAX_BYTES, floats=True)
            if not isinstance(body, dict) or body.keys() & {"author", "signature"}:
                raise SchemaError("body", "must be a map of the charter's own fields")
            if body.get("bases") == []:
                raise SchemaError("bases", "must not be named where there are none")
            if body.get("probes") == []:
                raise SchemaError("probes", "must not be named where there are none")
            if body.get("season") == to_plain(BY_HAND):
                raise SchemaError("season", "must not be named where it says no more than none would")
            signed = {"author": document.author, "signature": document.signature}
            charter = from_plain(
                cls, {"bases": [], "probes": [], "season": to_plain(BY_HAND), **body, **signed}
            )
        except CanonicalError as error:
            raise CharterRefused(error.reason, f"This is not a charter: {error.what}") from error
        except SchemaError as error:
            reason = "bad-author" if error.field == "author" else "malformed"
            raise CharterRefused(reason, f"This charter is not valid: {error.what}") from error
        if not verify(document.author, document.signature, _message(document.author, document.body)):
            raise CharterRefused("bad-signature", "This charter was altered: its founder did not sign it")
        return charter


@dataclass(frozen=True, slots=True)
class _Document:
    author: NodeId
    body: bytes
    signature: bytes


def found(
    signer: Signer,
    *,
    name: str,
    created: int,
    admission: Admission,
    base: BaseModel,
    adapter: AdapterSpec,
    branches: tuple[str, ...] = ("/",),
    roots: tuple[str, ...] = (),
    bases: tuple[Foundation, ...] = (),
    probes: tuple[Probe, ...] = (),
    policies: Preset | None = None,
) -> Charter:
    """Sign a new network's charter as ``signer``, who becomes a root; ``roots`` adds more.

    Missing ancestors of ``branches``, of ``bases`` and of ``probes`` are added. ``policies`` defaults to the ``lan``
    preset. Raises :class:`banyan.security.schema.SchemaError` naming the field that is out of bounds.
    """
    policies = policies or preset("lan")
    unsigned = Charter(
        name=name,
        created=created,
        roots=tuple(dict.fromkeys((signer.node_id, *roots))),
        admission=admission,
        base=base,
        adapter=adapter,
        round=policies.round,
        transfer=policies.transfer,
        committee=policies.committee,
        validation=policies.validation,
        mixing=policies.mixing,
        gossip=policies.gossip,
        growth=policies.growth,
        limits=policies.limits,
        branches=_with_ancestors(
            (*branches, *(each.path for each in bases), *(each.path for each in probes))
        ),
        author=signer.node_id,
        signature=bytes(64),
        bases=tuple(sorted(bases, key=lambda each: each.path)),
        season=policies.season,
        probes=tuple(sorted(probes, key=lambda each: each.path)),
    )
    body = unsigned._body()
    signature = signer.sign(_message(signer.node_id, body))
    return from_plain(Charter, {**to_plain(unsigned), "signature": signature})


def _message(author: str, body: bytes) -> bytes:
    return DOMAIN + public_key(author) + body


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _with_ancestors(branches: tuple[str, ...]) -> tuple[str, ...]:
    tree = {"/"}
    for path in branches:
        while path not in tree:
            tree.add(path)
            path = _parent(path)
    return tuple(sorted(tree))


def _check_bases(bases: tuple[Foundation, ...], branches: tuple[str, ...]) -> None:
    paths = [each.path for each in bases]
    if paths != sorted(set(paths)):
        raise SchemaError("bases", "must be sorted, each branch once")
    for path in paths:
        if path == "/" or path not in branches:
            raise SchemaError("bases", f"must be of branches below the root: {path} is none")


def _check_probes(probes: tuple[Probe, ...], branches: tuple[str, ...]) -> None:
    paths = [each.path for each in probes]
    if paths != sorted(set(paths)):
        raise SchemaError("probes", "must be sorted, each branch once")
    for path in set(paths).difference(branches):
        raise SchemaError("probes", f"must be of branches of the charter: {path} is none")


def _check_branches(branches: tuple[str, ...]) -> None:
    tree = set(branches)
    if list(branches) != sorted(tree):
        raise SchemaError("branches", "must be sorted, each branch once")
    for path in branches:
        if _parent(path) not in tree:
            raise SchemaError("branches", f"must contain {_parent(path)}, the parent of {path}")
