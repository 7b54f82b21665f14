"""What holds of every conversation, whatever is said in it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.node.assistant.conftest import Conversation
from tests.node.catalog.conftest import device

from banyan.node.assistant import edits
from banyan.node.assistant.sentences import sentences
from banyan.node.assistant.state import Answer, Dialogue, Edited, Said
from banyan.node.catalog.constraints import obstacles
from banyan.node.catalog.understand import understand

SAID = st.sampled_from(
    [
        "medical questions",
        "poetry",
        "no, Spanish",
        "in German please",
        "it is about cooking",
        "not cooking, tax",
        "yes",
        "no",
        "2",
        "why?",
        "doesn't matter",
        "only to use it",
        "train it on my files",
        "at most 4 GB",
        "for commercial use",
        "the fastest",
        "~/notes",
        "thanks",
        "hello",
        "What is the capital of France?",
        "/en/poetry",
        "/evil",
        "nichts davon",
    ]
)
EDITS = st.sampled_from(
    [
        "drop subject",
        "drop language",
        "drop asked-in",
        "language=en,de",
        "subject=medicine",
        "use=train",
        "memory=2GB",
        "speed=30",
        "license=commercial",
        "prefer=quality",
        "take 1",
        "take /en/poetry",
        "data=/srv/notes",
        "skip",
        "restart",
        "drop everything",
    ]
)
TURNS = st.lists(
    st.one_of(SAID.map(lambda text: Said(text=text)), EDITS.map(lambda edit: Edited(edit=edit)), st.none()),
    max_size=6,
)


@pytest.fixture(scope="module")
def assistant(grove):
    return Conversation(grove).assistant


@settings(max_examples=25, deadline=None)
@given(turns=TURNS)
def test_only_what_was_offered_and_agreed_to_is_ever_done(assistant, turns):
    state, offered, taken = Dialogue(), (), None
    for turn in turns:
        before = state
        state, answer = assistant.turn(state, turn)
        for action in answer.actions:
            if action.do == "clone":
                assert action.branch in offered
                assert isinstance(turn, (Said, Edited))
                taken = action.branch
            else:
                assert action.branch == taken == before.accepted
        offered = state.offered


@settings(max_examples=25, deadline=None)
@given(turns=TURNS)
def test_everything_offered_meets_every_condition_on_the_chips(assistant, grove, turns):
    listings = {each.path: each for each in grove}
    state = Dialogue()
    for turn in turns:
        state, answer = assistant.turn(state, turn)
        if answer.question is None or answer.question.topic not in ("data", "serve"):
            for offer in answer.offers:
                assert not obstacles(listings[offer.path], state.need, device(8_000_000_000))


@settings(max_examples=15, deadline=None)
@given(turns=TURNS)
def test_the_same_turns_give_the_same_answers_from_a_state_that_went_through_json(assistant, turns):
    state, other = Dialogue(), Dialogue()
    for turn in turns:
        state, answer = assistant.turn(state, turn)
        other, again = assistant.turn(Dialogue.model_validate_json(other.model_dump_json()), turn)
        assert (other, again) == (state, answer)


@settings(max_examples=25, deadline=None)
@given(turns=TURNS)
def test_every_chip_can_be_dropped_and_is_gone_then(assistant, turns):
    state = Dialogue()
    for turn in turns:
        state, answer = assistant.turn(state, turn)
    if turns:
        for chip in answer.chips:
            after, then = assistant.turn(state, Edited(edit=f"drop {chip.id}"))
            if chip.name != "use" or after.need.use == "train":
                assert chip.id not in [each.id for each in then.chips]


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=200), edit=st.text(max_size=80))
def test_whatever_is_typed_is_answered_and_moves_no_cursor(assistant, text, edit):
    state, said = assistant.turn(Dialogue(), Said(text=text))
    state, edited = assistant.turn(state, Edited(edit=edit))
    for answer in (said, edited):
        assert answer.reply
        assert not answer.actions
        assert not any(each in answer.reply for each in "\x1b\x07\r\x00\u202e")


@pytest.mark.parametrize(
    "text",
    [
        "cooking " * 12_500,
        "x" * 100_000,
        "\x00" * 100_000,
        "(" * 100_000,
        "no, " * 25_000,
        "1 GB " * 20_000,
        "not " * 25_000,
        "\u202eevil\x1b[2J cooking",
    ],
    ids=["words", "one word", "zeros", "brackets", "noes", "sizes", "nots", "controls"],
)
def test_a_hundred_thousand_hostile_characters_are_answered(conversation, text):
    answer = conversation.say(text)
    assert not answer.actions
    assert len(answer.reply) < 6_000
    assert "\x1b" not in answer.reply
    assert ("first 4000 characters" in answer.reply) == (len(text) > 4_000)


def test_a_yes_that_says_more_is_no_yes(conversation):
    conversation.say("cooking recipes in English")
    assert conversation.asks == "confirm"
    conversation.say("yes but in Spanish")
    assert conversation.does == []
    assert conversation.offered == ["/es/cocina"]
    conversation.say("yes")
    assert conversation.does == ["banyan clone /es/cocina"]


def test_after_a_no_a_yes_takes_nothing(conversation):
    conversation.say("cooking recipes in English")
    conversation.say("no")
    conversation.say("yes")
    assert conversation.does == []
    assert conversation.asks == "confirm"


def test_an_action_is_said_once(conversation):
    conversation.say("cooking recipes in English")
    conversation.say("yes")
    assert conversation.does == ["banyan clone /en/cooking"]
    for turn in ("hello", "yes", "what can you do"):
        conversation.say(turn)
        assert conversation.does == []


def test_data_with_dashes_and_quotes_stays_one_argument(conversation):
    conversation.say("cooking recipes in English")
    conversation.say("yes")
    conversation.say('"--private; rm -rf ~"')
    (action,) = conversation.answer.actions
    assert action.arguments == ("train", "--branch", "/en/cooking", "--data=--private; rm -rf ~")


def test_what_is_private_is_trained_privately(conversation):
    conversation.say("cooking recipes in English, nothing may leave this laptop")
    conversation.say("yes")
    conversation.edit("data=/srv/notes")
    assert conversation.answer.actions[0].private


def test_no_data_is_trained_on_before_a_model_was_taken(conversation):
    conversation.say("cooking recipes in English")
    conversation.edit("data=/srv/notes")
    assert conversation.does == []
    assert "First choose a model" in conversation.answer.reply


@pytest.mark.parametrize(
    ("text", "tongue"),
    [
        ("I need help with cooking", "en"),
        ("Ich brauche Hilfe beim Kochen", "de"),
        ("Necesito ayuda con la cocina", "es"),
        ("J'ai besoin d'aide pour la cuisine", "fr"),
    ],
)
def test_a_reply_is_in_the_language_of_the_request(conversation, text, tongue):
    answer = conversation.say(text)
    assert answer.language == tongue
    assert conversation.state.need.domains == ("cooking",)


def test_every_sentence_is_there_in_every_language_with_the_same_facts():
    import string

    def facts(template):
        return {name for _, name, _, _ in string.Formatter().parse(template) if name}

    english = sentences()["en"]
    for tongue, those in sentences().items():
        assert those.keys() == english.keys(), tongue
        for key, template in those.items():
            assert facts(template) == facts(english[key]), (tongue, key)


def test_an_answer_without_its_lines_is_json(conversation):
    answer = conversation.say("cooking")
    assert "lines" not in answer.model_dump()
    assert set(answer.model_dump(mode="json")) == set(Answer.model_fields) - {"lines"}


@pytest.mark.parametrize(
    ("first", "then", "languages", "domains"),
    [
        ("cooking in English", "no, Spanish", ("es",), ("cooking",)),
        ("cooking in English", "also Spanish", ("en", "es"), ("cooking",)),
        ("cooking in English", "and in German", ("en", "de"), ("cooking",)),
        ("cooking in English", "make it German instead", ("de",), ("cooking",)),
        ("cooking in English", "not English", (), ("cooking",)),
        ("cooking in English", "lieber auf Deutsch", ("de",), ("cooking",)),
        ("cooking in English", "tax as well", ("en",), ("cooking", "tax")),
        ("cooking in English", "actually for tax", ("en",), ("tax",)),
        ("cooking in English", "vegan ones", ("en",), ("vegan",)),
        ("cooking and tax in English", "not tax", ("en",), ("cooking",)),
    ],
)
def test_a_later_turn_adds_corrects_or_says_more_exactly(conversation, first, then, languages, domains):
    conversation.say(first)
    conversation.say(then)
    assert conversation.state.need.languages == languages
    assert conversation.state.need.domains == domains


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("only to use it", {"use": "run"}),
        ("it should learn from our documents", {"use": "train"}),
        ("no fine-tuning", {"use": "run"}),
        ("at least 20 tokens per second", {"tokens_per_second": 20.0}),
        ("at most 2 GB", {"memory": 2_000_000_000}),
        ("nothing may leave this laptop", {"private": True}),
        ("the license must be apache", {"license": "apache"}),
        ("schneller", {"prefers": "speed"}),
    ],
)
def test_conditions_are_understood_at_any_turn_and_leave_the_subject_alone(conversation, text, changes):
    conversation.say("cooking in English")
    before = conversation.state.need
    conversation.say(text)
    assert conversation.state.need == before.model_copy(update=changes)


def test_edits_say_what_words_say():
    need = understand("cooking in English, 4 GB, for commercial use")
    made = understand("")
    for edit in ("subject=cooking", "language=English", "memory=4 GB", "license=commercial"):
        made = edits.apply(made, edits.parse(edit))
    fields = ("domains", "languages", "memory", "license", "use", "private")
    assert [getattr(made, each) for each in fields] == [getattr(need, each) for each in fields]


def test_the_words_of_a_subject_that_was_dropped_match_no_longer(conversation):
    conversation.say("recipes for cooking in English")
    conversation.edit("subject=tax")
    assert conversation.state.need.text == ""
    assert conversation.offered[0] == "/en/tax"
