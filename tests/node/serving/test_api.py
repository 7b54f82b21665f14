"""The server as the real ``openai`` client meets it, over a socket of this machine."""

import threading

import httpx
import openai
import pytest
import trio
from openai import OpenAI

from banyan.node.serving.api import Served, application
from banyan.node.serving.errors import ServingError
from banyan.node.serving.generation import Piece
from banyan.node.serving.server import ModelServer

pytestmark = pytest.mark.network

ASKED = [{"role": "user", "content": "What is clay?"}]


@pytest.fixture
def client(server):
    with OpenAI(base_url=server.url, api_key=server.key, max_retries=0) as client:
        yield client


def chat(client, **changes):
    wish = {"model": "/en/soil", "messages": ASKED, "temperature": 0, "max_tokens": 12} | changes
    return client.chat.completions.create(**wish)


def test_the_model_is_listed_under_its_branch(client):
    [model] = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("/en/soil", "model", "banyan")
    assert model.context_length == 128
    assert client.models.retrieve("/en/soil").id == "/en/soil"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("/en")


def test_a_chat_is_answered_in_the_form_the_model_was_trained_on_and_counted(client, server):
    answer = chat(client, extra_body={"ignore_eos": True})
    [choice] = answer.choices
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "length"
    prompt = server.engine.base.tokenizer.encode("[U]What is clay?[A]", add_special_tokens=False)
    assert answer.usage.prompt_tokens == len(prompt) + 1  # and the token that begins
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (12, len(prompt) + 13)
    assert answer.system_fingerprint == f"fp_{server.chosen.fingerprint}"
    assert chat(client, extra_body={"ignore_eos": True}).choices[0].message.content == choice.message.content


def test_a_stream_is_the_same_answer_in_pieces_with_its_cost_at_the_end(client):
    options = {"extra_body": {"ignore_eos": True}, "max_tokens": 40}
    whole = chat(client, **options)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}, **options))
    assert chunks[0].choices[0].delta.role == "assistant"
    said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(said) == whole.choices[0].message.content
    assert sum(map(bool, said)) > 3
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-2:] == [None, "length"]
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chat(client, stream=True))


def test_a_completion_goes_on_with_each_prompt_as_often_as_asked(client, server):
    wish = {"model": "/en/soil", "max_tokens": 8, "extra_body": {"ignore_eos": True}}
    both = client.completions.create(prompt=["Clay is", "Sand"], temperature=0, **wish)
    one = client.completions.create(prompt="Sand", temperature=0, **wish)
    ids = server.engine.base.tokenizer.encode("Sand", add_special_tokens=False)
    same = client.completions.create(prompt=[1, *ids], temperature=0, **wish)
    assert both.choices[1].text == one.choices[0].text == same.choices[0].text
    assert both.usage.completion_tokens == 16
    three = client.completions.create(prompt="Sand", n=3, seed=4, **wish)
    again = client.completions.create(prompt="Sand", n=3, seed=4, **wish)
    assert [c.index for c in three.choices] == [0, 1, 2]
    assert [c.text for c in three.choices] == [c.text for c in again.choices]
    assert len({c.text for c in three.choices}) == 3
    streamed = {}
    for chunk in client.completions.create(prompt="Sand", n=3, seed=4, stream=True, **wish):
        for choice in chunk.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + choice.text
    assert [streamed[i] for i in range(3)] == [c.text for c in three.choices]


