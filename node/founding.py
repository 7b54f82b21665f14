"""Founding a network: identity, base model, shared A, charter, and the founder's own credential."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from banyan.node.home import Home, HomeError, write_durably
from banyan.node.membership import create_identity, save_credential
from banyan.node.store import BlobStore
from banyan.security.charter import AdapterSpec, Charter, found, preset
from banyan.security.credential import root_credential

#: ΔW = scale · B · A. With orthonormal rows of A, 2 lets B learn at rates that are usual for LoRA.
SCALE = 2.0


@dataclass(frozen=True, slots=True)
class Founding:
    """What the founder decides for the whole network; None takes the preset's value. Times are milliseconds."""

    name: str
    base: Path
    branches: tuple[str, ...] = ("/",)
    admission: Literal["open", "invite"] = "invite"
    preset: Literal["local", "lan", "wan"] = "lan"
    rank: int = 16
    scale: float = SCALE
    seed: int = 0
    targets: tuple[str, ...] | None = None
    rule: str | None = None
    f: int | None = None
    min_updates: int | None = None
    deadline: int | None = None
    codec: Literal["float32", "bf16", "int8", "int4"] | None = None
    committee: int | None = None
    leader_timeout: int | None = None
    memory: int | None = None
    pinned: tuple[str, ...] | None = None
    coordination: Literal["committee", "gossip"] | None = None
    lift: str | None = None
    min_children: int | None = None
    voters: int | None = None
    epsilon: float | None = None
    mixing_rule: str | None = None
    min_neighbours: int | None = None
    fallback: int | None = None


def found_network(
    home: Home,
    wish: Founding,
    now: int,
    passphrase: str | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Charter:
    """Found the network ``wish`` in ``home``, with this node as its root. Blocks for seconds; needs no torch.

    The charter is written last: a founding that was cut short can simply be repeated. Raises
    :class:`HomeError` if the directory belongs to a network already, and the errors of the model, the rule
    and the charter's bounds in their own words.
    """
    from banyan.node.learning import base_model, shared_a
    from banyan.node.learning.base_manifest import check_content, check_manifest

    if home.charter.exists() or home.invite.exists():
        raise HomeError(
            f"{home.root} belongs to a network already",
            "Choose another directory with --home for the new one",
        )
    home.create()
    identity = create_identity(home, passphrase)
    blobs = BlobStore(home.blobs)

    progress("reading the base model")
    base = base_model.fingerprint(wish.base)
    check_manifest(base)
    check_content(wish.base, base)
    tensors = base_model.target_tensors(wish.base, wish.targets)
    for entry in base.files:
        blobs.put_file(wish.base / entry.name, entry.digest)

    progress("drawing the shared A")
    matrices = shared_a.to_bytes(shared_a.draw(wish.seed, wish.rank, tensors))
    adapter = AdapterSpec(
        rank=wish.rank,
        scale=wish.scale,
        seed=wish.seed,
        a_digest=blobs.put(matrices),
        a_size=len(matrices),
        tensors=tensors,
    )

    progress("signing the charter")
    policies = preset(wish.preset)
    chosen = {
        name: value
        for name in ("coordination", "rule", "f", "min_updates", "deadline", "codec")
        if (value := getattr(wish, name)) is not None
    }
    if "f" in chosen and "min_updates" not in chosen:
        chosen["min_updates"] = _least(str(chosen.get("rule", policies.round.rule)), int(chosen["f"]))
    policies = replace(policies, round=replace(policies.round, **chosen))
    seats: dict[str, Any] = {
        "size": wish.committee,
        "leader_timeout": wish.leader_timeout,
        "memory": wish.memory,
        "pinned": wish.pinned,
    }
    seats = {name: value for name, value in seats.items() if value is not None}
    policies = replace(policies, committee=replace(policies.committee, **seats))
    lifts: dict[str, Any] = {"policy": wish.lift, "min_children": wish.min_children}
    lifts = {name: value for name, value in lifts.items() if value is not None}
    policies = replace(policies, transfer=replace(policies.transfer, **lifts))
    votes: dict[str, Any] = {"voters": wish.voters, "epsilon": wish.epsilon}
    votes = {name: value for name, value in votes.items() if value is not None}
    policies = replace(policies, validation=replace(policies.validation, **votes))
    near: dict[str, Any] = {"rule": wish.mixing_rule, "min_neighbours": wish.min_neighbours}
    near["fallback"] = wish.fallback
    if wish.f is not None and wish.coordination == "gossip":
        near["f"] = wish.f
        near["min_neighbours"] = wish.min_neighbours or max(1, 2 * wish.f)
    near = {name: value for name, value in near.items() if value is not None}
    policies = replace(policies, mixing=replace(policies.mixing, **near))
    charter = found(
        identity,
        name=wish.name,
        created=now,
        admission=wish.admission,
        base=base,
        adapter=adapter,
        branches=wish.branches,
        policies=policies,
    )
    blobs.put(charter.encode())
    save_credential(home, root_credential(identity, charter, now))
    write_durably(home.charter, charter.encode())
    return charter


def _least(rule: str, f: int) -> int:
    """The quorum that the rule itself asks for (Krum's family 2f + 3, the others 2f + 1), at least 2."""
    return max(2, 2 * f + 3 if "krum" in rule else 2 * f + 1)
