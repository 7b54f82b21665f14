"""The actors of a demo: nodes with a home, a share of the data and a process, from their invitation to their end.

Everything goes through what the commands call: ``up``, ``invite``, ``join`` and ``train --rounds``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from banyan.node.cli.client import Client, NodeRefused, NotRunning
from banyan.node.daemon.clock import wall_clock
from banyan.node.demo.plan import MARKER, CannotDemo
from banyan.node.demo.process import ChildProcess, end_all
from banyan.node.demo.shares import Share
from banyan.node.home import Home
from banyan.node.learning.settings import TrainingSettings
from banyan.node.membership import accept_invite, load_identity
from banyan.node.settings import save
from banyan.security.charter import Charter
from banyan.security.errors import BanyanError
from banyan.security.invite import Invite

#: What an earlier demo leaves in its folder.
LEFTOVERS = (
    "nodes", "data", "blobs", "index.html", "summary.json", "loss.png", "measure.json", "measure.log", MARKER,
)  # fmt: skip

#: Seconds that a node may take to answer after its start, with the machine busy starting others.
STARTING = 90.0

HOUR = 3_600_000


class NodeEnded(BanyanError):
    """A node's process ended in the middle of the demo."""


@dataclass
class Actor:
    """One node: who it is, what it holds, and its process once it runs."""

    name: str
    home: Home
    share: Share
    data: Path
    honest: bool
    branch: str
    node: str = ""
    process: ChildProcess | None = None
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.home)

    def ask(self, path: str, **query: object) -> dict[str, Any] | None:
        """The node's answer, or None while it gives none. Raises :class:`NodeEnded`."""
        self.check()
        try:
            return self.client.get(path, **query)
        except (NotRunning, NodeRefused):
            return None

    def check(self) -> None:
        """Raise :class:`NodeEnded` if the process has ended."""
        if self.process is not None and self.process.exit_code is not None:
            raise NodeEnded(
                f"{self.name} ended in the middle of the demo ({self.process.last_words()})",
                f"Look at {self.home.log}",
            )


class Company:
    """The actors of one demo in the folder ``out``. Use as a context: leaving it ends every process, however one
    leaves."""

    def __init__(
        self, out: Path, training: TrainingSettings, say: Callable[[str], None] = lambda line: None
    ) -> None:
        self.out = out
        self.training = training
        self.say = say
        self.actors: list[Actor] = []
        self.charter: Charter | None = None
        self.others: list[ChildProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        nodes = [actor.process for actor in self.actors if actor.process is not None]
        end_all([*nodes, *self.others])

    @property
    def names(self) -> Mapping[str, str]:
        """The actors' names by node id."""
        return {actor.node: actor.name for actor in self.actors}

    def check(self) -> None:
        """Raise :class:`NodeEnded` if any node has."""
        for actor in self.actors:
            actor.check()

    def end(self) -> None:
        """End the nodes; what they know stays on disk."""
        end_all(actor.process for actor in self.actors if actor.process is not None)

    def _make_room(self) -> None:
        out = self.out
        if out.exists() and any(out.iterdir()):
            if not (out / MARKER).exists():
                raise CannotDemo(
                    f"{out} is not empty, and not from a demo", "Choose another folder with --out"
                )
            for name in LEFTOVERS:
                leftover = out / name
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink(missing_ok=True)
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).touch()

    def _settle(self, actor: Actor) -> None:
        """The owner's choices, as `join` and `train` save them."""
        training = self.training
        save(
            actor.home.settings,
            {
                "preset": "local",
                "training.data": str(actor.data),
                "training.branch": actor.branch,
                "training.steps": training.steps,
                "training.batch": training.batch,
                "training.learning_rate": training.learning_rate,
                "training.max_length": training.max_length,
                "training.eval_rows": training.eval_rows,
                "training.device": training.device,
                "worker.threads": 1,
            },
        )

    def _invite(self, founder: Actor, guests: Sequence[Actor], scope: str) -> None:
        """Have ``guests`` join what is at and below ``scope``."""
        self.say(f"inviting {len(guests)} nodes")
        assert self.charter is not None
        status = self._wait_for(founder)
        now = wall_clock()
        invite = Invite.create(
            load_identity(founder.home),
            network=self.charter.network_id,
            addresses=tuple(status["addresses"])[:8],
            now=now,
            expires=now + 24 * HOUR,
            until=now + 24 * HOUR,
            scope=scope,
            uses=len(guests),
        )
        for actor in guests:
            accept_invite(actor.home, str(invite))
            self._settle(actor)

    def _start(self, actor: Actor, module: str = "banyan.node.daemon", arguments: Iterable[str] = ()) -> None:
        self.say(f"starting {actor.name}")
        home = ["--home", str(actor.home.root)]
        actor.process = ChildProcess(module, [*home, *arguments], actor.home.root / "start.log")

    def _wait_for(self, actor: Actor) -> dict[str, Any]:
        """The status of a node that has become a member. Raises :class:`NodeEnded`, :class:`CannotDemo`."""
        deadline = time.monotonic() + STARTING
        while time.monotonic() < deadline:
            self.check()
            status = actor.ask("/status")
            if status is not None and status["phase"] == "running":
                return status
            time.sleep(0.1)
        raise CannotDemo(f"{actor.name} is not a member after {STARTING:.0f} s", f"Look at {actor.home.log}")

    def _aim(self, actor: Actor, height: int) -> None:
        self.say(f"waiting for {actor.name} to join")
        while True:
            self._wait_for(actor)
            with suppress(NotRunning, NodeRefused):  # too busy to answer in time: ask again
                actor.client.post("/target", {"height": height})
                return
