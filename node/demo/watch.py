"""Watches a network of demo nodes: where each stands, what became of its update, which releases were certified."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from banyan.node.demo.audit import Audited, Auditor
from banyan.node.demo.company import Actor
from banyan.node.demo.gauge import Gauge
from banyan.node.demo.plan import CannotDemo
from banyan.node.demo.stage import Stage

#: Seconds without any change after which a demo is given up.
PATIENCE: Final = 240.0

#: Events of a node worth a line, once in the whole network.
TOLD: Final = {
    "branch-opened",
    "leader-changed",
    "node-quarantined",
    "proposal-refused",
    "round-waiting",
    "job-failed",
}


@dataclass
class View:
    """One node as the table shows it. ``loss`` is the node's own, on its own held-out rows."""

    name: str
    honest: bool
    phase: str = "starting"
    height: int = -1
    task: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    update: str = ""
    fate: str = ""
    leads: bool = False
    sent: int = 0
    received: int = 0
    events: int = 0


@dataclass
class Scene:
    """The whole network at one moment. ``news`` are lines that were not told before."""

    branch: str
    rounds: int
    views: dict[str, View] = field(default_factory=dict)
    audited: dict[int, Audited] = field(default_factory=dict)
    adapters: dict[int, str] = field(default_factory=dict)
    quarantined: dict[str, str] = field(default_factory=dict)
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    news: list[str] = field(default_factory=list)

    @property
    def height(self) -> int:
        """The highest release that was audited."""
        return max(self.audited, default=0)

    @property
    def learned(self) -> float:
        """Trainings done by the network, in parts of one."""
        done = 0.0
        for view in self.views.values():
            sent = 1.0 if view.update else view.step / view.steps if view.steps else 0.0
            done += min(self.rounds, max(0, view.height) + sent)
        return done


