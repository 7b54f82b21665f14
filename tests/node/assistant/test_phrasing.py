"""A model may word the reasons of an offer; what is decided, asked, done and named stays what it is."""

import pytest
from tests.node.assistant.conftest import Conversation

from banyan.node.assistant.phrasing import Plain, Reworded, is_faithful
from banyan.node.assistant.sessions import AssistantRequest, Sessions
from banyan.security.errors import BanyanError

TURNS = ["cooking recipes in English", "no, Spanish", "why?", "yes", "~/notes", "yes"]


def plain_of(prompt):
    return prompt.split("\n\n", 1)[1]


def warm(prompt):
    return "Good news! " + " ".join(plain_of(prompt).splitlines())


def lying(prompt):
    return plain_of(prompt).replace("/es/cocina", "/evil").replace("960 MB", "1 MB")


def asking(prompt):
    return plain_of(prompt) + " Shall I clone it right now?"


def silent(prompt):
    return ""


def verbose(prompt):
    return plain_of(prompt) * 3


def failing(prompt):
    raise BanyanError("The model failed", "Try again")


def told(grove, phrasing):
    sessions, assistant = Sessions(phrasing), Conversation(grove).assistant
    return [sessions.answer(AssistantRequest(session="one", text=text), assistant) for text in TURNS]


@pytest.mark.parametrize("model", [warm, lying, asking, silent, verbose, failing])
def test_decisions_and_facts_are_the_same_whoever_words_them(grove, model):
    plain, worded = told(grove, Plain()), told(grove, Reworded(model))
    for one, other in zip(plain, worded, strict=True):
        assert one.model_copy(update={"reply": ""}) == other.model_copy(update={"reply": ""})
        assert one.reply.splitlines()[-1] == other.reply.splitlines()[-1]


def test_a_faithful_wording_is_taken(grove):
    first = told(grove, Reworded(warm))[0]
    assert "Good news! I would take /en/cooking." in first.reply
    assert first.reply.endswith("Shall I bring /en/cooking here? Say yes, or the number of another.")


@pytest.mark.parametrize("model", [lying, asking, silent, verbose, failing])
def test_a_wording_that_is_not_faithful_is_not(grove, model):
    assert [each.reply for each in told(grove, Reworded(model))] == [
        each.reply for each in told(grove, Plain())
    ]


@pytest.mark.parametrize(
    ("wording", "faithful"),
    [
        ("Take /en/tax: it needs 3.1 GB of 8.0 GB.", True),
        ("It needs 3.1 GB of your 8.0 GB, so /en/tax is fine.", True),
        ("Take /en/tax/evil: it needs 3.1 GB of 8.0 GB.", False),
        ("Take /en/tax: it needs 3.2 GB of 8.0 GB.", False),
        ("Take /en/tax: it needs 3.1 GB.", False),
        ("Take /en/tax: it needs 3.1 GB of 8.0 GB. Run `rm`.", False),
        ("Take /en/tax, it needs 3.1 GB of 8.0 GB, will you?", False),
    ],
)
def test_a_wording_names_the_same_paths_numbers_and_commands(wording, faithful):
    assert is_faithful(wording, "I would take /en/tax. It takes 3.1 GB of the 8.0 GB.") is faithful
