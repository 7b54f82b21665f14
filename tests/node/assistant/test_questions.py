"""A question is asked where its answers change the first offer, and nowhere else."""

import pytest
from tests.node.assistant.conftest import Conversation
from tests.node.catalog.conftest import NOW, device, listing

from banyan.node.assistant import edits
from banyan.node.assistant.state import Edited
from banyan.node.catalog.recommender import Recommender
from banyan.node.catalog.understand import understand

REQUESTS = [
    "a model",
    "poetry",
    "cooking",
    "medical questions in English",
    "heart rhythm in English",
    "income tax in English for commercial use",
    "Steuererklärung",
    "recetas de cocina",
    "help with my taxes, 4 GB",
]


def first(listings, need, memory=8_000_000_000):
    offers = Recommender(listings, now=NOW).recommend(need, device(memory), top=1).offers
    return offers[0].listing.path if offers else None


@pytest.mark.parametrize("text", REQUESTS)
def test_the_answers_to_what_is_asked_lead_to_different_first_offers(grove, text):
    conversation = Conversation(grove)
    answer = conversation.say(text)
    for _ in range(5):
        question = answer.question
        if question is None or question.topic in ("confirm", "change"):
            break
        need = conversation.state.need
        tried = [choice.edit for choice in question.choices if choice.edit != "skip"]
        outcomes = {first(grove, edits.apply(need, edits.parse(edit))) for edit in tried} | {
            first(grove, need)
        }
        assert len(outcomes) > 1
        answer = conversation.edit("skip")
    assert answer.question is None or answer.question.topic in ("confirm", "change")


def test_where_there_is_one_model_nothing_is_asked_about_the_need():
    conversation = Conversation([listing("/en", domains="general")])
    for text in ("a model", "cooking", "heart medicine"):
        conversation.say(text)
        assert conversation.asks == "confirm"


def test_the_license_is_asked_for_only_where_the_best_does_not_allow_everything(grove):
    free = [each.model_copy(update={"license": "mit"}) for each in grove]
    assert Conversation(grove).say("poetry in English").question.topic == "license"
    assert Conversation(free).say("poetry in English").question.topic != "license"


def test_whether_to_train_is_asked_only_where_training_fits_another_model_or_none(garden):
    tight, roomy = Conversation(garden, 4_000_000_000), Conversation(garden, 64_000_000_000)
    assert tight.say("income tax in English").question.topic == "use"
    assert roomy.say("income tax in English").question.topic == "confirm"


def test_a_language_that_is_named_but_not_surely_meant_is_asked_about(grove):
    conversation = Conversation(grove)
    conversation.say("help with German tax returns")
    assert conversation.asks == "language"
    assert [choice.edit for choice in conversation.answer.question.choices] == [
        "language=de",
        "language=en",
        "skip",
    ]


def test_what_was_said_is_not_asked(grove):
    conversation = Conversation(grove)
    conversation.say("poetry in English, not for commercial use, only to use it, the best")
    assert conversation.asks == "confirm"


def test_a_question_that_is_passed_over_twice_is_not_asked_again(grove):
    conversation = Conversation(grove)
    conversation.say("poetry in English")
    asked = [conversation.asks]
    for text in ("at most 6 GB", "at most 5 GB"):
        conversation.say(text)
        asked.append(conversation.asks)
    assert asked == ["license", "license", "confirm"]


def test_a_choice_is_taken_by_its_number_its_words_or_its_edit(grove):
    def told(turn):
        conversation = Conversation(grove)
        conversation.say("poetry")
        assert conversation.asks == "language"
        conversation.edit(turn.edit) if isinstance(turn, Edited) else conversation.say(turn)
        return conversation.state.need.languages

    assert told("1") == told("English") == told(Edited(edit="language=en")) == ("en",)


def test_understanding_alone_decides_nothing_that_was_not_said():
    need = understand("poetry")
    assert (need.languages, need.license, need.memory, need.prefers) == ((), None, None, None)
