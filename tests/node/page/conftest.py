"""A node to look at, served to real browsers: the real page, guard and control API over a node with settled answers."""

import contextlib
import hashlib
import os
import threading
import time
from pathlib import Path

import pytest
import trio
from starlette.responses import JSONResponse
from starlette.routing import Route

from banyan.node.assistant.on_this_device import OnThisDevice
from banyan.node.assistant.sessions import Sessions
from banyan.node.catalog.hardware import Device
from banyan.node.catalog.listing import BaseFacts, Listing
from banyan.node.daemon.control import application as control
from banyan.node.daemon.eventlog import EventLog
from banyan.node.page.service import PageService
from banyan.node.settings import Catalog
from banyan.protocol.events import ReleaseCertified, UpdateLeftOut

NOW = time.time_ns() // 1_000_000 - 3_600_000  # an hour ago, since the browser has a clock of its own
ME = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"

DEVICE = Device(memory=8_000_000_000, disk=200_000_000_000, bytes_per_second=2e10, flops=2e11)

#: What a hostile peer would like to be called.
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"

BASES = {
    "small": (134_515_008, 30, 576, 1_536, 9, 192, 49_152, 8_192),
    "middle": (1_100_048_384, 22, 2_048, 5_632, 32, 256, 32_000, 2_048),
    "large": (8_030_261_248, 32, 4_096, 14_336, 32, 1_024, 128_256, 131_072),
}


def card(path, title, *, base="middle", languages="en", domains="general", **changes):
    names = ("parameters", "layers", "hidden", "intermediate", "heads", "kv_width", "vocabulary", "context")
    digest = hashlib.sha256(base.encode()).hexdigest()
    shape = dict(zip(names, BASES[base], strict=True))
    facts = {
        "path": path,
        "standing": "certified",
        "author": ME,
        "signed": NOW,
        "height": 7,
        "release": hashlib.sha256(path.encode()).hexdigest(),
        "parent": None,
        "released": NOW,
        "contributors": 10,
        "members": 12,
        "cosigners": 5,
        "counts": (),
        "title": title,
        "description": "",
        "languages": tuple(languages.split()),
        "domains": tuple(domains.split()),
        "tasks": ("question-answering",),
        "license": "mit",
        "base": BaseFacts(name=base, digest=digest, license="apache-2.0", **shape),
        "adapter_rank": 16,
        "adapter_parameters": 1_000_000,
        "adapter_inputs": 1_000_000,
        "probes": (),
    }
    return Listing(**facts | changes).model_dump(mode="json")


