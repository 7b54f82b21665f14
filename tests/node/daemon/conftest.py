"""Networks of whole daemons in one process: real store, real core, memory for wires, threads for workers."""

import contextlib

import numpy as np
import pytest
import trio
import trio.testing

from banyan.node.assets import base_model_path
from banyan.node.cli.main import run
from banyan.node.daemon.parts import Parts
from banyan.node.daemon.service import Daemon
from banyan.node.daemon.threaded import ThreadWorkers, towards
from banyan.node.founding import Founding, found_network
from banyan.node.home import Home
from banyan.node.membership import accept_invite, load_identity
from banyan.node.network.memory import MemoryNetwork
from banyan.security.invite import Invite

START = 1_800_000_000_000
DAY = 86_400_000


def clock():
    """Wall-clock ms that follow trio's clock, which may be virtual."""
    return START + round(trio.current_time() * 1000)


class Garden:
    """A founded network, its wires, and its nodes by number (0 is the founder)."""

    def __init__(self, folder, **wishes):
        self.folder = folder
        self.wires = MemoryNetwork()
        self.data = folder / "rows.jsonl"
        self.data.write_text('{"text": "a row"}\n' * 4)
        wish = Founding(
            "garden",
            base_model_path(),
            preset="local",
            rank=1,
            rule="mean",
            f=0,
            min_updates=2,
            deadline=4_000,
            lift="every-round",
            min_children=1,
            **wishes,
        )
        self.charter = found_network(self.home(0), wish, START - 1000)
        self.goal = np.linspace(-1, 1, self.charter.adapter.dimension, dtype=np.float32)

    def home(self, number):
        return Home(self.folder / f"node{number}")

    def invite(self, uses=8, addresses=None, **changes):
        founder = load_identity(self.home(0))
        terms = {"now": START - 500, "expires": START + DAY, "until": START + 9 * DAY, "scope": "/"} | changes
        where = addresses or (f"/memory/0/p2p/{founder.node_id}",)
        return Invite.create(founder, network=self.charter.network_id, addresses=where, uses=uses, **terms)

    def join(self, number, invite=None):
        accept_invite(self.home(number), str(invite or self.invite()))

    def parts(self):
        def transport(daemon):
            return self.wires.transport(
                daemon.identity.node_id, network=daemon.network, blobs=daemon.shared_blobs
            )

        def workers(daemon):
            return ThreadWorkers(daemon.charter, daemon.blobs, towards(self.goal))

        return Parts(transport=transport, workers=workers, clock=clock)

    @contextlib.asynccontextmanager
    async def running(self, *numbers, **flags):
        """The daemons of these nodes, running until the block ends."""
        daemons = []
        settings = {name.replace("__", "."): value for name, value in flags.items()}
        async with trio.open_nursery() as nursery:
            for number in numbers:
                daemon = Daemon(self.home(number), self.parts(), settings)
                await nursery.start(daemon.run)
                daemons.append(daemon)
            yield daemons
            for daemon in daemons:
                daemon.stop("test over")


@pytest.fixture
def fast_clock():
    """Trio's clock, twenty times as fast: time-outs of seconds pass at once; threads keep their own pace."""
    return trio.testing.MockClock(rate=20.0)


@pytest.fixture
def garden(tmp_path):
    return Garden(tmp_path)


@pytest.fixture
def grove(tmp_path):
    """A garden with a branch below its root."""
    return Garden(tmp_path, branches=("/", "/en"))


@pytest.fixture
def council(tmp_path):
    """A garden whose releases are voted on."""
    return Garden(tmp_path, voters=3)


@pytest.fixture
def forum(tmp_path):
    """A garden whose releases are voted on, also by what they do to public rows."""
    file = tmp_path / "public.csv"
    file.write_text("prompt,response\nWhen are peas sown?,In March.\nAnd beans?,In May.\n")
    return Garden(tmp_path, voters=3, probes=(("/", file),))


@pytest.fixture
def inn(tmp_path):
    """A garden with an open door, whose members may found branches."""
    return Garden(tmp_path, admission="open", growth="members")


@pytest.fixture
def village(tmp_path):
    """A garden without a committee."""
    return Garden(tmp_path, coordination="gossip", mixing_rule="nna", min_neighbours=1)


async def until(condition, patience=300.0):
    """Wait for what real threads bring about; fails after ``patience`` seconds of trio's clock."""
    with trio.fail_after(patience):
        while not condition():
            await trio.sleep(0.02)


@pytest.fixture
def wait_until():
    return until


@pytest.fixture
def brisk_clock():
    """Trio's clock, five times as fast: commands in threads of real time keep up also on a busy machine."""
    return trio.testing.MockClock(rate=5.0)


@pytest.fixture
def banyan(tmp_path, capsys):
    """Run a command line against a node by its number, as its owner would; gives exit code, output and errors."""

    async def call(number, *arguments):
        line = [*map(str, arguments), "--home", str(tmp_path / f"node{number}")]
        code = await trio.to_thread.run_sync(run, line)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
