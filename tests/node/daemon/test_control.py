"""The control API accepts what it knows and says why it refuses the rest."""

import httpx
import pytest

from banyan.node.daemon.control import BadRequest, TokenGuard, application
from banyan.node.store import StoredEvent


class Node:
    """What the API needs, with answers given beforehand."""

    def __init__(self):
        self.asked = []

    async def status(self):
        return {"phase": "running"}

    async def events_after(self, after, limit, kind):
        self.asked.append((after, limit, kind))
        return [StoredEvent(3, 1_000, "round-waiting", {"have": 1})]

    async def follow(self, after, kind):
        for position in (4, 5):
            yield StoredEvent(position, 1_000, "caught-up", {})

    async def peers(self):
        return []

    async def history(self, request):
        if request.branch == "/nowhere":
            raise BadRequest("There is no branch /nowhere", "Choose /")
        return {"branch": request.branch or "/", "releases": [], "others": request.others}

    async def compose(self, request):
        self.asked.append(request)
        return {"adapters": []}

    async def checkout(self, release):
        return {"release": release}

    async def cards(self, branch):
        return [{"path": branch or "/"}]

    async def describe(self, words):
        self.asked.append(words)
        return {"branch": "/"}

    async def assistant(self, request):
        self.asked.append(request)
        return {"session": request.session or "new", "reply": "…"}

    async def train(self, request):
        self.asked.append(request)
        return {"branch": "/", "height": 0, "target": request.rounds}

    async def rehearse(self, request):
        return {"samples": []}

    async def share(self):
        return {"branch": "/"}

    async def clone(self, request):
        return {"branch": request.branch}

    async def cloning(self):
        return {"phase": "none"}

    async def target(self, height):
        return {"target": height}

    async def page(self):
        return {"url": "http://127.0.0.1:1/#ticket=t"}

    def stop(self, why):
        self.asked.append("stop")


@pytest.fixture
def node():
    return Node()


@pytest.fixture
async def client(node):
    transport = httpx.ASGITransport(application(node), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        yield client


async def test_each_question_has_a_json_answer(client, node):
    assert (await client.get("/status")).json() == {"phase": "running"}
    assert (await client.get("/peers")).json() == {"peers": []}
    assert (await client.get("/log", params={"branch": "/"})).json()["branch"] == "/"
    answer = await client.get("/events", params={"after": 2, "limit": 5, "kind": "round-waiting"})
    assert answer.json()["events"] == [{"position": 3, "time": 1000, "event": "round-waiting", "have": 1}]
    assert node.asked == [(2, 5, "round-waiting")]
    assert (await client.post("/train", json={"rounds": 2})).json()["target"] == 2
    assert (await client.post("/target", json={"height": None})).json() == {"target": None}
    answer = await client.get("/log", params={"number": 3, "others": "joined"})
    assert answer.json()["others"] == "joined"
    assert (await client.post("/compose", json={"release": "/en~1"})).json() == {"adapters": []}
    assert node.asked[-1].release == "/en~1"
    assert (await client.post("/checkout", json={"release": None})).json() == {"release": None}
    assert (await client.get("/cards", params={"branch": "/en"})).json() == {"cards": [{"path": "/en"}]}
    assert (await client.post("/card", json={"title": "Garden"})).json() == {"branch": "/"}
    assert (node.asked[-1].title, node.asked[-1].languages) == ("Garden", None)
    assert (await client.post("/page", json={})).json()["url"].startswith("http://127.0.0.1:")
    answer = await client.post("/assistant", json={"session": "one", "text": "tax"})
    assert answer.json() == {"session": "one", "reply": "…"}
    assert (node.asked[-1].text, node.asked[-1].edit) == ("tax", None)
    assert (await client.post("/stop", json={})).json() == {"stopping": True}
    assert node.asked[-1] == "stop"


async def test_events_are_followed_line_by_line(client):
    lines = (await client.get("/events", params={"follow": "1"})).text.splitlines()
    assert [line[:14] for line in lines] == ['{"position":4,', '{"position":5,']


@pytest.mark.parametrize(
    ("method", "path", "arguments", "complaint"),
    [
        ("POST", "/train", {"json": {"round": 2}}, "round"),
        ("POST", "/train", {"json": {"rounds": "2"}}, "rounds"),
        ("POST", "/train", {"json": {"rounds": 0}}, "rounds"),
        ("POST", "/train", {"json": {"learning_rate": 1e400}}, "learning_rate"),
        ("POST", "/train", {"json": [1]}, "The request"),
        ("POST", "/train", {"content": b"{"}, "not valid JSON"),
        ("POST", "/train", {"content": b"[" * 50_000}, "not valid JSON"),
        ("POST", "/train", {"content": b" " * 70_000}, "longer than"),
        ("POST", "/assistant", {"json": {"session": "../one"}}, "session"),
        ("POST", "/assistant", {"json": {"text": "a", "edit": "b"}}, "text or edit, not both"),
        ("POST", "/assistant", {"json": {"text": "x" * 100_000}}, "longer than"),
        ("POST", "/target", {"json": {}}, "height"),
        ("POST", "/stop", {"json": {"now": True}}, "now"),
        ("GET", "/status", {"params": {"verbose": 1}}, "verbose"),
        ("GET", "/events", {"params": {"limit": 5_000}}, "limit"),
        ("GET", "/events", {"params": {"after": -1}}, "after"),
        ("GET", "/events", {"params": {"kind": "'; drop"}}, "kind"),
        ("GET", "/events?after=1&after=2", {}, "twice"),
        ("GET", "/log", {"params": {"branch": "/nowhere"}}, "no branch /nowhere"),
        ("GET", "/log", {"params": {"others": "some"}}, "others"),
        ("GET", "/log", {"params": {"number": 0}}, "number"),
        ("POST", "/compose", {"json": {"release": ""}}, "release"),
        ("POST", "/compose", {"json": {"alone": 1}}, "alone"),
        ("POST", "/checkout", {"json": {}}, "release"),
        ("GET", "/cards", {"params": {"branch": ""}}, "branch"),
        ("POST", "/card", {"json": {"title": "x" * 81}}, "title"),
        ("POST", "/card", {"json": {"height": 9}}, "height"),
        ("POST", "/checkout", {"json": {"release": "x" * 401}}, "release"),
    ],
)
async def test_what_is_unknown_or_out_of_bounds_is_refused_by_name(
    client, method, path, arguments, complaint
):
    if "json" in arguments and arguments["json"] == {"learning_rate": 1e400}:
        arguments = {"content": b'{"learning_rate": Infinity}'}
    answer = await client.request(method, path, **arguments)
    assert answer.status_code == 400
    assert complaint in answer.json()["error"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("GET", "/train"), ("POST", "/status")])
async def test_what_is_not_there_is_said_in_json(client, method, path):
    answer = await client.request(method, path)
    assert answer.status_code in (404, 405)
    assert path in answer.json()["error"]


async def test_beyond_the_socket_nothing_goes_without_the_token(node):
    guarded = TokenGuard(application(node), "secret")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://node") as client:
        assert (await client.get("/status")).status_code == 401
        for wrong in ("Bearer wrong", "secret", "Bearer secret "):
            assert (await client.get("/status", headers={"Authorization": wrong})).status_code == 401
        answer = await client.get("/status", headers={"Authorization": "Bearer secret"})
        assert answer.json() == {"phase": "running"}
