"""Nobody but the page, in a browser that was let in, gets anything of the node."""

import httpx
import pytest

from banyan.node.daemon.control import application as control
from banyan.node.page import door
from banyan.node.page.application import ALLOWED, application
from banyan.node.page.door import Door

HOST = "127.0.0.1:4780"
OWN = {"origin": f"http://{HOST}", "content-type": "application/json"}


@pytest.fixture
def opened():
    return Door()


@pytest.fixture
async def client(node, opened):
    app = application(node, control(node), opened, 4780)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
        yield client


async def let_in(client, opened):
    answer = await client.post("/session", json={"ticket": opened.ticket()}, headers=OWN)
    assert answer.status_code == 200
    return answer


async def test_a_ticket_opens_once_for_a_cookie_that_scripts_and_other_sites_cannot_use(client, opened):
    assert (await client.get("/api/status")).status_code == 401
    ticket = opened.ticket()
    answer = await client.post("/session", json={"ticket": ticket}, headers=OWN)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("banyan-4780=")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert ticket not in cookie
    assert (await client.get("/api/status")).json()["phase"] == "running"
    again = await client.post("/session", json={"ticket": ticket}, headers=OWN)
    assert again.status_code == 401
    assert "banyan page" in again.json()["cure"]


async def test_an_old_or_invented_ticket_opens_nothing():
    now = [0.0]
    opened = Door(lambda: now[0])
    ticket = opened.ticket()
    now[0] = door.TICKET_SECONDS + 1
    assert opened.exchange(ticket) is None
    assert opened.exchange("invented") is None
    assert not opened.knows("")


async def test_the_oldest_tickets_and_sessions_give_way():
    opened = Door()
    secrets = [opened.exchange(opened.ticket()) for _ in range(door.SESSIONS + 1)]
    assert [opened.knows(secret) for secret in secrets] == [False] + [True] * door.SESSIONS
    tickets = [opened.ticket() for _ in range(door.TICKETS + 1)]
    assert opened.exchange(tickets[0]) is None
    assert opened.exchange(tickets[1]) is not None


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {"host": "evil.example:4780"}, 403),  # somebody's DNS points here
        ("GET", "/", {"host": "127.0.0.1:4781"}, 403),
        ("GET", "/", {"host": "localhost:4780"}, 200),
        ("GET", "/api/status", {"origin": "https://evil.example"}, 403),
        ("GET", "/api/status", {"origin": "null"}, 403),
        ("GET", "/api/status", {"origin": "http://localhost:4780"}, 403),  # of another name than it speaks to
        ("GET", "/api/status", {"sec-fetch-site": "same-site"}, 403),
        ("GET", "/api/status", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", "/api/train", {"content-type": "application/json"}, 403),  # without an origin
        ("POST", "/api/train", OWN | {"origin": "https://evil.example"}, 403),
        ("POST", "/api/train", OWN | {"content-type": "text/plain"}, 415),  # what a form could send
        ("POST", "/session", OWN | {"sec-fetch-site": "cross-site"}, 403),
        ("GET", "/api/status", {"sec-fetch-site": "same-origin"}, 200),
    ],
)
async def test_what_another_site_causes_is_refused(client, opened, node, method, path, headers, status):
    await let_in(client, opened)
    answer = await client.request(method, path, headers=headers, content=b"{}" if method == "POST" else None)
    assert answer.status_code == status
    assert node.asked == []


async def test_two_host_headers_are_refused(client):
    request = client.build_request("GET", "/")
    request.headers = httpx.Headers([("host", HOST), ("host", "evil.example")])
    assert (await client.send(request)).status_code == 403


@pytest.mark.parametrize("path", ["/stop", "/revoke", "/card", "/page", "/audit", "/checkout", "/compose"])
async def test_what_the_page_has_no_button_for_it_cannot_do(client, opened, path):
    await let_in(client, opened)
    assert (await client.post(f"/api{path}", json={}, headers=OWN)).status_code in (404, 405)
    assert ("POST", path) not in ALLOWED


@pytest.mark.parametrize(
    "path", ["/..%2fdoor.py", "/../door.py", "/door.py", "/static/app.js", "/__init__.py"]
)
async def test_no_file_but_the_pages_own_is_given_out(client, path):
    assert (await client.get(path)).status_code == 404


async def test_every_answer_forbids_what_the_page_does_not_use(client, opened):
    await let_in(client, opened)
    for path in ("/", "/app.js", "/api/status", "/api/nothing", "/nothing.js"):
        answer = await client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/api/shelf?search=" + "x" * 401, "search"),
        ("/api/shelf?all=1", "all"),
        ("/api/stream?after=-1", "after"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_by_name(client, opened, path, complaint):
    await let_in(client, opened)
    answer = await client.get(path)
    assert answer.status_code == 400
    assert complaint in answer.json()["error"]


async def test_the_shelf_says_what_fits_this_device_and_finds_by_words(client, opened):
    await let_in(client, opened)
    answer = (await client.get("/api/shelf")).json()
    fits = {each["path"]: not each["obstacles"] for each in answer["listings"]}
    assert fits == {
        "/": False,
        "/de": True,
        "/de/steuern": True,
        "/en/medical": False,
        "/en/medical/heart_lung": False,
        "/en/cooking": True,
    }
    assert answer["memory"] == 8_000_000_000
    found = (await client.get("/api/shelf", params={"search": "Steuererklärung"})).json()["listings"]
    assert found[0]["path"] == "/de/steuern"
