"""Sets the scene: shares, a founded network, invited and joined nodes, and their processes."""

from __future__ import annotations

import json
from collections.abc import Callable

from banyan.aggregation import build
from banyan.node.daemon.clock import wall_clock
from banyan.node.demo import shares
from banyan.node.demo.company import Actor, Company
from banyan.node.demo.measure import Pupil, Task
from banyan.node.demo.plan import DEADLINE, HELD_OUT, Plan
from banyan.node.demo.process import ChildProcess
from banyan.node.founding import Founding, found_network
from banyan.node.home import Home
from banyan.node.membership import create_identity
from banyan.security.schema import to_plain


class Stage(Company):
    """The network of a plan."""

    def __init__(self, plan: Plan, say: Callable[[str], None] = lambda line: None) -> None:
        super().__init__(plan.out, plan.training, say)
        self.plan = plan

    @property
    def honest(self) -> list[Actor]:
        """The nodes that keep to the protocol."""
        return [actor for actor in self.actors if actor.honest]

    def set(self) -> None:
        """Everything up to nodes that learn: shares, founding, invitation, joining, start."""
        self._make_room()
        self._deal()
        self._found()
        founder = self.actors[0]
        self._start(founder)
        self._wait_for(founder)
        self._invite(founder, self.actors[1:], self.plan.leaf.branch)
        for actor in self.actors[1:]:
            if actor.honest:
                self._start(actor)
            else:
                self._start(actor, "banyan.node.demo.adversary", self._role(actor))
        for actor in self.actors:
            self._aim(actor, self.plan.rounds)

    def _deal(self) -> None:
        plan = self.plan
        self.say(f"sharing out {plan.leaf.branch} by owner")
        hands = shares.deal(plan.leaf, len(plan.names))
        for name, share in zip(plan.names, hands, strict=True):
            data = plan.out / "data" / f"{name}.jsonl"
            shares.write(data, share.training, share.held_out)
            home = Home(plan.out / "nodes" / name)
            honest = name in plan.honest
            self.actors.append(Actor(name, home, share, data, honest=honest, branch=plan.leaf.branch))
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

    def _role(self, actor: Actor) -> list[str]:
        """What an attacker is told."""
        plan = self.plan
        role = ["--attack", plan.attack, "--seed", str(plan.seed + self.actors.index(actor))]
        return role if plan.strength is None else [*role, "--strength", str(plan.strength)]

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
        self.others.append(process)
        return process
