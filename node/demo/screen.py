"""What one sees while the demo runs: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from banyan.node.cli.wording import size
from banyan.node.demo.gauge import Gauge
from banyan.node.demo.watch import Scene, View
from banyan.protocol.round import Status

#: What an update may be on its way through admission; anything else is the reason of a refusal.
UNDER_WAY = frozenset(status.value for status in Status if status is not Status.REFUSED)

#: What a worker says it is doing, in the words of the table.
TASKS = {
    "start": "starting worker",
    "load model": "loading model",
    "read data": "reading data",
    "evaluate": "measuring",
}


class Screen:
    """Shows scenes. A context: the terminal is whole again afterwards."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self.live = Live(console=console, refresh_per_second=4, transient=False)
        self.is_alive = console.is_terminal and not quiet
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self.task = self.progress.add_task("learning", total=None)

    def __enter__(self) -> Screen:
        if self.is_alive:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_alive:
            self.live.stop()

    def say(self, line: str) -> None:
        """One step or piece of news."""
        if self.is_alive:
            self._console.print(f"[dim]{line}[/]", highlight=False)
        elif not self._quiet:
            print(line, flush=True)

    def show(self, scene: Scene, gauge: Gauge) -> None:
        """The network as it stands."""
        for line in scene.news:
            self.say(line)
        if not self.is_alive:
            return
        trainings = scene.rounds * len(scene.views)
        total = trainings + gauge.total
        what = "learning together" if scene.learned < trainings else "training alone, for comparison"
        self.progress.update(
            self.task, total=total or None, completed=scene.learned + gauge.done, description=what
        )
        self.live.update(Group(table(scene, gauge), self.progress))


def table(scene: Scene, gauge: Gauge) -> Table:
    """The live table."""
    loss = gauge.releases.get(scene.adapters.get(scene.height, ""), gauge.start if not scene.height else None)
    head = f", held-out loss {loss:.3f}" if loss is not None else ""
    made = Table(
        title=f"{scene.branch} · release {scene.height} of {scene.rounds}{head}",
        title_justify="left",
        expand=True,
    )
    for name, justify in (
        ("node", "left"),
        ("branch", "left"),
        ("round", "right"),
        ("doing", "left"),
        ("own loss", "right"),
        ("last update", "left"),
        ("in", "right"),
        ("out", "right"),
    ):
        made.add_column(name, justify=justify)  # type: ignore[arg-type]
    for view in scene.views.values():
        made.add_row(*_row(view, scene))
    return made


def _row(view: View, scene: Scene) -> list[Text | str]:
    name = Text(view.name + (" ★" if view.leads else ""), style="" if view.honest else "bold red")
    fate = Text(view.fate, style="green" if view.fate.startswith("used") else "red")
    shut_out = scene.quarantined.get(view.name)
    return [
        name,
        scene.branch,
        str(min(max(0, view.height) + 1, scene.rounds)),
        Text(f"shut out: {shut_out}", style="red") if shut_out else doing(view, scene.rounds),
        f"{view.loss:.3f}" if view.loss is not None else "",
        fate,
        size(view.received),
        size(view.sent),
    ]


def doing(view: View, rounds: int) -> str:
    """In two words."""
    if view.phase != "running":
        return view.phase
    if view.height >= rounds:
        return "done"
    if view.update:
        return f"update {view.update}" if view.update in UNDER_WAY else f"refused: {view.update}"
    if view.task == "train":
        return f"training {view.step}/{view.steps}"
    if view.task:
        return TASKS.get(view.task, view.task)
    return "waiting" if view.height >= 0 else "joined"
