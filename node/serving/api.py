"""The server's side of OpenAI's API.

| request | answer |
|---|---|
| ``GET /health`` | whether it works, and how much it has to do; needs no key |
| ``GET /v1/models`` | the model that is served, and the releases that it is the sum of |
| ``POST /v1/chat/completions`` | the next message of a conversation; ``stream``: as server-sent events |
| ``POST /v1/completions`` | how a text goes on |

An error is ``{"error": {"message", "type", "param", "code"}}``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import jinja2
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from banyan.node.daemon.control import TokenGuard, body_of, unread
from banyan.node.learning.tokens import conversation_ids, text_ids
from banyan.node.serving.chosen_release import ChosenRelease
from banyan.node.serving.engine import Engine
from banyan.node.serving.errors import RequestRefused
from banyan.node.serving.generation import Piece, Wish
from banyan.node.serving.openai_answers import DONE, Answer, Choice, Kind, event
from banyan.node.serving.openai_requests import ChatRequest, CompletionRequest, parse
from banyan.security.errors import BanyanError

log = logging.getLogger("banyan.serving")

#: A request's body has at most this many bytes.
MAX_BODY = 8 << 20

WRONG_KEY = RequestRefused(
    "The API key is missing or wrong",
    "Send the one that `banyan serve` keeps in the file serving.key of its state directory",
    status=401,
    code="invalid_api_key",
)


@dataclass
class Served:
    """What the API speaks for: the engine, and the model that it serves at present."""

    engine: Engine
    chosen: ChosenRelease
    since: int

    @property
    def model(self) -> str:
        """The model's name to clients: its branch."""
        return self.chosen.branch


def application(served: Served, key: str) -> Starlette:
    """The ASGI application; everything but ``/health`` needs ``key``."""

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": served.chosen.name, **served.engine.load()})

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_card(served)]})

    async def model(request: Request) -> Response:
        _check_model(served, "/" + request.path_params["name"].lstrip("/"))
        return JSONResponse(_card(served))

    async def chat(request: Request) -> Response:
        asked = parse(ChatRequest, await body_of(request, MAX_BODY))
        _check_model(served, asked.model)
        turns = [message.turn for message in asked.messages]
        try:
            ids = await trio.to_thread.run_sync(conversation_ids, turns, served.engine.base.tokenizer)
        except jinja2.TemplateError as error:
            raise RequestRefused(
                f"The model's chat template does not take these messages ({error})", param="messages"
            ) from None
        return await _answer("chat", asked, [ids], asked.most, request)

    async def completion(request: Request) -> Response:
        asked = parse(CompletionRequest, await body_of(request, MAX_BODY))
        _check_model(served, asked.model)
        ids = await trio.to_thread.run_sync(_prompts, asked, served.engine.base.tokenizer)
        return await _answer("completion", asked, ids, asked.most, request)

    async def _answer(
        kind: Kind,
        asked: ChatRequest | CompletionRequest,
        prompts: Sequence[list[int]],
        most: int | None,
        request: Request,
    ) -> Response:
        wishes = [
            Wish(
                tuple(ids),
                most or served.engine.base.context,
                asked.sampling(i),
                asked.stops,
                asked.ignore_eos,
                whole=not asked.stream,
            )
            for ids in prompts
            for i in range(asked.choices)
        ]
        answer = Answer(kind, served.model, sum(map(len, prompts)), [Choice() for _ in wishes])
        pieces = _Pieces(served.engine, wishes)  # raises before anything has been answered
        if asked.stream:
            usage = asked.stream_options is not None and asked.stream_options.include_usage
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return StreamingResponse(
                _stream(answer, pieces, usage), media_type="text/event-stream", headers=headers
            )
        failure: BanyanError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_gone, request, nursery.cancel_scope)
            try:
                async with aclosing(pieces.all()) as arriving:
                    async for index, piece in arriving:
                        answer.choices[index].add(piece)
            except BanyanError as error:  # raised here, the nursery would wrap it
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise RequestRefused(failure.what, failure.cure, status=500) from failure
        if any(choice.finish is None for choice in answer.choices):
            return Response(status_code=499)  # nobody is there to read it
        return JSONResponse(answer.whole())

    get: list[Literal["GET"]] = ["GET"]
    version_1 = Starlette(
        routes=[
            Route("/models", models, methods=get),
            Route("/models/{name:path}", model, methods=get),
            Route("/chat/completions", chat, methods=["POST"]),
            Route("/completions", completion, methods=["POST"]),
        ],
        exception_handlers=HANDLERS,
    )
    guarded = TokenGuard(version_1, key, WRONG_KEY.plain())
    return Starlette(
        routes=[Route("/health", health, methods=get), Mount("/v1", guarded)], exception_handlers=HANDLERS
    )


