"""The control API: what the owner of a node may ask and tell it. JSON in, JSON out, nothing unknown accepted.

| request | answer |
|---|---|
| ``GET /status`` | everything about this node and its branches |
| ``GET /events?after=&limit=&kind=&follow=`` | the event log; ``follow=1``: a JSON line for each, endless |
| ``GET /peers`` | who is connected, with bytes in and out |
| ``GET /log?branch=&number=&others=`` | a branch's certified releases, and those of others that edges join to them |
| ``GET /cards?branch=`` | the model cards that this node holds, of all branches or one |
| ``POST /card`` | sign the card of this node's branch anew, with what is said in it |
| ``POST /assistant`` | one turn of a conversation that finds a model: ``session``, ``text`` or ``edit`` |
| ``GET /branches`` | the tree: every branch as this node sees it, and those that are proposed |
| ``POST /branch`` | found the branch ``branch``, or propose it where the charter wants votes |
| ``POST /approve`` | agree, as a member of the committee above, that there be a branch ``branch`` |
| ``POST /train`` | train: ``data``, ``watch``, ``rounds``, ``steps`` … are all optional |
| ``POST /rehearse`` | try the model on ``data``: samples and, with ``measure``, rows and steps that suit the device |
| ``POST /share`` | give what was learnt privately in the branch's next round |
| ``POST /clone`` | bring the whole model of ``branch`` here and work on it; ``base``: a folder with the base model |
| ``GET /clone`` | how far that is |
| ``POST /target`` | take part until the branch has reached ``height``; null: for ever |
| ``POST /compose`` | bring the adapters of the model of ``branch`` or at ``release`` here, and name them |
| ``POST /checkout`` | pin this node to ``release`` of its branch; null: use the head again |
| ``POST /audit`` | do the release ``height`` of ``branch`` over; ends in a release-audited event |
| ``GET /seasons`` | the newest season, and where each branch stands |
| ``POST /season`` | open the next season for every branch; for root keys |
| ``POST /revoke`` | end the membership or invite of the key ``subject``, for everybody; for root keys |
| ``POST /page`` | a link that opens the node's page in a browser on this machine, once |
| ``POST /stop`` | end cleanly |

An error is ``{"error": what happened, "cure": what to do}`` with a 4xx status.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from banyan.node.assistant.sessions import AssistantRequest
from banyan.node.catalog.describing import Words
from banyan.node.store import StoredEvent
from banyan.security.errors import BanyanError

#: A request's body has at most this many bytes.
MAX_BODY = 65_536

#: Events in one answer at most.
MAX_EVENTS = 1_000


class BadRequest(BanyanError):
    """The request asks for something that is not there, or says something that cannot be."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TrainRequest(_Body):
    """``POST /train``. What is None stays as it is set."""

    data: str | None = Field(None, min_length=1, max_length=4_096)
    watch: str | None = Field(None, min_length=1, max_length=4_096)
    branch: str | None = Field(None, min_length=1, max_length=300)
    rounds: int | None = Field(None, ge=1, le=1_000_000)
    rank: int | None = Field(None, ge=0, le=1_024)
    steps: int | None = Field(None, ge=1, le=1_000_000)
    batch: int | None = Field(None, ge=1, le=4_096)
    learning_rate: float | None = Field(None, gt=0, le=10)
    continual: Literal["replay", "ewc", "orthogonal", "none"] | None = None
    private: bool | None = None
    dp_epsilon: float | None = Field(None, ge=0, le=1000)
    dp_delta: float | None = Field(None, gt=0, le=0.1)
    dp_clip: float | None = Field(None, gt=0, le=1e6)
    dp_rounds: int | None = Field(None, ge=1, le=1_000_000)


class RehearseRequest(_Body):
    """``POST /rehearse``. ``data`` as for training; ``measure``: also choose rows and steps for this device."""

    data: str = Field(..., min_length=1, max_length=4_096)
    branch: str | None = Field(None, min_length=1, max_length=300)
    measure: bool = False


class CloneRequest(_Body):
    """``POST /clone``. ``base``: a folder that holds the base model; without it peers are asked."""

    branch: str = Field(..., min_length=1, max_length=300)
    base: str | None = Field(None, min_length=1, max_length=4_096)