class Watcher:
    """Looks at every node now and then; call :meth:`look` until :attr:`finished`."""

    def __init__(self, stage: Stage, auditor: Auditor, gauge: Gauge) -> None:
        self._stage = stage
        self._auditor = auditor
        self._gauge = gauge
        self._told: set[str] = set()
        self._moved = time.monotonic()
        self._last: object = None
        self.scene = Scene(stage.plan.leaf.branch, stage.plan.rounds)
        self.scene.views = {actor.name: View(actor.name, actor.honest) for actor in stage.actors}

    @property
    def finished(self) -> bool:
        """Whether every honest node has reached the last release, and all were audited and are being measured."""
        scene = self.scene
        heights = [scene.views[actor.name].height for actor in self._stage.honest]
        pages = [len(scene.histories.get(actor.name, ())) for actor in self._stage.honest]
        told = min(pages) > scene.rounds and self._gauge.has_all(scene.adapters.values())
        return min(heights) >= scene.rounds and scene.height >= scene.rounds and told

    def look(self) -> Scene:
        """Ask everybody. Raises ``NodeEnded``, and :class:`CannotDemo` where nothing moves any more."""
        self.scene.news.clear()
        for actor in self._stage.actors:
            status = actor.ask("/status")
            if status is not None:
                self._note(actor, status)
                self._listen(actor, int(status["last_event"]))
        self._audit()
        self._check_progress()
        return self.scene

    def _note(self, actor: Actor, status: Mapping[str, Any]) -> None:
        view = self.scene.views[actor.name]
        branch = status.get("core", {}).get("branches", {}).get(self.scene.branch, {})
        training = status.get("training") or {}
        view.phase = status["phase"]
        view.height = max(view.height, branch.get("height", -1))
        view.task = training.get("phase") or ""
        if view.task == "train":
            view.step, view.steps = training["step"], training["steps"]
        elif not training:
            view.step = view.steps = 0
        view.sent, view.received = status["bytes_sent"], status["bytes_received"]
        names = self._stage.names
        if not actor.honest:
            return  # what it says of others is not to be believed
        self.scene.quarantined |= {
            names.get(node, node): why for node, why in status.get("core", {}).get("quarantined", {}).items()
        }
        round_ = branch.get("round")
        if round_ is not None and round_["height"] > self.scene.height:
            for each in self.scene.views.values():
                each.leads = names.get(round_["leader"]) == each.name
            for node, state in round_["updates"].items():
                if node in names:
                    self.scene.views[names[node]].update = state

    def _listen(self, actor: Actor, newest: int) -> None:
        view = self.scene.views[actor.name]
        if newest <= view.events:
            return
        answer = actor.ask("/events", after=view.events, limit=500)
        for event in answer["events"] if answer else ():
            view.events = event["position"]
            if event["event"] == "update-published" and event["loss_before"] is not None:
                view.loss = event["loss_after"]
            if actor.honest and event["event"] in TOLD and event.get("branch") in (None, self.scene.branch):
                self._tell(event)

    def _tell(self, event: Mapping[str, Any]) -> None:
        names = self._stage.names

        def who(node: object) -> str:
            return names.get(str(node), str(node)[-8:])

        match event["event"]:
            case "branch-opened":
                line = f"{self.scene.branch} is open: {len(event['roster'])} members on its roster"
            case "leader-changed":
                line = f"round {event['height']}: {who(event['now'])} leads after {who(event['was'])} ({event['why']})"
            case "node-quarantined":
                line = f"{who(event['member'])} is shut out: {event['why']}"
            case "proposal-refused":
                line = f"round {event['height']}: the proposal of {who(event['leader'])} was refused: {event['detail']}"
            case "round-waiting":
                waits = ", ".join(map(who, event["missing"]))
                line = f"round {event['height']} waits: {event['have']} of {event['need']} updates; missing {waits}"
            case _:
                line = f"a job failed: {event.get('kind')}, {event.get('reason')}"
        for node, name in names.items():
            line = line.replace(node, name)
        if line not in self._told:
            self._told.add(line)
            self.scene.news.append(line)

    def _audit(self) -> None:
        """Recompute every release that has come since the last look."""
        heights = [self.scene.views[actor.name].height for actor in self._stage.honest]
        while self.scene.height < min(max(heights), self.scene.rounds):
            audited = self._auditor.audit(self.scene.height + 1)
            if audited is None:
                return  # seen in a status before it was on the disk
            self.scene.audited[audited.height] = audited
            self._settle(audited)
        for actor in self._stage.honest:
            pages = self.scene.histories.get(actor.name, [])
            if len(pages) <= self.scene.views[actor.name].height:
                answer = actor.ask("/log", branch=self.scene.branch)
                self.scene.histories[actor.name] = answer["releases"] if answer else pages
            for page in self.scene.histories.get(actor.name, []):
                if page["height"] > 0:
                    self.scene.adapters[page["height"]] = page["adapter"]
                    self._gauge.order(page["adapter"], actor.home.blobs)

    def _settle(self, audited: Audited) -> None:
        """What became of everybody's update in a closed round."""
        names = self._stage.names
        reasons = dict(audited.left_out)
        for actor in self._stage.actors:
            view = self.scene.views[actor.name]
            weight = (audited.weights or {}).get(actor.node)
            if actor.node in audited.used:
                view.fate = f"used, {weight:.0%}" if weight is not None else "used"
            else:
                absent = "shut out" if actor.name in self.scene.quarantined else "not seen"
                view.fate = reasons.get(actor.node, absent)
            view.update = ""
        out = ", ".join(f"{names.get(node, node)} ({why})" for node, why in audited.left_out) or "nobody"
        self.scene.news.append(
            f"release {audited.height}: led by {names.get(audited.leader)}, {len(audited.cosigners)} co-signers, "
            f"{len(audited.used)} updates used; left out: {out}"
        )

    def _check_progress(self) -> None:
        state = [
            (v.phase, v.height, v.step, v.update, v.received // 100_000) for v in self.scene.views.values()
        ]
        if state != self._last:
            self._last, self._moved = state, time.monotonic()
        elif time.monotonic() - self._moved > PATIENCE:
            raise CannotDemo(
                f"Nothing has moved for {PATIENCE:.0f} s at release {self.scene.height} of {self.scene.branch}",
                f"Look at the logs in {self._stage.plan.out / 'nodes'}",
            )
