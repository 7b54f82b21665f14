"""Sets the scene: shares, a founded network, invited and joined nodes, and their processes.

Everything goes through what the commands call: ``found``, ``up``, ``invite``, ``join`` and ``train --rounds``.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from banyan.aggregation import build
from banyan.node.cli.client import Client, NodeRefused, NotRunning
from banyan.node.daemon.clock import wall_clock
from banyan.node.demo import shares
from banyan.node.demo.measure import Pupil, Task
from banyan.node.demo.plan import DEADLINE, HELD_OUT, MARKER, CannotDemo, Plan
from banyan.node.demo.process import ChildProcess, end_all
from banyan.node.demo.shares import Share
from banyan.node.founding import Founding, found_network
from banyan.node.home import Home
from banyan.node.membership import accept_invite, create_identity, load_identity
from banyan.node.settings import save
from banyan.security.charter import Charter
from banyan.security.errors import BanyanError
from banyan.security.invite import Invite
from banyan.security.schema import to_plain

#: What an earlier demo leaves in its folder.
LEFTOVERS = ("nodes", "data", "index.html", "summary.json", "loss.png", "measure.json", "measure.log", MARKER)

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


class Stage:
    """The network of a plan. Use as a context: leaving it ends every process, however one leaves."""

    def __init__(self, plan: Plan, say: Callable[[str], None] = lambda line: None) -> None:
        self.plan = plan
        self.say = say
        self.actors: list[Actor] = []
        self.charter: Charter | None = None
        self._others: list[ChildProcess] = []

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        end_all(self._processes())

    def _processes(self) -> list[ChildProcess]:
        nodes = [actor.process for actor in self.actors if actor.process is not None]
        return [*nodes, *self._others]

    @property
    def honest(self) -> list[Actor]:
        """The nodes that keep to the protocol."""
        return [actor for actor in self.actors if actor.honest]

    @property
    def names(self) -> Mapping[str, str]:
        """The actors' names by node id."""
        return {actor.node: actor.name for actor in self.actors}

    def check(self) -> None:
        """Raise :class:`NodeEnded` if any node has."""
        for actor in self.actors:
            actor.check()

    # ------------------------------------------------------------------------------------------- scenes

    def set(self) -> None:
        """Everything up to nodes that learn: shares, founding, invitation, joining, start."""
        self._make_room()
        self._deal()
        self._found()
        founder = self.actors[0]
        self._start(founder)
        self._wait_for(founder)
        self._invite_and_join(founder)
        for actor in self.actors[1:]:
            self._start(actor)
        for actor in self.actors:
            self._aim(actor)

    def _make_room(self) -> None:
        out = self.plan.out
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

    def _deal(self) -> None:
        plan = self.plan
        self.say(f"sharing out {plan.leaf.branch} by owner")
        hands = shares.deal(plan.leaf, len(plan.names))
        for name, share in zip(plan.names, hands, strict=True):
            data = plan.out / "data" / f"{name}.jsonl"
            shares.write(data, share.training, share.held_out)
            home = Home(plan.out / "nodes" / name)
            self.actors.append(Actor(name, home, share, data, honest=name in plan.honest))
        self.held_out = shares.pool([actor.share for actor in self.honest], HELD_OUT)
        shares.write(plan.out / "data" / "held-out.jsonl", (), self.held_out)

    def _found(self) -> None:
        plan = self.plan
        self.say("founding the network")
        for actor in self.actors:
            actor.home.create()
            actor.node = create_identity(actor.home).node_id
        leads = plan.attack == "lying-leader"  # the worst case: it has the first word in every round
        wish = Founding(
            name="demo",
            base=plan.base,
            branches=(plan.leaf.branch,),
            preset="local",
            seed=plan.seed,
            rule=plan.rule,
            f=plan.attackers,
            min_updates=max(plan.nodes, build(plan.rule, plan.attackers).minimum_n),
            deadline=DEADLINE * 1000,
            pinned=tuple(a.node for a in self.actors if not a.honest) if leads else None,
        )
        self.charter = found_network(self.actors[0].home, wish, wall_clock())
        self._settle(self.actors[0])

    def _settle(self, actor: Actor) -> None:
        """The owner's choices, as `join` and `train` save them."""
        training = self.plan.training
        save(
            actor.home.settings,
            {
                "preset": "local",
                "training.data": str(actor.data),
                "training.branch": self.plan.leaf.branch,
                "training.steps": training.steps,
                "training.batch": training.batch,
                "training.learning_rate": training.learning_rate,
                "training.max_length": training.max_length,
                "training.eval_rows": training.eval_rows,
                "training.device": training.device,
                "worker.threads": 1,
            },
        )

    def _invite_and_join(self, founder: Actor) -> None:
        self.say(f"inviting {len(self.actors) - 1} nodes")
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
            scope=self.plan.leaf.branch,
            uses=len(self.actors) - 1,
        )
        for actor in self.actors[1:]:
            accept_invite(actor.home, str(invite))
            self._settle(actor)

    def _start(self, actor: Actor) -> None:
        self.say(f"starting {actor.name}")
        arguments = ["--home", str(actor.home.root)]
        module = "banyan.node.daemon"
        if not actor.honest:
            module = "banyan.node.demo.adversary"
            number = self.actors.index(actor)
            arguments += ["--attack", self.plan.attack, "--seed", str(self.plan.seed + number)]
            if self.plan.strength is not None:
                arguments += ["--strength", str(self.plan.strength)]
        actor.process = ChildProcess(module, arguments, actor.home.root / "start.log")

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

    def _aim(self, actor: Actor) -> None:
        self.say(f"waiting for {actor.name} to join")
        while True:
            self._wait_for(actor)
            with suppress(NotRunning, NodeRefused):  # too busy to answer in time: ask again
                actor.client.post("/target", {"height": self.plan.rounds})
                return

    # ---------------------------------------------------------------------------------- the measuring process

    def measure(self) -> ChildProcess:
        """Start the process that measures."""
        assert self.charter is not None
        plan = self.plan
        task = Task(
            charter=str(self.actors[0].home.charter),
            blobs=str(self.actors[0].home.blobs),
            base=str(plan.base),
            branch=plan.leaf.branch,
            held_out=str(plan.out / "data" / "held-out.jsonl"),
            rounds=plan.rounds,
            attack=plan.attack,
            seed=plan.seed + plan.nodes,
            strength=plan.strength or 0.0,
            settings=json.loads(json.dumps(to_plain(plan.training))),
            pupils=tuple(
                Pupil(actor.name, actor.node, str(actor.data), str(actor.home.root), actor.honest)
                for actor in self.actors
            ),
        )
        path = plan.out / "measure.json"
        task.write(path)
        process = ChildProcess("banyan.node.demo.measure", [str(path)], plan.out / "measure.log", piped=True)
        self._others.append(process)
        return process

    def end(self) -> None:
        """End the nodes; what they know stays on disk."""
        end_all(actor.process for actor in self.actors if actor.process is not None)
