"""The terminals of the walk: each command is shown, then run as its user would; whatever was started ends with them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from banyan.node.cli.client import Client, NodeRefused, NotRunning
from banyan.node.demo.process import ChildProcess, end_all
from banyan.node.demo.summary import Check
from banyan.node.home import Home
from banyan.security.errors import BanyanError

#: Seconds that a command may take, and that anything may be waited for.
PATIENCE: Final = 900.0

#: Characters of an argument that are shown.
SHOWN: Final = 120


class WalkFailed(BanyanError):
    """A command failed, or something that the walk shows is not so."""


class Terminal:
    """Runs commands for people by name, each with a home of that name in the working directory.

    Args:
        console: what tells the story.
        weights: about how long each chapter takes, in any unit.
    """

    def __init__(self, console: Console, weights: Sequence[float]) -> None:
        self.checks: list[Check] = []
        self._console = console
        self._weights = weights
        self._chapter = 0
        self._started: list[ChildProcess] = []
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("about"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("left"),
        )
        self._progress = Progress(
            *columns,
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=PATIENCE,
        )
        self._task = self._progress.add_task("", total=sum(weights))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        end_all(self._started)

    # ------------------------------------------------------------------------------------------ the story

    def chapter(self, title: str) -> None:
        """Begin the next chapter."""
        done = sum(self._weights[: self._chapter])
        self._chapter += 1
        name = f"{self._chapter}/{len(self._weights)} {title}"
        self._progress.update(self._task, completed=done, description=name)
        self._console.print(f"\n[bold]{escape(name)}[/bold]", highlight=False)

    def say(self, text: str) -> None:
        """A sentence of the story."""
        self._console.print(escape(text), highlight=False, soft_wrap=True)

    def check(self, holds: bool, sentence: str) -> None:
        """Say what was found. Raises :class:`WalkFailed` where it is not so."""
        self.checks.append(Check(holds, sentence))
        self._console.print(
            f"[{'green' if holds else 'red'}]{'✓' if holds else '✗'}[/] {escape(sentence)}",
            highlight=False,
            soft_wrap=True,
        )
        if not holds:
            raise WalkFailed(
                f"The walk does not show what it should: {sentence.rstrip('.')}", "Look at it with --keep"
            )

    # ----------------------------------------------------------------------------------------- commands

    def run(self, who: str, *arguments: object, fails: bool = False, quiet: bool = False) -> str:
        """Run a command line of ``banyan`` to its end; returns what it printed. ``fails``: it is to exit with 1.

        Raises :class:`WalkFailed` where it ends otherwise.
        """
        line = [*map(str, arguments), "--home", who]
        self._show(line)
        try:
            done = subprocess.run(
                [sys.executable, "-m", "banyan.node.cli", *line],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise WalkFailed(
                f"`{_shown(line)}` takes longer than {PATIENCE:.0f} s", f"Look at {who}/node.log"
            ) from None
        if not quiet:
            for text in done.stdout.splitlines():
                self._console.print(f"  [dim]{escape(text)}[/dim]", highlight=False, soft_wrap=True)
        if done.returncode != int(fails):
            last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise WalkFailed(
                f"`{_shown(line)}` failed ({last.rstrip('.')})", f"Look at {Home(Path(who)).log}"
            )
        return done.stdout

    def json(self, who: str, *arguments: object, fails: bool = False) -> Any:
        """What a command says with ``--json``."""
        return json.loads(self.run(who, *arguments, "--json", fails=fails, quiet=True).splitlines()[0])

    def start(self, who: str, *arguments: object, piped: bool = False) -> ChildProcess:
        """Start a command that goes on, in the background."""
        line = [*map(str, arguments), "--home", who]
        self._show([*line, "&"])
        log = Path(f"{who}-{arguments[0]}.log").absolute()
        process = ChildProcess("banyan.node.cli", line, log, piped=piped)
        self._started.append(process)
        return process

    def up(self, who: str) -> None:
        """Start somebody's node and wait until it is a member."""
        self.start(who, "up", "--foreground")
        self.wait(lambda: self.ask(who, "/status").get("phase") == "running", f"{who} to be a member")

    def end(self, process: ChildProcess) -> None:
        """End what was started."""
        end_all([process])
        self._started.remove(process)

    def ask(self, who: str, path: str, **query: object) -> dict[str, Any]:
        """What a running node answers on its control API; nothing while it gives no answer."""
        try:
            return Client(Home(Path(who).absolute())).get(path, **query)
        except (NotRunning, NodeRefused):
            return {}

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until ``condition`` holds. Raises :class:`WalkFailed` where it does not in time, or a node ends."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            for process in self._started:
                if process.exit_code is not None:
                    raise WalkFailed(f"A node ended ({process.last_words()})", f"Look at {process.log}")
            if time.monotonic() > deadline:
                raise WalkFailed(
                    f"Waiting for {what} took longer than {PATIENCE:.0f} s", "Look at `banyan status`"
                )
            time.sleep(0.2)

    def _show(self, line: Sequence[str]) -> None:
        self._console.print(f"[cyan]$ {escape(_shown(line))}[/cyan]", highlight=False, soft_wrap=True)


def _shown(line: Sequence[str]) -> str:
    short = (each if len(each) <= SHOWN else f"{each[:20]}…" for each in line)
    return " ".join(
        ["banyan", *(each if each == "&" or "…" in each else shlex.quote(each) for each in short)]
    )