class Node:
    """Has the answers of a node in a network of seven branches, and remembers what it was told to do."""

    def __init__(self):
        self.asked = []
        self.log = EventLog(lambda: NOW)
        self.clones = True
        self._cloned = None
        self._sessions = Sessions()
        self._here = OnThisDevice(Path("/"), Catalog(), lambda folder: DEVICE)
        self.training = {
            "branch": "/de/steuern",
            "height": 8,
            "phase": "training",
            "step": 30,
            "steps": 80,
            "loss": 1.842,
            "tokens_per_second": 812.0,
            "seconds_left": 95.0,
        }
        self.shelf = [
            card("/", "The root", base="large", languages="en de es", contributors=240),
            card("/de", "Deutsch", languages="de", contributors=61),
            card("/de/steuern", "Steuern", base="small", languages="de", domains="tax"),
            card(
                "/en/medical",
                "Medical English",
                base="large",
                domains="medicine clinical",
                standing="claimed",
            ),
            card(
                "/en/medical/heart_lung",
                "Heart and lung",
                base="large",
                domains="cardiology",
                license="cc-by-nc-4.0",
            ),
            card("/en/cooking", HOSTILE, base="small", domains="food", description=HOSTILE),
        ]

    @property
    def position(self):
        return self.log.position

    async def wait_beyond(self, position):
        await self.log.wait_beyond(position)

    async def events_after(self, after, limit, kind):
        return self.log.after(after or 0, limit, kind)

    async def device(self):
        return DEVICE

    async def status(self):
        members = [("a", "/de/steuern"), ("b", "/de/steuern"), ("c", "/de"), ("d", "/")]
        return {
            "node": ME,
            "phase": "running",
            "network": {"id": "00", "name": "orchard", "admission": "permissioned"},
            "uptime_seconds": 4000.0,
            "peers": ["p1", "p2", "p3"],
            "bytes_sent": 81_000_000,
            "bytes_received": 212_000_000,
            "refused": {"too-long": 2},
            "last_event": self.log.position,
            "branch": "/de/steuern",
            "training": self.training,
            "data": "/home/ada/belege.jsonl",
            "disk_trouble": None,
            "core": {
                "trains": True,
                "members": [{"node": node, "branch": branch} for node, branch in members],
                "quarantined": {"12D3KooWThief0000": "two-updates"},
                "refusals": {"bad-signature": 4},
                "branches": {
                    "/": {"height": 12, "committee": [], "roster": []},
                    "/de": {"height": 9, "committee": [], "roster": []},
                    "/de/steuern": {
                        "height": 7,
                        "round": {"height": 8, "have": 2, "need": 3, "missing": [HOSTILE]},
                    },
                },
            },
        }

    async def peers(self):
        return [
            {
                "peer": f"12D3KooWPeer{n}xyz12{n}",
                "connected": n < 3,
                "addresses": [],
                "bytes_received": n * 10**7,
                "bytes_sent": n,
            }
            for n in range(4)
        ]

    async def branches(self):
        states = {
            "/": "open",
            "/de": "open",
            "/de/steuern": "open",
            "/en": "elsewhere",
            "/de/recht": "dormant",
        }
        listed = [
            {"branch": path, "state": state, "description": "", "height": None}
            for path, state in states.items()
        ]
        return {"network": "orchard", "own": "/de/steuern", "branches": listed, "suggestions": []}

    async def cards(self, branch):
        return self.shelf

    async def assistant(self, request):
        listings = [Listing.model_validate(each) for each in self.shelf]
        return self._sessions.answer(request, self._here.assistant(listings)).model_dump(mode="json")

    async def clone(self, request):
        """As a node does that can clone: half is there at once, the rest when it is asked next."""
        if not self.clones:
            return JSONResponse({"error": "There is no such thing"}, 404)
        if request.method == "POST":
            self._cloned = (await request.json())["branch"]
            self.asked.append(("clone", self._cloned))
        phase, here = ("fetching", 50) if request.method == "POST" else ("done", 100)
        return JSONResponse({"branch": self._cloned, "phase": phase, "bytes": here, "total": 100})

    async def train(self, request):
        self.asked.append(("train", request.branch, request.data))
        return {"branch": "/de/steuern", "height": 7, "target": None}

    def release(self, height, left_out=()):
        self.log.emit(ReleaseCertified("/de/steuern", height, "ab" * 32, ME, (ME,), ("a", "b"), left_out))

    def leave_out(self, detail):
        self.log.emit(UpdateLeftOut("/de/steuern", 8, "12D3KooWThief0000", "too-far", detail))


class Served:
    """A node's page, on a port of its own in a thread of its own."""

    def __init__(self, node):
        self.node = node
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), daemon=True)

    async def _run(self):
        self._token = trio.lowlevel.current_trio_token()
        self._stopping = trio.Event()
        api = control(self.node)
        api.router.routes.insert(0, Route("/clone", self.node.clone, methods=["GET", "POST"]))
        self.page = PageService(self.node, api, 0, self._stopping)
        self._ready.set()
        await self.page.run()

    def call(self, function, *arguments):
        """Do something to the node in its own thread."""
        return trio.from_thread.run_sync(function, *arguments, trio_token=self._token)

    def link(self):
        """What ``banyan page`` prints."""
        return trio.from_thread.run(self.page.link, trio_token=self._token)

    @contextlib.contextmanager
    def running(self):
        self._thread.start()
        assert self._ready.wait(10)
        try:
            yield self
        finally:
            self.call(self._stopping.set)
            self._thread.join(10)
            assert not self._thread.is_alive()


@pytest.fixture
def node():
    return Node()


@pytest.fixture
def served(node):
    with Served(node).running() as served:
        yield served


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium: at ``$CHROMIUM``, else where Debian has it."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if not os.access(executable, os.X_OK):
        pytest.skip(f"there is no Chromium at {executable}; set CHROMIUM to one")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, served):
    """Opens the page in a new browser profile, as its owner does with the link."""
    contexts = []

    def visit(view="ask", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(10_000)
        page = context.new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on(
            "request",
            lambda request: page.faults.append(request.url) if "//127.0.0.1:" not in request.url else None,
        )
        page.goto(served.link())
        page.locator("#state", has_text="running").wait_for()
        page.get_by_role("link", name=view.title(), exact=True).click()
        page.locator(f"nav a[aria-current][href='#/{view}']").wait_for()
        return page

    yield visit
    for context in contexts:
        context.close()
