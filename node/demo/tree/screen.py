"""What one sees while the tree grows: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table

from banyan.node.cli.wording import size
from banyan.node.demo.screen import Screen, doing
from banyan.node.demo.tree.gauge import TreeGauge
from banyan.node.demo.tree.stage import TreeStage
from banyan.node.demo.tree.watch import TreeWatcher


class TreeScreen(Screen):
    """Shows the tree. A context, as its base is."""

    def grow(self, stage: TreeStage, watcher: TreeWatcher, gauge: TreeGauge) -> None:
        """The network as it stands."""
        for line in watcher.scene.news:
            self.say(line)
        if self.is_alive:
            what = "learning" if watcher.learned < watcher.trainings else "measuring"
            self.progress.update(
                self.task,
                total=watcher.trainings + max(gauge.total, 1),
                completed=watcher.learned + gauge.done,
                description=what,
            )
            self.live.update(Group(table(stage, watcher), self.progress))


def table(stage: TreeStage, watcher: TreeWatcher) -> Table:
    """The live table."""
    heights = watcher.scene.heights
    title = " · ".join(f"{branch}@{heights.get(branch, '–')}" for branch in stage.plan.branches)
    made = Table(title=title, title_justify="left", expand=True)
    for name in ("node", "branch", "doing", "in", "out"):
        made.add_column(name, justify="right" if name in ("in", "out") else "left")
    for actor in stage.actors:
        view = watcher.scene.views[actor.name]
        waits = "comes later" if actor.process is None else doing(view, watcher.rounds(actor.branch))
        made.add_row(actor.name, actor.branch, waits, size(view.received), size(view.sent))
    return made
