"""Where the loss falls, and what is cut when a row is too long."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from banyan.node.learning.dataset import Row
from banyan.node.learning.tokens import IGNORED, examples, prompt_ids

PAIR = Row((("user", "Hi"), ("assistant", "Yes")))


def learnt(example, tokenizer) -> str:
    return tokenizer.decode([label for label in example.labels if label != IGNORED])


@pytest.fixture(scope="module")
def chat(tiny_model: Path):
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def plain(plain_model: Path):
    return AutoTokenizer.from_pretrained(plain_model)


def test_the_loss_of_a_pair_falls_on_the_answer_and_its_end(chat, plain) -> None:
    (with_template,) = examples([PAIR], chat, 64)
    assert chat.decode(with_template.ids) == "<s>[U]Hi[A]Yes</s>"
    assert learnt(with_template, chat) == "Yes</s>"
    (without,) = examples([PAIR], plain, 64)
    assert plain.decode(without.ids) == "<s>Hi\nYes</s>"
    assert learnt(without, plain) == "Yes</s>"


def test_every_answer_of_a_conversation_is_learnt_and_nothing_else(chat) -> None:
    turns = (("system", "S"), ("user", "a"), ("assistant", "B"), ("user", "c"), ("assistant", "D"))
    (example,) = examples([Row(turns)], chat, 64)
    assert chat.decode(example.ids) == "<s>[U]S[U]a[A]B</s>[U]c[A]D</s>"
    assert learnt(example, chat) == "B</s>D</s>"


def test_the_pieces_are_the_ids_that_the_whole_template_gives(chat) -> None:
    (example,) = examples([PAIR], chat, 64)
    messages = [{"role": role, "content": content} for role, content in PAIR.turns]
    assert list(example.ids) == chat.apply_chat_template(messages, tokenize=True, return_dict=False)


def test_a_plain_text_is_learnt_whole_in_windows(chat) -> None:
    made = examples([Row((("", "abcdefgh"),))], chat, 4)
    assert [chat.decode(example.ids) for example in made] == ["<s>abc", "defg", "h</s>"]
    assert all(example.ids == example.labels for example in made)


def test_a_long_prompt_leaves_half_of_the_room_to_the_answer(chat) -> None:
    (example,) = examples([Row((("user", "0123456789" * 5), ("assistant", "Answer")))], chat, 16)
    assert len(example.ids) <= 16
    assert example.ids[0] == chat.bos_token_id
    assert learnt(example, chat) == "Answer</s>"
    assert chat.decode(example.ids).startswith("<s>456789[A]")


def test_a_long_answer_is_cut_at_its_end(chat) -> None:
    (example,) = examples([Row((("user", "q"), ("assistant", "z" * 100)))], chat, 20)
    assert len(example.ids) == 20
    assert set(learnt(example, chat)) == {"z"}


def test_a_prompt_ends_where_the_answer_begins(chat, plain) -> None:
    assert chat.decode(prompt_ids("Hi", chat)) == "<s>[U]Hi[A]"
    assert plain.decode(prompt_ids("Hi", plain)) == "<s>Hi\n"


def test_a_special_token_in_a_plain_text_is_only_text(plain) -> None:
    (example,) = examples([Row((("", "a</s>b"),))], plain, 64)
    assert example.ids.count(plain.eos_token_id) == 1


def test_the_number_of_targets_is_the_number_of_predictions(chat) -> None:
    (pair,) = examples([PAIR], chat, 64)
    assert pair.targets == 4
    (window,) = examples([Row((("", "ab"),))], chat, 64)
    assert window.targets == 3  # the first of its four tokens is predicted by nothing
