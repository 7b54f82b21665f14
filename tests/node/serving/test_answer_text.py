"""Text comes in whole characters, and ends where a stop string begins."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan.node.serving.answer_text import AnswerText


@pytest.fixture(scope="module")
def tokenizer(base):
    return base.tokenizer


def pieces(tokenizer, text, stop=()):
    """What is shown of ``text``, token by token."""
    answer, shown = AnswerText(tokenizer, stop), []
    for token in tokenizer.encode(text, add_special_tokens=False):
        shown.append(answer.push(token))
        if answer.stopped:
            break
    return [*shown, answer.end()], answer.stopped


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_the_pieces_are_the_text_and_each_is_whole(tokenizer, text):
    shown, stopped = pieces(tokenizer, text)
    assert "".join(shown) == text
    assert not stopped
    answer = AnswerText(tokenizer)
    assert not any(answer.hold(token) for token in tokenizer.encode(text, add_special_tokens=False))
    assert answer.end() == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in shown)


@settings(max_examples=100, deadline=None)
@given(st.text("abc", max_size=20), st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_from_the_first_stop_string_on_is_ever_shown(tokenizer, text, stops):
    shown, stopped = pieces(tokenizer, text, stops)
    ends = {stop: text.find(stop) + len(stop) for stop in stops if stop in text}
    assert stopped == bool(ends)
    if not ends:
        assert "".join(shown) == text
        return
    first = min(ends.values())  # the stop string that is whole first ends it
    assert "".join(shown) == text[: min(first - len(stop) for stop, end in ends.items() if end == first)]


def test_bytes_that_are_no_character_are_not_held_back_for_ever(tokenizer):
    broken = tokenizer.convert_tokens_to_ids(
        "Ģ"
    )  # how a byte-level tokenizer writes 0x80, the middle of a character
    answer = AnswerText(tokenizer)
    assert "".join(answer.push(broken) for _ in range(20))
    assert answer.push(tokenizer.convert_tokens_to_ids("a")).endswith("a")
