"""Conversations by name: apart, forgotten in the order of their use, safe against whoever makes requests up."""

import threading

import pytest
from pydantic import ValidationError
from tests.node.assistant.conftest import Conversation
from tests.node.catalog.conftest import device, listing

from banyan.node.assistant import sessions as module
from banyan.node.assistant.on_this_device import OnThisDevice
from banyan.node.assistant.sessions import AssistantRequest, Sessions
from banyan.node.settings import Catalog


@pytest.fixture
def assistant(grove):
    return Conversation(grove).assistant


def ask(sessions, assistant, session=None, **turn):
    return sessions.answer(AssistantRequest(session=session, **turn), assistant)


def test_conversations_are_apart(assistant):
    sessions = Sessions()
    ask(sessions, assistant, "ada", text="cooking in English")
    ask(sessions, assistant, "bob", text="tax in English")
    assert [each.id for each in ask(sessions, assistant, "ada").chips] == ["subject:cooking", "language:en"]


def test_a_conversation_without_a_name_is_given_one_that_goes_on(assistant):
    sessions = Sessions()
    name = ask(sessions, assistant, text="cooking in English").session
    assert ask(sessions, assistant, name, text="yes").commands == ("banyan clone /en/cooking",)
    assert ask(sessions, assistant).session != name


def test_the_conversation_longest_unused_is_forgotten_first(assistant):
    sessions = Sessions()
    for number in range(module.KEPT):
        ask(sessions, assistant, f"s{number}", edit="subject=cooking")
    ask(sessions, assistant, "s0")
    ask(sessions, assistant, "one_more")
    assert ask(sessions, assistant, "s0").chips
    assert not ask(sessions, assistant, "s1").chips


def test_turns_of_one_conversation_at_once_are_taken_one_after_the_other(assistant):
    sessions = Sessions()
    edits = ["language=en", "subject=cooking", "memory=4GB", "use=run", "prefer=speed", "private=yes"]
    threads = [
        threading.Thread(target=ask, args=(sessions, assistant, "one"), kwargs={"edit": edit})
        for edit in edits
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = {chip.name for chip in ask(sessions, assistant, "one").chips}
    assert names == {"language", "subject", "memory", "use", "prefer", "private"}


@pytest.mark.parametrize(
    "request_",
    [
        {"session": ""},
        {"session": "a" * 65},
        {"session": "../../etc"},
        {"session": 7},
        {"text": 7},
        {"text": "a", "edit": "b"},
        {"need": {}},
        {"text": ["a"]},
    ],
)
def test_a_request_that_is_none_is_refused(request_):
    with pytest.raises(ValidationError):
        AssistantRequest.model_validate(request_)


def test_a_tilde_is_this_users_home(assistant, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    sessions = Sessions()
    for text in ("cooking in English", "yes"):
        ask(sessions, assistant, "one", text=text)
    answer = ask(sessions, assistant, "one", text="~/my notes")
    assert answer.actions[0].data == "/home/ada/my notes"
    assert answer.commands == ("banyan train --branch /en/cooking '--data=/home/ada/my notes'",)


def test_the_index_is_made_anew_when_a_card_changes_and_only_then(grove, tmp_path):
    here = OnThisDevice(tmp_path, Catalog(), lambda folder: device(8_000_000_000))
    one, two = here.assistant(grove), here.assistant(list(grove))
    assert one._recommender is two._recommender
    more = here.assistant([*grove, listing("/en/chess", domains="chess")])
    assert more._recommender is not one._recommender