class DistillRequest(_Body):
    """``POST /distill``: let the branch ``target`` learn from the model of ``source`` on the public ``text``, for
    ``rounds`` releases. ``steps``: of a round; None: as set."""

    source: str = Field(..., min_length=1, max_length=300)
    target: str = Field(..., min_length=1, max_length=300)
    text: str = Field(..., min_length=1, max_length=4_096)
    rounds: int = Field(1, ge=1, le=1_000_000)
    steps: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float = Field(1.0, ge=0.1, le=100)


class TargetRequest(_Body):
    """``POST /target``."""

    height: int | None = Field(..., ge=0, le=2**40)


class AuditRequest(_Body):
    """``POST /audit``. Without ``height`` the newest release; without ``branch`` the node's own."""

    branch: str | None = Field(None, min_length=1, max_length=300)
    height: int | None = Field(None, ge=1, le=2**40)


class ComposeRequest(_Body):
    """``POST /compose``. Nothing: the model that this node uses; ``branch``: the newest there; ``release``: its whole
    path as it stood then, or with ``alone`` that branch's own adapter."""

    branch: str | None = Field(None, min_length=1, max_length=300)
    release: str | None = Field(None, min_length=1, max_length=400)
    alone: bool = False


class CheckoutRequest(_Body):
    """``POST /checkout``."""

    release: str | None = Field(..., min_length=1, max_length=400)


class BranchRequest(_Body):
    """``POST /branch``."""

    branch: str = Field(..., min_length=1, max_length=300)
    description: str = Field("", max_length=200)
    probe: str | None = Field(None, min_length=1, max_length=4_096)


class ApproveRequest(_Body):
    """``POST /approve``."""

    branch: str = Field(..., min_length=1, max_length=300)


class RevokeRequest(_Body):
    """``POST /revoke``."""

    subject: str = Field(..., min_length=1, max_length=80)
    why: str = Field("", max_length=200)


class EventsRequest(BaseModel):
    """The query of ``GET /events``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: int | None = Field(None, ge=0)
    limit: int = Field(100, ge=1, le=MAX_EVENTS)
    kind: str | None = Field(None, max_length=64, pattern=r"^[a-z-]+$")
    follow: bool = False


class LogRequest(BaseModel):
    """The query of ``GET /log``: the newest ``number`` releases (None: all), and of ``others`` those that are joined to
    one of the branch by an edge, or all that this node knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    branch: str | None = Field(None, min_length=1, max_length=300)
    number: int | None = Field(None, ge=1, le=2**40)
    others: Literal["none", "joined", "all"] = "none"


class CardsRequest(BaseModel):
    """The query of ``GET /cards``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    branch: str | None = Field(None, min_length=1, max_length=300)


class NothingRequest(BaseModel):
    """A query or body that has nothing in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Controlled(Protocol):
    """What the API needs of a node. Raises :class:`BanyanError` with words for the caller."""

    async def status(self) -> Mapping[str, object]: ...

    async def events_after(self, after: int | None, limit: int, kind: str | None) -> list[StoredEvent]: ...

    def follow(self, after: int | None, kind: str | None) -> AsyncIterator[StoredEvent]: ...

    async def peers(self) -> list[dict[str, object]]: ...

    async def history(self, request: LogRequest) -> Mapping[str, object]: ...

    async def cards(self, branch: str | None) -> list[dict[str, object]]: ...

    async def describe(self, words: Words) -> Mapping[str, object]: ...

    async def branches(self) -> Mapping[str, object]: ...

    async def found_branch(self, request: BranchRequest) -> Mapping[str, object]: ...

    async def approve_branch(self, branch: str) -> Mapping[str, object]: ...

    async def assistant(self, request: AssistantRequest) -> Mapping[str, object]: ...

    async def train(self, request: TrainRequest) -> Mapping[str, object]: ...

    async def rehearse(self, request: RehearseRequest) -> Mapping[str, object]: ...

    async def share(self) -> Mapping[str, object]: ...

    async def clone(self, request: CloneRequest) -> Mapping[str, object]: ...

    async def cloning(self) -> Mapping[str, object]: ...
    async def distill(self, request: DistillRequest) -> Mapping[str, object]: ...

    async def target(self, height: int | None) -> Mapping[str, object]: ...

    async def compose(self, request: ComposeRequest) -> Mapping[str, object]: ...

    async def checkout(self, release: str | None) -> Mapping[str, object]: ...

    async def audit(self, branch: str | None, height: int | None) -> Mapping[str, object]: ...

    def seasons(self) -> Mapping[str, object]: ...

    async def open_season(self) -> Mapping[str, object]: ...

    async def revoke(self, subject: str, why: str) -> Mapping[str, object]: ...

    async def page(self) -> Mapping[str, object]: ...

    def stop(self, why: str) -> None: ...


