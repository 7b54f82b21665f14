"""A conversation never outgrows the context, and an interrupted or failed question leaves it whole."""

import io
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, MambaConfig

from banyan.node.cli.chat import answer
from banyan.node.cli.main import run
from banyan.node.learning.errors import ModelError
from banyan.node.serving.base_in_memory import check_can_be_batched, check_fits
from banyan.node.serving.conversation import Conversation
from banyan.node.serving.errors import ContextExceeded
from banyan.node.serving.generation import Piece
from banyan.node.serving.sampling import Sampling
from banyan.node.serving.talk import Talk

GREEDY = Sampling(temperature=0.0)


def letters(turns):
    """A token a letter, and one a turn."""
    return [ord(letter) for role, text in turns for letter in f"{role[0]}{text}"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("abc", min_size=1, max_size=18), max_size=12), st.integers(1, 30))
def test_prompt_and_answer_always_fit_and_the_newest_is_kept(questions, wanted):
    talk = Conversation(letters, context=40, system="s")
    for question in questions:
        ids, room = talk.ask(question, wanted)
        assert len(ids) + room <= 40
        assert room >= 1
        assert "".join(map(chr, ids)).startswith("ss")
        assert "".join(map(chr, ids)).endswith(f"u{question}")
        assert talk.turns[0][0] == "user"
        talk.answered("yes")
    assert len(talk.turns) == 2 * (len(questions) - talk.forgotten)


def test_nothing_is_forgotten_before_it_must_be():
    talk = Conversation(letters, context=40)
    for question in ("one", "two", "three"):
        talk.ask(question, 10)
        talk.answered("yes")
    assert talk.forgotten == 0
    talk.ask("four", 10)
    assert talk.forgotten == 1
    assert talk.turns[0] == ("user", "two")


def test_a_question_longer_than_the_context_is_refused_and_leaves_no_trace():
    talk = Conversation(letters, context=20)
    talk.ask("one", 5)
    talk.answered("yes")
    with pytest.raises(ContextExceeded, match="context length is 20"):
        talk.ask("a" * 30, 5)
    assert talk.turns == [("user", "one"), ("assistant", "yes")]
    assert talk.forgotten == 0


@pytest.fixture(scope="module")
def talk(founded):
    talk = Talk(founded, device="cpu")
    yield talk
    talk.close()


def test_an_interrupted_answer_stays_as_far_as_it_came(talk):
    talk.conversation.begin_anew()
    pieces = talk.say("What is clay?", GREEDY, 60)
    said = next(pieces).text
    pieces.close()
    assert talk.conversation.turns == [("user", "What is clay?"), ("assistant", said)]
    whole = list(talk.say("And sand?", GREEDY, 5))
    assert whole[-1].finish in ("stop", "length")
    assert [role for role, _ in talk.conversation.turns[:3]] == ["user", "assistant", "user"]


class InterruptedTalk:
    """A model whose owner presses Ctrl-C in the middle of its answer."""

    def __init__(self, chosen):
        self.chosen, self.prompt_tokens = chosen, 3

    def say(self, text, sampling, max_tokens):
        yield Piece("half an ", 2, "r")
        raise KeyboardInterrupt


def test_ctrl_c_ends_an_answer_and_not_the_program(talk, capsys):
    answer(InterruptedTalk(talk.chosen), "What is clay?", GREEDY, None, json_=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["text"], told["finish_reason"]) == ("half an ", "interrupted")
    answer(InterruptedTalk(talk.chosen), "What is clay?", GREEDY, None, json_=False)
    assert capsys.readouterr().out == "half an \n"


def test_one_answer_for_scripts(founded, capsys):
    line = [
        "chat",
        "--text",
        "What is clay?",
        "--temperature",
        "0",
        "--max-tokens",
        "9",
        "--home",
        str(founded.root),
    ]
    assert run([*line, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["branch"] == "/en/soil"
    assert told["usage"]["prompt_tokens"] == len("What is clay?") + 3
    assert told["finish_reason"] in ("stop", "length")
    assert run(line) == 0
    assert capsys.readouterr().out == told["text"] + "\n"


def test_a_conversation_in_the_terminal_goes_on_until_its_end(founded, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"Clay?\n/new\n{'x' * 500}\nSand?\n"))
    assert run(["chat", "--json", "--max-tokens", "5", "--home", str(founded.root)]) == 0
    captured = capsys.readouterr()
    assert len([json.loads(line) for line in captured.out.splitlines()]) == 2
    assert "context length is 128" in captured.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("chat", "/en/sol", "--text", "x"), "Did you mean /en/soil"),
        (("chat", "--text", " "), "nothing to ask"),
        (("chat", "/en", "--release", "@1"), "not both"),
        (("serve", "/de"), "has no branch /de"),
        (("serve", "--release", "@7"), "has no release"),
        (("serve", "/en", "--release", "@1"), "not both"),
        (("export", "--to", "/nowhere/x"), "nothing to export"),
        (("export", "--to", "/nowhere/x", "--format", "merged", "--rank", "4"), "writes whole weights"),
        (("serve", "--release", "@1", "--private"), "name no branch or release"),
        (("chat", "--private", "--text", "x"), "Nothing has been learnt privately"),
        (("export", "--to", "/nowhere/x", "--format", "ggfu"), "Did you mean gguf"),
        (("export", "--to", "/nowhere/x", "--format", "merged", "--dtype", "q8_0"), "is none of float32"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(founded, capsys, arguments, complaint):
    extra = ("--port", "0") if arguments[0] == "serve" else ()
    assert run([*arguments, *extra, "--home", str(founded.root)]) != 0
    assert complaint in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_model_that_memory_cannot_hold_is_refused_before_it_is_loaded(tiny_model):
    check_fits(tiny_model, free=None)
    check_fits(tiny_model, free=300_000_000)
    with pytest.raises(ModelError, match=r"needs 0\.3 GB of memory, and 0\.1 GB are free"):
        check_fits(tiny_model, free=100_000_000)


def test_a_model_that_keeps_another_memory_is_refused():
    config = MambaConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, state_size=2)
    with pytest.raises(ModelError, match="MambaForCausalLM keeps another memory"):
        check_can_be_batched(AutoModelForCausalLM.from_config(config).eval(), torch.device("cpu"))
