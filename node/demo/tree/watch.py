"""Watches the tree: where each node stands, which releases were certified, when to let the newcomers in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from banyan.node.demo.company import Actor
from banyan.node.demo.plan import CannotDemo
from banyan.node.demo.tree.gauge import TreeGauge
from banyan.node.demo.tree.history import History
from banyan.node.demo.tree.plan import LATER_ROUNDS
from banyan.node.demo.tree.stage import TreeStage
from banyan.node.demo.watch import PATIENCE, View
from banyan.protocol.paths import ROOT
from banyan.protocol.release import Release

#: Seconds without any release in which a parent may still lift. A lift that is no gain is not made, so there may be
#: none for its children's last release.
SETTLING: Final = 45.0


@dataclass
class Grove:
    """The whole network at one moment. ``news`` are lines that were not told before."""

    views: dict[str, View] = field(default_factory=dict)
    heights: dict[str, int] = field(default_factory=dict)
    news: list[str] = field(default_factory=list)


class TreeWatcher:
    """Looks at every node now and then; call :meth:`look`."""

    def __init__(self, stage: TreeStage, history: History, gauge: TreeGauge) -> None:
        self._stage, self._gauge, self._history = stage, gauge, history
        self._plan = stage.plan
        self._moved = self._settled = time.monotonic()
        self._last: object = None
        self.scene = Grove({actor.name: View(actor.name, honest=True) for actor in stage.actors})

    @property
    def risen(self) -> bool:
        """Whether the sub-domains have reached their last release, and what they share has been lifted to the master.

        Raises :class:`CannotDemo` where nothing was.
        """
        if any(self.scene.heights.get(leaf.branch, 0) < self._plan.rounds for leaf in self._plan.leaves):
            return False
        domain, master = self._history.head(self._plan.domain), self._history.head(ROOT)
        if _has_counted_all(domain, self.scene.heights) and _has_counted_all(master, self.scene.heights):
            return True
        if time.monotonic() - self._settled < SETTLING:
            return False
        if domain is None or not domain.lifted:
            raise CannotDemo(
                f"Nothing was lifted into {self._plan.domain} {SETTLING:.0f} s after the last release",
                f"Look at the logs in {self._stage.out / 'nodes'}",
            )
        return True

    @property
    def finished(self) -> bool:
        """Whether the newcomers have reached their last release, too."""
        return self.scene.heights.get(self._plan.newcomers, 0) >= LATER_ROUNDS

    @property
    def learned(self) -> float:
        """Trainings done by the network, in parts of one."""
        done = 0.0
        for actor in self._stage.actors:
            view, rounds = self.scene.views[actor.name], self.rounds(actor.branch)
            under_way = view.step / view.steps if view.steps else 0.0
            done += min(rounds, max(0, self.scene.heights.get(actor.branch, 0)) + under_way)
        return done

    @property
    def trainings(self) -> int:
        """All that there will be."""
        return sum(self.rounds(actor.branch) for actor in self._stage.actors)

    def rounds(self, branch: str) -> int:
        """How many a tip does; none of the branches above has members."""
        if branch not in self._plan.tips:
            return 0
        return LATER_ROUNDS if branch == self._plan.newcomers else self._plan.rounds

    def look(self) -> Grove:
        """Ask everybody. Raises ``NodeEnded``, and :class:`CannotDemo` where nothing moves any more."""
        self.scene.news.clear()
        for actor in self._stage.actors:
            if actor.process is not None and (status := actor.ask("/status")) is not None:
                self._note(actor, status)
        for release in self._history.look():
            self._settled = time.monotonic()
            self.scene.heights[release.branch] = release.height
            self.scene.news.append(_told(release))
            at = self._history.heights(release.time) | {release.branch: release.height}
            self._gauge.order(self._history.model(release.branch, at), self.measured_on(release.branch))
        self._gauge.look()
        self._check_progress()
        return self.scene

    def measured_on(self, branch: str) -> tuple[str, ...]:
        """The tips whose held-out rows a branch's model is measured on: its own, or its first children's all."""
        return (branch,) if branch in self._plan.tips else tuple(leaf.branch for leaf in self._plan.leaves)

    def _note(self, actor: Actor, status: Mapping[str, Any]) -> None:
        view = self.scene.views[actor.name]
        training = status.get("training") or {}
        view.phase = status["phase"]
        view.height = self.scene.heights.get(actor.branch, -1)
        view.task = training.get("phase") or ""
        if view.task == "train":
            view.step, view.steps = training["step"], training["steps"]
        else:
            view.step = view.steps = 0
        view.sent, view.received = status["bytes_sent"], status["bytes_received"]

    def _check_progress(self) -> None:
        state = [(v.phase, v.step, v.received // 100_000) for v in self.scene.views.values()]
        state.append(tuple(sorted(self.scene.heights.items())))  # type: ignore[arg-type]
        if state != self._last:
            self._last, self._moved = state, time.monotonic()
        elif time.monotonic() - self._moved > PATIENCE:
            raise CannotDemo(
                f"Nothing has moved for {PATIENCE:.0f} s", f"Look at the logs in {self._stage.out / 'nodes'}"
            )


def _has_counted_all(parent: Release | None, heights: Mapping[str, int]) -> bool:
    """Whether a parent's newest release has counted the newest of each of its children."""
    return (
        parent is not None
        and bool(parent.children)
        and all(child.height >= heights.get(child.branch, 0) for child in parent.children)
    )


def _told(release: Release) -> str:
    """One line."""
    if not release.height:
        begins = ": it begins with what was lifted into the branch above" if release.adapter else ""
        return f"{release.branch} is open{begins}"
    if release.lift:
        children = ", ".join(f"{child.branch}@{child.height}" for child in release.children)
        return f"{release.branch}@{release.height}: lifted what {children} share"
    return f"{release.branch}@{release.height}: {len(release.used)} updates used"
