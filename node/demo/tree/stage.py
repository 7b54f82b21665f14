"""Sets the scene of the tree: the nodes of two sub-domains at first, and newcomers later."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from banyan.node.daemon.clock import wall_clock
from banyan.node.demo import shares
from banyan.node.demo.company import Actor, Company
from banyan.node.demo.plan import DEADLINE, HELD_OUT
from banyan.node.demo.process import ChildProcess
from banyan.node.demo.shares import Row, Share
from banyan.node.demo.tree.measure import Task
from banyan.node.demo.tree.plan import LATER_ROUNDS, TreePlan
from banyan.node.founding import Founding, found_network
from banyan.node.home import Home
from banyan.node.membership import create_identity
from banyan.security.schema import to_plain

#: Seconds that the leader of a round may be silent. A parent's leader that has not met all children yet is not
#: believed, and the next has its turn after that.
LEADER_TIMEOUT: Final = 8


class TreeStage(Company):
    """The network of a plan.

    Each sub-domain's rows are dealt to its nodes and to one newcomer, owners whole: nobody else has what a newcomer
    has. ``held_out`` has the rows that each tip of the tree is measured on.
    """

    def __init__(self, plan: TreePlan, say: Callable[[str], None] = lambda line: None) -> None:
        super().__init__(plan.out, plan.training, say)
        self.plan = plan
        self.held_out: dict[str, Sequence[Row]] = {}

    @property
    def first(self) -> list[Actor]:
        """Those who are there from the beginning; the very first founds."""
        return [actor for actor in self.actors if actor.branch != self.plan.newcomers]

    @property
    def newcomers(self) -> list[Actor]:
        """Those who come when the others have learned."""
        return [actor for actor in self.actors if actor.branch == self.plan.newcomers]

    def set(self) -> None:
        """Everything up to sub-domains that learn: shares, founding, invitation, joining, start."""
        self._make_room()
        self._deal()
        self._found()
        founder, *others = self.first
        self._start(founder)
        self._wait_for(founder)
        self._invite(founder, others, self.plan.domain)
        for actor in others:
            self._start(actor)
        for actor in self.first:
            self._aim(actor, self.plan.rounds)

    def welcome(self) -> None:
        """The newcomers come."""
        self._invite(self.first[0], self.newcomers, self.plan.domain)
        for actor in self.newcomers:
            self._start(actor)
        for actor in self.newcomers:
            self._aim(actor, LATER_ROUNDS)

    def _deal(self) -> None:
        plan, late = self.plan, []
        for leaf in plan.leaves:
            self.say(f"sharing out {leaf.branch} by owner")
            hands = shares.deal(leaf, plan.nodes + 1)
            late.append(hands[-1])
            self._cast(leaf.branch, hands[:-1])
        self._cast(plan.newcomers, late if plan.late > 1 else [shares.join(late)])

    def _cast(self, branch: str, hands: Sequence[Share]) -> None:
        name = branch.rpartition("/")[2]
        for number, share in enumerate(hands, 1):
            data = self.out / "data" / f"{name}-{number}.jsonl"
            shares.write(data, share.training, share.held_out)
            home = Home(self.out / "nodes" / f"{name}-{number}")
            self.actors.append(Actor(f"{name}-{number}", home, share, data, honest=True, branch=branch))
        self.held_out[branch] = shares.pool(hands, HELD_OUT)
        shares.write(self.rows_of(branch), (), self.held_out[branch])

    def rows_of(self, branch: str) -> Path:
        """The file of the rows that a tip is measured on."""
        return self.out / "data" / f"{branch.rpartition('/')[2]}-held-out.jsonl"

    def _found(self) -> None:
        plan = self.plan
        self.say("founding the network")
        for actor in self.actors:
            actor.home.create()
            actor.node = create_identity(actor.home).node_id
        wish = Founding(
            name="demo",
            base=plan.base,
            branches=plan.branches,
            preset="local",
            seed=plan.seed,
            rule="mean",
            f=0,
            min_updates=plan.late,
            min_children=1,  # the master has an only child
            deadline=DEADLINE * 1000,
            leader_timeout=LEADER_TIMEOUT * 1000,
        )
        self.charter = found_network(self.actors[0].home, wish, wall_clock())
        self._settle(self.actors[0])

    def measure(self) -> ChildProcess:
        """Start the process that measures; it reads adapters from ``OUT/blobs``."""
        task = Task(
            charter=str(self.first[0].home.charter),
            founder=str(self.first[0].home.blobs),
            blobs=str(self.kept),
            base=str(self.plan.base),
            rows={branch: str(self.rows_of(branch)) for branch in self.plan.tips},
            settings=json.loads(json.dumps(to_plain(self.training))),
        )
        path = self.out / "measure.json"
        task.write(path)
        process = ChildProcess(
            "banyan.node.demo.tree.measure", [str(path)], self.out / "measure.log", piped=True
        )
        self.others.append(process)
        return process

    @property
    def kept(self) -> Path:
        """Where adapters lie that the nodes may throw away."""
        return self.out / "blobs"