Model = TypeVar("Model", bound=BaseModel)


def application(node: Controlled) -> Starlette:
    """The ASGI application that speaks for ``node``."""

    async def status(request: Request) -> Response:
        _query(request, NothingRequest)
        return JSONResponse(dict(await node.status()))

    async def events(request: Request) -> Response:
        wish = _query(request, EventsRequest)
        if wish.follow:
            lines = (json_line(event) async for event in node.follow(wish.after, wish.kind))
            return StreamingResponse(lines, media_type="application/x-ndjson")
        found = await node.events_after(wish.after, wish.limit, wish.kind)
        return JSONResponse({"events": [plain_event(event) for event in found]})

    async def peers(request: Request) -> Response:
        _query(request, NothingRequest)
        return JSONResponse({"peers": await node.peers()})

    async def log(request: Request) -> Response:
        return JSONResponse(dict(await node.history(_query(request, LogRequest))))

    async def cards(request: Request) -> Response:
        return JSONResponse({"cards": await node.cards(_query(request, CardsRequest).branch)})

    async def card(request: Request) -> Response:
        return JSONResponse(dict(await node.describe(await _body(request, Words))))

    async def assistant(request: Request) -> Response:
        return JSONResponse(dict(await node.assistant(await _body(request, AssistantRequest))))

    async def branches(request: Request) -> Response:
        _query(request, NothingRequest)
        return JSONResponse(dict(await node.branches()))

    async def branch(request: Request) -> Response:
        return JSONResponse(dict(await node.found_branch(await _body(request, BranchRequest))))

    async def approve(request: Request) -> Response:
        wish = await _body(request, ApproveRequest)
        return JSONResponse(dict(await node.approve_branch(wish.branch)))

    async def train(request: Request) -> Response:
        return JSONResponse(dict(await node.train(await _body(request, TrainRequest))))

    async def rehearse(request: Request) -> Response:
        return JSONResponse(dict(await node.rehearse(await _body(request, RehearseRequest))))

    async def share(request: Request) -> Response:
        await _body(request, NothingRequest)
        return JSONResponse(dict(await node.share()))

    async def clone(request: Request) -> Response:
        return JSONResponse(dict(await node.clone(await _body(request, CloneRequest))))

    async def cloning(request: Request) -> Response:
        _query(request, NothingRequest)
        return JSONResponse(dict(await node.cloning()))

    async def distill(request: Request) -> Response:
        return JSONResponse(dict(await node.distill(await _body(request, DistillRequest))))

    async def target(request: Request) -> Response:
        return JSONResponse(dict(await node.target((await _body(request, TargetRequest)).height)))

    async def compose(request: Request) -> Response:
        return JSONResponse(dict(await node.compose(await _body(request, ComposeRequest))))

    async def checkout(request: Request) -> Response:
        return JSONResponse(dict(await node.checkout((await _body(request, CheckoutRequest)).release)))

    async def audit(request: Request) -> Response:
        wish = await _body(request, AuditRequest)
        return JSONResponse(dict(await node.audit(wish.branch, wish.height)))

    async def seasons(request: Request) -> Response:
        return JSONResponse(dict(node.seasons()))

    async def season(request: Request) -> Response:
        await _body(request, NothingRequest)
        return JSONResponse(dict(await node.open_season()))

    async def revoke(request: Request) -> Response:
        wish = await _body(request, RevokeRequest)
        return JSONResponse(dict(await node.revoke(wish.subject, wish.why)))

    async def page(request: Request) -> Response:
        await _body(request, NothingRequest)
        return JSONResponse(dict(await node.page()))

    async def stop(request: Request) -> Response:
        await _body(request, NothingRequest)
        node.stop("asked to by its owner")
        return JSONResponse({"stopping": True})

    get: list[Literal["GET"]] = ["GET"]
    return Starlette(
        routes=[
            Route("/status", status, methods=get),
            Route("/events", events, methods=get),
            Route("/peers", peers, methods=get),
            Route("/log", log, methods=get),
            Route("/cards", cards, methods=get),
            Route("/card", card, methods=["POST"]),
            Route("/assistant", assistant, methods=["POST"]),
            Route("/branches", branches, methods=get),
            Route("/branch", branch, methods=["POST"]),
            Route("/approve", approve, methods=["POST"]),
            Route("/train", train, methods=["POST"]),
            Route("/rehearse", rehearse, methods=["POST"]),
            Route("/share", share, methods=["POST"]),
            Route("/clone", cloning, methods=get),
            Route("/clone", clone, methods=["POST"]),
            Route("/distill", distill, methods=["POST"]),
            Route("/target", target, methods=["POST"]),
            Route("/compose", compose, methods=["POST"]),
            Route("/checkout", checkout, methods=["POST"]),
            Route("/audit", audit, methods=["POST"]),
            Route("/seasons", seasons, methods=get),
            Route("/season", season, methods=["POST"]),
            Route("/revoke", revoke, methods=["POST"]),
            Route("/page", page, methods=["POST"]),
            Route("/stop", stop, methods=["POST"]),
        ],
        exception_handlers={BanyanError: refuse, 404: _not_found, 405: _not_found},
    )


