"""Founding a network: identity, base model, shared A, charter, and the founder's own credential."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from banyan.node.assets import base_model_path
from banyan.node.home import Home, HomeError, write_durably
from banyan.node.membership import create_identity, save_credential
from banyan.node.store import BlobStore
from banyan.security.charter import AdapterSpec, BaseModel, Charter, Foundation, Probe, found, preset
from banyan.security.credential import root_credential

#: What the base model that comes with the package is called in a charter.
EMBEDDED = "embedded"

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
    #: Branches with another base model than above them, each with its folder.
    bases: tuple[tuple[str, Path], ...] = ()
    #: Probe sets of branches, each with the file of its rows.
    probes: tuple[tuple[str, Path], ...] = ()
    growth: Literal["founders", "members", "votes"] | None = None
    votes: int | None = None
    dormancy: int | None = None
    seasons: Literal["manual", "plateau"] | None = None


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
    if home.charter.exists() or home.invite.exists():
        raise HomeError(
            f"{home.root} belongs to a network already",
            "Choose another directory with --home for the new one",
        )
    home.create()
    identity = create_identity(home, passphrase)
    blobs = BlobStore(home.blobs)

    base, adapter = _lay(wish, wish.base, wish.seed, blobs, progress)
    others = tuple(
        Foundation(path, *_lay(wish, folder, wish.seed + number, blobs, progress))
        for number, (path, folder) in enumerate(sorted(wish.bases), 1)
    )

    probes = tuple(_probe(path, file, blobs) for path, file in wish.probes)

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
    grows: dict[str, Any] = {"branches": wish.growth, "votes": wish.votes, "dormancy": wish.dormancy}
    grows = {name: value for name, value in grows.items() if value is not None}
    policies = replace(policies, growth=replace(policies.growth, **grows))
    if wish.seasons is not None:
        policies = replace(policies, season=replace(policies.season, policy=wish.seasons))
    charter = found(
        identity,
        name=wish.name,
        created=now,
        admission=wish.admission,
        base=base,
        adapter=adapter,
        branches=wish.branches,
        bases=others,
        probes=probes,
        policies=policies,
    )
    blobs.put(charter.encode())
    save_credential(home, root_credential(identity, charter, now))
    write_durably(home.charter, charter.encode())
    return charter


def _lay(
    wish: Founding, folder: Path, seed: int, blobs: BlobStore, progress: Callable[[str], None]
) -> tuple[BaseModel, AdapterSpec]:
    """Read a base model into the store and draw its A: its fingerprint, and the adapter on it."""
    from banyan.node.learning import base_model
    from banyan.node.learning.adapter_spec import design_adapter
    from banyan.node.learning.base_manifest import check_content, check_manifest

    name = EMBEDDED if folder == base_model_path() else folder.resolve().name
    progress(f"reading the base model {name}")
    base = base_model.fingerprint(folder, name)
    check_manifest(base)
    check_content(folder, base)
    for entry in base.files:
        blobs.put_file(folder / entry.name, entry.digest)
    progress("drawing its shared A")
    adapter, matrices = design_adapter(
        folder, seed=seed, rank=wish.rank, scale=wish.scale, targets=wish.targets
    )
    blobs.put(matrices)
    return base, adapter


def _probe(path: str, file: Path, blobs: BlobStore) -> Probe:
    """Put the probe set of ``path`` into the store. Raises ``LearningError`` where the file is none."""
    from banyan.node.learning.probe_set import made_of

    data = made_of(file)
    return Probe(path, blobs.put(data), len(data))


def _least(rule: str, f: int) -> int:
    """The quorum that the rule itself asks for (Krum's family 2f + 3, the others 2f + 1), at least 2."""
    return max(2, 2 * f + 3 if "krum" in rule else 2 * f + 1)
