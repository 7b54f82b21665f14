"""Where a node stands, JSON-ready: for its owner's eyes."""

from __future__ import annotations

from banyan.protocol.peer import Peer
from banyan.protocol.plateau import standing_of
from banyan.protocol.season import gain_of
from banyan.security.schema import to_plain

__all__ = ["seasons", "status"]


def status(peer: Peer, now: int) -> dict[str, object]:
    """Who is there, what ``peer`` follows, what it serves and what it waits for, at ``now`` (ms)."""
    return {
        "node": peer.me,
        "network": peer.charter.network_id.hex(),
        "name": peer.charter.name,
        "branch": peer.branch,
        "season": peer.newest_season(),
        "trains": peer.learner.trains,
        "target_height": peer.learner.target,
        "training": peer.learner.busy or peer.mixer.is_training,
        "model": [digest.hex() for digest in peer.model],
        "pin": peer.pin.status(),
        "members": [
            {
                "node": m.node,
                "branch": m.branch,
                "seen": m.seen,
                "addresses": list(m.addresses),
                "guest": m.guest,
            }
            for m in peer.members.live(now)
        ],
        "connected": sorted(peer.gossip.followers.connected),
        "quarantined": {node: reason.value for node, reason in sorted(peer.quarantined.items())},
        "refusals": dict(sorted(peer.refusals.items())),
        "branches": {path: _standing(peer, path) for path in sorted(peer.branches)},
        "suggestions": peer.suggestions.listing(),
    }


def _standing(peer: Peer, path: str) -> dict[str, object]:
    branch, mixer = peer.branches[path], peer.mixer
    mixing = {"mixing": mixer.status()} if path == peer.branch and mixer.is_active else {}
    if mixer.is_rule:
        return {"height": mixer.steps if mixing else -1, "waits_for": "", **mixing}
    if branch.chain.head is not None:
        return branch.status() | mixing
    here = peer.founding.gathered(path)
    if path not in peer.tree:
        return {"height": -1, "waits_for": "somebody to found it: this node knows of no such branch"}
    need = 1 if peer.growth.caretakers(path) else branch.need
    missing = f"members: {here} of the {need} it needs are here"
    return {
        "height": -1,
        "waits_for": missing if here < need else "the charter's first root to open it",
    }


def seasons(peer: Peer) -> dict[str, object]:
    """The newest season, the charter's policy, and in which season each open branch that this node follows is and how
    it stands there. ``fell`` is what its members said last of how far their loss fell over ``patience`` releases, None
    before any could tell; ``gain`` what the reported losses say of one release."""
    chains = {path: [*branch.chain.releases()] for path, branch in sorted(peer.branches.items())}
    return {
        "season": peer.newest_season(),
        "policy": to_plain(peer.charter.season),
        "branches": [
            {
                "branch": path,
                "season": releases[-1].season,
                "topmost": peer.is_topmost(path),
                "standing": standing_of(releases[-1]),
                "fell": progress.fell if (progress := releases[-1].progress) else None,
                "members": progress.members if progress else 0,
                "gain": gain_of(releases),
            }
            for path, releases in chains.items()
            if releases
        ],
    }