def test_an_answer_ends_before_a_stop_string(client):
    whole = chat(client, max_tokens=60, extra_body={"ignore_eos": True}).choices[0].message.content
    stop = whole[20:23]
    for stream in (False, True):
        answer = chat(
            client, max_tokens=60, stop=[stop, "§§§"], stream=stream, extra_body={"ignore_eos": True}
        )
        chunks = [chunk.choices[0] for chunk in answer] if stream else [answer.choices[0]]
        said = "".join((c.delta.content or "") if stream else c.message.content for c in chunks)
        assert said == whole[: whole.index(stop)]
        assert chunks[-1].finish_reason == "stop"


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        (
            {"messages": [{"role": "user", "content": "a" * 200}]},
            "context_length_exceeded",
            "context length is 128",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            "unsupported_parameter",
            "tools is not offered",
        ),
        ({"logprobs": True}, "unsupported_parameter", "logprobs is not offered"),
        ({"extra_body": {"temprature": 1}}, "unknown_parameter", "Did you mean temperature?"),
        ({"temperature": 3}, "invalid_value", "temperature"),
        ({"messages": []}, "invalid_value", "messages"),
        (
            {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
            "invalid_value",
            "messages.0",
        ),
        ({"n": 99}, "invalid_value", "n: "),
        ({"stop": ["a"] * 5}, "invalid_value", "stop"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name_in_the_shape_of_openai(client, changes, code, said):
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        chat(client, **changes)
    assert caught.value.code == code
    assert caught.value.type == "invalid_request_error"


def test_fields_that_ask_for_nothing_are_taken(client):
    assert chat(
        client, presence_penalty=0, logit_bias={}, user="me", response_format={"type": "text"}
    ).choices


def test_unknown_models_paths_and_tokens_are_refused(client, server):
    with pytest.raises(openai.NotFoundError, match="serves /en/soil") as caught:
        chat(client, model="gpt-4o")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="There is no POST /v1/embeddings"):
        client.embeddings.create(model="/en/soil", input="x")
    with pytest.raises(openai.BadRequestError, match="knows the tokens 0 to"):
        client.completions.create(model="/en/soil", prompt=[1, 99_999])
    headers = {"Authorization": f"Bearer {server.key}"}
    for body, said in (
        (b"{", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b" " * (9 << 20), "longer than"),
    ):
        answer = httpx.post(f"{server.url}/chat/completions", content=body, headers=headers)
        assert answer.status_code == 400
        assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize(("path", "key", "status"), [("embeddings", "", 404), ("completions", "x", 401)])
def test_whoever_is_answered_before_its_body_is_read_hears_that_the_connection_ends(
    server, path, key, status
):
    """The next question on it was lost now and then."""
    headers = {"Authorization": f"Bearer {server.key}{key}"}
    with httpx.Client(headers=headers) as client:
        for _ in range(3):
            answer = client.post(f"{server.url}/{path}", json={"model": "/en/soil", "input": "x" * 9_000})
            assert answer.status_code == status
            assert answer.headers["Connection"] == "close"
        assert "Connection" not in client.get(f"{server.url}/models").headers


def test_only_the_key_opens_and_health_needs_none(server, founded):
    for key in ("wrong", server.key + "x", server.key[:-1]):
        with (
            OpenAI(base_url=server.url, api_key=key) as stranger,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            stranger.models.list()
        assert caught.value.code == "invalid_api_key"
    assert httpx.get(f"{server.url}/models").status_code == 401
    health = httpx.get(server.url.removesuffix("/v1") + "/health").json()
    assert health["status"] == "ok"
    assert "has learnt nothing yet" in health["model"]
    assert founded.serving_key.stat().st_mode & 0o777 == 0o600
    assert founded.serving_key.read_text() == server.key


def test_eight_clients_at_once_get_what_each_gets_alone(client):
    asked = [
        [{"role": "user", "content": f"What is {word}?"}]
        for word in ["clay", "sand", "silt", "loam", "peat", "chalk", "humus", "mud"]
    ]
    alone = [chat(client, messages=each).choices[0].message.content for each in asked]
    together = [None] * len(asked)

    def ask(i):
        together[i] = chat(client, messages=asked[i]).choices[0].message.content

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_a_port_in_use_is_a_sentence_with_a_cure(server, founded):
    port = int(server.url.split(":")[2].split("/")[0])
    with pytest.raises(ServingError, match=f"Port {port} .*banyan serve --port {port + 1}"):
        ModelServer(founded, port=port).open()
    with pytest.raises(ServingError, match="no address of this machine"):
        ModelServer(founded, host="nowhere.invalid", port=0).open()


# ------------------------------------------------------------------------------------- what an engine must hear


class Silent:
    """A generation of the fake engine."""

    def __init__(self):
        self.given_up = threading.Event()

    def cancel(self):
        self.given_up.set()


class FakeEngine:
    """Begins answers and never ends them; keeps what was asked."""

    def __init__(self, base):
        self.base = base
        self.begun = threading.Event()
        self.generations = []

    def submit_all(self, wishes, deliver):
        for place, _ in enumerate(wishes):
            self.generations.append(Silent())
            deliver(place, Piece("so", 1, "r"))
        self.begun.set()
        return self.generations[-len(wishes) :]

    def load(self):
        return {}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_ends_its_answers(base, server, stream):
    from hypercorn.config import Config
    from hypercorn.trio import serve

    engine, stopping = FakeEngine(base), trio.Event()
    config = Config()
    config.bind = ["127.0.0.1:0"]
    body = {"messages": ASKED, "stream": stream, "n": 2}
    async with trio.open_nursery() as nursery:
        [url] = await nursery.start(serve, application(Served(engine, server.chosen, 0), "key"), config)
        sender = httpx.AsyncClient(headers={"Authorization": "Bearer key"}, timeout=30)
        with trio.CancelScope() as connection:
            async with sender:

                async def hang_up():
                    await trio.to_thread.run_sync(engine.begun.wait)
                    connection.cancel()

                nursery.start_soon(hang_up)
                async with sender.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
                    async for _ in answer.aiter_raw():
                        pass
        with trio.fail_after(20):
            for generation in engine.generations:
                assert await trio.to_thread.run_sync(generation.given_up.wait, 20)
        assert len(engine.generations) == 2
        stopping.set()
        nursery.cancel_scope.cancel()
