"""The demo's result as plain data (``summary.json``), and the verdict on it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from banyan.node.demo.audit import NOTHING, Audited
from banyan.node.demo.gauge import Gauge
from banyan.node.demo.plan import HELD_OUT
from banyan.node.demo.stage import Stage
from banyan.node.demo.watch import Scene

#: A rule that works column by column gives no weights; it holds if attackers move a release by less than this share.
MOST_DISPLACED: Final = 0.5

#: A difference of losses (nats a token) that is worth a word.
NOTICEABLE: Final = 0.005

Summary = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to be so: whether it is, and the sentence that says it."""

    holds: bool
    sentence: str


def summarise(stage: Stage, scene: Scene, gauge: Gauge, seconds: float) -> Summary:
    """Everything that was found, JSON-ready; the verdict included."""
    plan = stage.plan
    assert stage.charter is not None
    audited = [scene.audited[height] for height in sorted(scene.audited)]
    attackers = {actor.node for actor in stage.actors if not actor.honest}
    influence, displacement, true_share = influence_of(audited, attackers, plan.attack)
    together = [gauge.start, *(gauge.releases.get(scene.adapters[each.height]) for each in audited)]
    undefended = [gauge.start, *(gauge.undefended[height] for height in sorted(gauge.undefended))]
    alone = {
        actor.node: [gauge.start, *(gauge.alone[actor.name][h] for h in sorted(gauge.alone[actor.name]))]
        for actor in stage.honest
    }
    summary: Summary = {
        "network": stage.charter.network_id.hex(),
        "branches": [plan.leaf.branch],
        "rounds": [_round(plan.leaf.branch, each, together[each.height]) for each in audited],
        "nodes": [
            {
                "id": actor.node,
                "role": "honest" if actor.honest else "attacker",
                "branch": plan.leaf.branch,
                "loss_before": gauge.start,
                "loss_after": _last_loss(actor.name, scene, gauge) if actor.honest else None,
                "loss_local_only": alone[actor.node][-1] if actor.honest else None,
                "bytes_sent": scene.views[actor.name].sent,
                "bytes_received": scene.views[actor.name].received,
                "name": actor.name,
                "owners": list(actor.share.owners),
                "training_rows": len(actor.share.training),
            }
            for actor in stage.actors
        ],
        "attack": plan.attack if plan.attackers else None,
        "attacker_influence": influence,
        "undefended_loss_after": undefended[-1],
        "wall_seconds": round(seconds, 1),
        "attacker_displacement": displacement,
        "attacker_true_updates_share": true_share,
        "quarantined": {
            actor.node: scene.quarantined[actor.name]
            for actor in stage.actors
            if actor.name in scene.quarantined
        },
        "curves": {"together": together, "undefended": undefended, "alone": alone},
        "base": plan.base.name if not plan.own_base else "embedded",
        "data": f"{plan.leaf.file.parent.name}/{plan.leaf.file.name}",
        "held_out_rows": len(stage.held_out),
        "held_out": "rows of all honest owners that nobody trained on"
        + (f", {HELD_OUT} at most, drawn from each owner in turn" if len(stage.held_out) == HELD_OUT else ""),
        "rule": plan.rule,
        "f": plan.attackers,
        "settings": {
            "rounds": plan.rounds,
            "steps": plan.training.steps,
            "batch": plan.training.batch,
            "learning_rate": plan.training.learning_rate,
            "rank": stage.charter.adapter.rank,
            "scale": stage.charter.adapter.scale,
            "codec": stage.charter.round.codec,
            "clip": stage.charter.round.clip,
            "attack_strength": plan.strength,
        },
        "seed": plan.seed,
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    summary["verdict"] = [{"holds": each.holds, "sentence": each.sentence} for each in verdict(summary)]
    return summary


def influence_of(
    audited: Sequence[Audited], attackers: set[str], attack: str
) -> tuple[float | None, float, float]:
    """The largest weight that a release gave to a tampered update, the largest displacement by attackers, and the
    largest weight of an update that an attacker did *not* tamper with.

    A lying leader's own updates are true, and so is the first that a replayer sends; what is left of theirs are lies.
    None for a rule without weights.
    """
    tampered, true, displacement = 0.0, 0.0, 0.0
    seen: dict[str, set[bytes]] = {}
    weighed = True
    for each in audited:
        lies = False
        for author in attackers.intersection(each.admitted):
            first = not seen.get(author)
            seen.setdefault(author, set()).add(each.blobs[author])
            is_true = attack == "lying-leader" or (attack == "replay" and first)
            lies = lies or not is_true
            weighed = weighed and each.weights is not None
            weight = each.weights[author] if each.weights is not None else 0.0
            true, tampered = (max(true, weight), tampered) if is_true else (true, max(tampered, weight))
        if lies:
            displacement = max(displacement, each.displacement if each.displacement is not None else 0.0)
    return (tampered if weighed else None), displacement, true


def verdict(summary: Mapping[str, Any]) -> list[Check]:
    """What a demo has to show, each with a sentence for people."""
    honest = [node for node in summary["nodes"] if node["role"] == "honest"]
    before, after = honest[0]["loss_before"], max(_or_worst(node["loss_after"]) for node in honest)
    below_start = all(_or_worst(node["loss_after"]) < node["loss_before"] for node in honest)
    ahead = [node for node in honest if _or_worst(node["loss_after"]) < _or_worst(node["loss_local_only"])]
    alone = [node["loss_local_only"] for node in honest if node["loss_local_only"] is not None]
    checks = [
        Check(
            below_start,
            f"Honest nodes {'learned' if below_start else 'did not learn'}: held-out loss {before:.3f} → {after:.3f}.",
        ),
        Check(
            len(ahead) == len(honest),
            f"{_all(len(ahead), len(honest))} better together ({after:.3f}) than alone "
            f"({_span(alone)}) after the same number of steps.",
        ),
    ]
    if summary["attack"] is not None:
        checks += _on_attackers(summary, after)
    return checks


def _on_attackers(summary: Mapping[str, Any], after: float) -> list[Check]:
    influence, displacement = summary["attacker_influence"], summary["attacker_displacement"]
    who = "The attacker" if sum(n["role"] == "attacker" for n in summary["nodes"]) == 1 else "The attackers"
    if influence is None:
        none = displacement < MOST_DISPLACED
        said = f"{who} moved a release by {displacement:.0%} at most ({summary['rule']} gives no weights)."
    else:
        none = influence <= NOTHING
        lies = "tampered updates" if summary["attacker_true_updates_share"] else "updates"
        whose = "its" if who == "The attacker" else "their"
        said = (
            f"{who} had no influence: {whose} {lies} weighed nothing in any release."
            if none
            else f"{who} had influence: {whose} {lies} made up {influence:.0%} of a release."
        )
    checks = [Check(none, said)]
    return [*checks, Check(True, _undefended(summary, after))]


def _undefended(summary: Mapping[str, Any], after: float) -> str:
    """What would have become of the network without a defence. Told, not judged."""
    lies = summary["attack"] == "lying-leader"
    who = "A network that never checks its leader" if lies else "A plain mean of all updates"
    loss = summary["undefended_loss_after"]
    if loss is None:
        return f"{who} would have been ruined: its loss is not a number."
    if loss > after + NOTICEABLE:
        return f"{who} would have ended at {loss:.3f}, {loss - after:.3f} worse."
    return f"{who} would have ended at {loss:.3f}: this attack is not on the mean."


def _round(branch: str, audited: Audited, loss: float | None) -> Summary:
    return {
        "branch": branch,
        "height": audited.height,
        "release": audited.release,
        "leader": audited.leader,
        "cosigners": list(audited.cosigners),
        "used": list(audited.used),
        "left_out": [{"author": author, "reason": reason} for author, reason in audited.left_out],
        "weights": audited.weights,
        "loss": loss,
        "recomputed_within": audited.agreement,
        "signatures_checked": audited.signed,
    }


def _last_loss(name: str, scene: Scene, gauge: Gauge) -> float | None:
    """The loss of the head that this very node ended with."""
    pages = scene.histories.get(name, [])
    return gauge.releases.get(pages[-1]["adapter"]) if pages else None


def machine() -> str:
    """Such as ``2 cores, 24 GiB``."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{os.cpu_count()} cores, {memory / 2**30:.0f} GiB"


def _all(some: int, everybody: int) -> str:
    return f"All {everybody} do" if some == everybody else f"Only {some} of {everybody} do"


def _or_worst(loss: float | None) -> float:
    return float("inf") if loss is None else loss


def _span(losses: Sequence[float]) -> str:
    return f"{min(losses):.3f} to {max(losses):.3f}" if losses else "not a number"
