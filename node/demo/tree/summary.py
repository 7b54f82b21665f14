"""The result as plain data (``summary.json``), and the verdict on it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from banyan.node.demo.summary import Check, Summary, machine
from banyan.node.demo.tree.gauge import TreeGauge
from banyan.node.demo.tree.history import History, Model
from banyan.node.demo.tree.stage import TreeStage
from banyan.node.demo.tree.watch import TreeWatcher
from banyan.protocol.paths import ROOT

#: The model that there is before anybody has learned.
NOTHING: Model = ()


def order_rest(stage: TreeStage, watcher: TreeWatcher, history: History, gauge: TreeGauge) -> None:
    """Have measured what a summary needs and no release asked for."""
    for branch in stage.plan.branches:
        gauge.order(NOTHING, watcher.measured_on(branch))
    for move in history.moves():
        for branch, models in {move.branch: move.own, **move.of_children}.items():
            for model in models:
                gauge.order(model, watcher.measured_on(branch))


def summarise(
    stage: TreeStage, watcher: TreeWatcher, history: History, gauge: TreeGauge, seconds: float
) -> Summary:
    """Everything that was found, JSON-ready; the verdict included."""
    plan = stage.plan
    assert stage.charter is not None

    def loss(branch: str, model: Model) -> float | None:
        return gauge.loss(model, watcher.measured_on(branch))

    def pair(branch: str, models: tuple[Model, Model]) -> dict[str, float | None]:
        return {"before": loss(branch, models[0]), "after": loss(branch, models[1])}

    lifts = [
        {
            "branch": move.branch,
            "height": move.height,
            "children": [{"branch": branch, "height": height} for branch, height in move.children],
            **pair(move.branch, move.own),
            "of_children": {child: pair(child, models) for child, models in move.of_children.items()},
        }
        for move in history.moves()
    ]
    begin = min(release.time for releases in history.releases.values() for release in releases)
    releases = [
        {
            "branch": branch,
            "height": release.height,
            "release": release.digest.hex(),
            "seconds": (release.time - begin) / 1000,
            "lifts": bool(release.lift),
            "loss": loss(
                branch, history.model(branch, history.heights(release.time) | {branch: release.height})
            ),
        }
        for branch, releases in history.releases.items()
        for release in releases
    ]
    summary: Summary = {
        "network": stage.charter.network_id.hex(),
        "branches": list(plan.branches),
        "nodes": [
            {
                "id": actor.node,
                "name": actor.name,
                "branch": actor.branch,
                "owners": list(actor.share.owners),
                "training_rows": len(actor.share.training),
                "bytes_sent": watcher.scene.views[actor.name].sent,
                "bytes_received": watcher.scene.views[actor.name].received,
            }
            for actor in stage.actors
        ],
        "releases": sorted(releases, key=lambda each: each["seconds"]),
        "lifts": lifts,
        "leaves": {leaf.branch: _ends(leaf.branch, releases, loss) for leaf in plan.leaves},
        "parents": {branch: _ends(branch, releases, loss) for branch in (ROOT, plan.domain)},
        "newcomers": _ends(plan.newcomers, releases, loss) | {"branch": plan.newcomers},
        "held_out_rows": {branch: len(rows) for branch, rows in stage.held_out.items()},
        "base": plan.base.name if not plan.own_base else "embedded",
        "data": f"{plan.leaves[0].file.parent.name}/{{{','.join(leaf.file.stem for leaf in plan.leaves)}}}",
        "settings": {
            "rounds": plan.rounds,
            "steps": plan.training.steps,
            "batch": plan.training.batch,
            "learning_rate": plan.training.learning_rate,
            "rank": stage.charter.adapter.rank,
            "codec": stage.charter.round.codec,
            "lift_policy": stage.charter.transfer.policy,
            "lift_rule": stage.charter.transfer.rule,
        },
        "seed": plan.seed,
        "wall_seconds": round(seconds, 1),
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    summary["verdict"] = [{"holds": each.holds, "sentence": each.sentence} for each in verdict(summary)]
    return summary


def _ends(branch: str, releases: Sequence[Mapping[str, Any]], loss: Any) -> dict[str, float | None]:
    """The loss of the base model where ``branch`` is measured, of the branch when it opened, and in the end."""
    own = [each for each in releases if each["branch"] == branch]
    return {
        "base": loss(branch, NOTHING),
        "opening": own[0]["loss"] if own else None,
        "end": own[-1]["loss"] if own else None,
    }


def verdict(summary: Mapping[str, Any]) -> list[Check]:
    """What the demo has to show, each with a sentence for people."""
    checks = []
    for branch, ends in summary["leaves"].items():
        checks.append(
            Check(
                _below(ends["end"], ends["base"]),
                f"{branch} learned: held-out loss {_number(ends['base'])} → {_number(ends['end'])}.",
            )
        )
    for branch, ends in reversed(summary["parents"].items()):
        count = sum(lift["branch"] == branch for lift in summary["lifts"])
        checks.append(
            Check(
                bool(count) and _below(ends["end"], ends["opening"]),
                f"Knowledge rose: {count} lift{'s' if count != 1 else ''} took {branch}, where nobody trains, from "
                f"{_number(ends['opening'])} to {_number(ends['end'])} on the data of all below it.",
            )
        )
    moved = [
        abs(pair["after"] - pair["before"]) if None not in pair.values() else float("inf")
        for lift in summary["lifts"]
        for pair in lift["of_children"].values()
    ]
    most = max(moved, default=float("inf"))
    checks.append(Check(most == 0, f"No lift changed the loss of any child: by {most:g} at most."))
    new = summary["newcomers"]
    checks.append(
        Check(
            _below(new["opening"], new["base"]) and _below(new["end"], new["opening"]),
            f"Knowledge came down: {new['branch']} began at {_number(new['opening'])} instead of "
            f"{_number(new['base'])} and learned on to {_number(new['end'])}.",
        )
    )
    return checks


def _below(loss: float | None, other: float | None) -> bool:
    return loss is not None and other is not None and loss < other


def _number(loss: float | None) -> str:
    return "not a number" if loss is None else f"{loss:.3f}"