def plain_event(event: StoredEvent) -> dict[str, object]:
    """The JSON form of a stored event."""
    return {"position": event.position, "time": event.time, "event": event.kind, **event.body}


def json_line(event: StoredEvent) -> bytes:
    """One line of the stream that ``follow`` gives."""
    return json.dumps(plain_event(event), separators=(",", ":")).encode() + b"\n"


REFUSAL: Mapping[str, object] = {
    "error": "The token is missing or wrong",
    "cure": "Send the one in HOME/token",
}


def unread(method: str) -> dict[str, str]:
    """Headers of an answer to a request whose body was not read. The server ends the connection after it: a client that
    was not told would ask its next question there and hear nothing."""
    return {} if method in ("GET", "HEAD") else {"Connection": "close"}


class TokenGuard:
    """Lets a request through only with ``Authorization: Bearer <token>``; for everything beyond the socket."""

    def __init__(self, app: ASGIApp, token: str, refusal: Mapping[str, object] = REFUSAL) -> None:
        """``refusal`` is the JSON that anyone else gets."""
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            if not hmac.compare_digest(given, self._expected):
                headers = {"WWW-Authenticate": "Bearer"} | unread(scope["method"])
                await JSONResponse(dict(self._refusal), 401, headers)(scope, receive, send)
                return
        elif scope["type"] != "lifespan":
            return
        await self._app(scope, receive, send)


def _query(request: Request, model: type[Model]) -> Model:
    names = [name for name, _ in request.query_params.multi_items()]
    if len(set(names)) != len(names):
        raise BadRequest("A parameter is given twice")
    return parsed(model, dict(request.query_params))


async def body_of(request: Request, most: int) -> bytes:
    """The body of ``request``. Raises :class:`BadRequest` as soon as it has more than ``most`` bytes."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise BadRequest(f"The request is longer than {most:,} bytes")
    return bytes(data)


async def _body(request: Request, model: type[Model]) -> Model:
    return parsed(model, await json_of(request))


async def json_of(request: Request) -> Any:
    """The body of ``request``, which is JSON or empty. Raises :class:`BadRequest`."""
    data = await body_of(request, MAX_BODY)
    try:
        return json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The request is not valid JSON ({error})") from None


def parsed(model: type[Model], plain: Any) -> Model:
    """``plain`` as a ``model``. Raises :class:`BadRequest` that names what is wrong, and what there may be."""
    try:
        return model.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "The request"
        known = ", ".join(model.model_fields) or "nothing"
        raise BadRequest(f"{name}: {first['msg']}", f"This request may have {known}") from None


async def refuse(request: Request, error: Exception) -> Response:
    """An error in words, with status 400."""
    assert isinstance(error, BanyanError)
    return JSONResponse({"error": error.what, "cure": error.cure}, 400)


async def _not_found(request: Request, error: Exception) -> Response:
    refusal = {
        "error": f"There is no {request.method} {request.url.path}",
        "cure": "See the control API in the guide",
    }
    return JSONResponse(refusal, getattr(error, "status_code", 404))