class _Pieces:
    """The pieces of several answers as they come, each with its answer's number."""

    def __init__(self, engine: Engine, wishes: Sequence[Wish]) -> None:
        """Raises what :meth:`Engine.submit_all` raises."""
        self._send, self._receive = trio.open_memory_channel[tuple[int, Piece]](math.inf)
        token = trio.lowlevel.current_trio_token()

        def deliver(index: int, piece: Piece) -> None:
            token.run_sync_soon(self._send.send_nowait, (index, piece))

        self._generations = engine.submit_all(wishes, deliver)

    async def all(self) -> AsyncIterator[tuple[int, Piece]]:
        """Every piece. Closed early, it gives the answers up. Raises the error of an answer that failed."""
        left = len(self._generations)
        try:
            while left:
                index, piece = await self._receive.receive()
                if piece.error is not None:
                    raise piece.error
                left -= piece.finish is not None
                yield index, piece
        finally:
            for generation in self._generations:
                generation.cancel()


async def _stream(answer: Answer, pieces: _Pieces, usage: bool) -> AsyncIterator[bytes]:
    begun: set[int] = set()
    try:
        async with aclosing(pieces.all()) as arriving:
            async for index, piece in arriving:
                answer.choices[index].add(piece)
                yield event(answer.chunk(index, piece, first=index not in begun))
                begun.add(index)
    except BanyanError as error:  # the status line is long gone
        yield event(RequestRefused(error.what, error.cure, status=500).plain())
        return
    if usage:
        yield event(answer.last_chunk())
    yield DONE


async def _cancel_when_gone(request: Request, scope: trio.CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _prompts(asked: CompletionRequest, tokenizer: Any) -> list[list[int]]:
    """Each prompt's tokens. Raises :class:`RequestRefused` for ids that the model does not know."""
    known = len(tokenizer)
    found = []
    for prompt in asked.prompts:
        ids = text_ids(prompt, tokenizer) if isinstance(prompt, str) else prompt
        if any(each >= known for each in ids):
            raise RequestRefused(
                f"The model knows the tokens 0 to {known - 1}, and no {max(ids)}", param="prompt"
            )
        found.append(ids)
    return found


def _check_model(served: Served, name: str | None) -> None:
    """Raise :class:`RequestRefused` where a request names another model than the one served."""
    if name is not None and name != served.model:
        raise RequestRefused(
            f"There is no model {name} here",
            f"This server serves {served.model}",
            status=404,
            code="model_not_found",
            param="model",
        )


def _card(served: Served) -> dict[str, object]:
    return {
        "id": served.model,
        "object": "model",
        "created": served.since,
        "owned_by": "banyan",
        "context_length": served.engine.base.context,
        "fingerprint": served.chosen.fingerprint,
        **served.chosen.plain(),
    }


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, BanyanError)
    refused = error if isinstance(error, RequestRefused) else RequestRefused(error.what, error.cure)
    headers = {"Retry-After": "1"} if refused.status in (429, 503) else None
    return JSONResponse(refused.plain(), refused.status, headers)


async def _not_found(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    refused = RequestRefused(
        f"There is no {request.method} {request.url.path}",
        "There are /v1/models, /v1/chat/completions and /v1/completions",
        status=status,
        code="unknown_url",
    )
    return JSONResponse(refused.plain(), status, unread(request.method))


async def _failed(request: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    refused = RequestRefused("Something went wrong inside the server", "See its log", status=500)
    return JSONResponse(refused.plain(), 500)


HANDLERS: dict[Any, Callable[[Request, Exception], Any]] = {
    BanyanError: _refuse,
    404: _not_found,
    405: _not_found,
    500: _failed,
}
