"""``kill -9`` of real daemons at many moments: the others go on, the killed one keeps its word and catches up.

Real processes, wires, stores and signals; only the numbers are easy (a trainer without torch).
"""

import random
import signal
import subprocess
import sys
import time

import pytest

from banyan.node.assets import base_model_path
from banyan.node.cli.client import Client, NodeRefused, NotRunning
from banyan.node.daemon.clock import wall_clock
from banyan.node.founding import Founding, found_network
from banyan.node.home import Home
from banyan.node.membership import accept_invite, load_identity
from banyan.security.invite import Invite

pytestmark = pytest.mark.network

NODE = """
import sys
from pathlib import Path
import numpy as np
from banyan.node.daemon.parts import Parts
from banyan.node.daemon.process import serve
from banyan.node.daemon.standard import libp2p_transport
from banyan.node.daemon.threaded import ThreadWorkers, towards
from banyan.node.home import Home

def workers(daemon):
    size = daemon.charter.adapter.dimension
    return ThreadWorkers(daemon.charter, daemon.blobs, towards(np.linspace(-1, 1, size, dtype=np.float32), 0.1))

flags = {"preset": "local", "training.data": sys.argv[2]}
sys.exit(serve(Home(Path(sys.argv[1])), flags, parts=Parts(transport=libp2p_transport, workers=workers)))
"""

#: A moment: which node is killed after it told of which event; "leader" is whoever leads the closing round.
MOMENTS = [
    (1, "training-started"),
    (2, "update-published"),
    ("leader", "round-closing"),
    (0, "update-admitted"),
    (1, "round-closing"),
    (2, "release-certified"),
    ("leader", "round-closing"),
    (0, "training-finished"),
    (1, "update-admitted"),
    (2, "training-started"),
    ("leader", "update-published"),
    (0, "release-certified"),
]
PATIENCE = 60.0


class Node:
    """One real process on one home."""

    def __init__(self, home, data):
        self.home, self.data, self.process = home, data, None
        self.client = Client(home)

    def start(self):
        command = [sys.executable, "-c", NODE, str(self.home.root), str(self.data)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def ask(self, path, **query):
        """The answer once the node gives one."""
        return wait_for(lambda: self._try(path, query))

    def _try(self, path, query):
        try:
            return self.client.get(path, **query)
        except (NotRunning, NodeRefused):
            return None

    def releases(self):
        return [release["release"] for release in self.ask("/log")["releases"]]

    def height(self):
        return len(self.releases()) - 1


def wait_for(question, patience=PATIENCE):
    """The first answer that is not None or False; real processes take real time."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if (answer := question()) not in (None, False):
            return answer
        time.sleep(0.02)
    raise AssertionError("the network took too long")


@pytest.fixture
def nodes(tmp_path):
    homes = [Home(tmp_path / f"node{number}") for number in range(3)]
    # Rounds are far shorter than a restart here: a member is remembered for as many as it takes.
    quick = {"deadline": 600, "leader_timeout": 500, "memory": 1_000}
    wish = Founding(
        "garden", base_model_path(), preset="local", rank=1, rule="mean", f=0, min_updates=2, **quick
    )
    now = wall_clock()
    charter = found_network(homes[0], wish, now - 1_000)
    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "a row"}\n')
    nodes = [Node(home, data) for home in homes]
    try:
        nodes[0].start()
        addresses = tuple(nodes[0].ask("/status")["addresses"])
        invite = Invite.create(
            load_identity(homes[0]),
            network=charter.network_id,
            addresses=addresses,
            now=now,
            expires=now + 10**7,
            until=now + 10**8,
            uses=2,
        )
        for node in nodes[1:]:
            accept_invite(node.home, str(invite))
            node.start()
        yield nodes
    finally:
        for node in nodes:
            if node.process is not None:
                node.kill()


def event_of(node, kind, after):
    answer = node._try("/events", {"after": after, "kind": kind, "limit": 1})
    return answer["events"][0] if answer and answer["events"] else None


def victim_of(nodes, who, kind):
    """The node to kill now, once the moment has come."""
    if who != "leader":
        after = nodes[who].ask("/status")["last_event"]
        wait_for(lambda: event_of(nodes[who], kind, after))
        return nodes[who]
    names = {node.ask("/status")["node"]: node for node in nodes}
    after = nodes[0].ask("/status")["last_event"]
    wait_for(lambda: event_of(nodes[0], kind, after))
    round_ = nodes[0].ask("/status")["core"]["branches"]["/"]["round"]
    return names[round_["leader"]]


def test_a_network_survives_kill_nine_at_a_dozen_moments(nodes):
    chance = random.Random(9)
    wait_for(lambda: all(node._try("/log", {}) and node.height() >= 1 for node in nodes))
    for who, kind in MOMENTS:
        before = {node: node.releases() for node in nodes}
        victim = victim_of(nodes, who, kind)
        for _ in range(chance.randint(0, 300_000)):  # somewhere within what follows, without a clock
            pass
        acknowledged = victim._try("/log", {})
        victim.kill()
        others = [node for node in nodes if node is not victim]
        goal = max(node.height() for node in others) + 1
        wait_for(lambda others=others, goal=goal: all(node.height() >= goal for node in others))
        victim.start()
        kept = victim.releases()
        known = [each["release"] for each in acknowledged["releases"]] if acknowledged else before[victim]
        assert kept[: len(known)] == known, f"forgot a release after {kind}"
        wait_for(lambda victim=victim, goal=goal: victim.height() >= goal)
    heights = [node.height() for node in nodes]
    chains = [node.releases()[: min(heights) + 1] for node in nodes]
    assert chains[0] == chains[1] == chains[2]
    for node in nodes:
        assert node.ask("/status")["core"]["quarantined"] == {}, "a restarted node contradicted itself"


def test_a_daemon_is_small_and_quick(nodes):
    """Under 150 MB, and up after less than 3 s of work."""
    import psutil

    node = nodes[0]
    node.kill()
    node.start()
    node.ask("/status")
    process = psutil.Process(node.process.pid)
    spent = process.cpu_times()
    assert spent.user + spent.system < 2.5  # of work: on a busy machine a watch would measure the others
    assert process.memory_info().rss < 150e6
