"""Whole conversations, word for word as they were written down: what was said, understood, asked, offered and done.

In a transcript ``> `` is a turn in words, ``>> `` an edit; ``>`` alone a look. What stands below it is the answer.
"""

from pathlib import Path

import pytest
from tests.node.assistant.conftest import GB, Conversation

TRANSCRIPTS = sorted(Path(__file__).parent.glob("transcripts/*.txt"))


def shown(conversation):
    """An answer as transcripts have it."""
    answer = conversation.answer
    facts = [f"[chips: {', '.join(conversation.chips) or 'none'}]"]
    if answer.question is not None:
        choices = " | ".join(choice.edit for choice in answer.question.choices)
        facts.append(f"[asks {answer.question.topic}: {choices}]")
    if conversation.offered:
        facts.append(f"[offers: {', '.join(conversation.offered)}]")
    facts += [f"[does: {command}]" for command in conversation.does]
    return "\n".join([answer.reply, *facts])


def replayed(text, listings):
    """The transcript that comes of the turns in ``text``."""
    head, *blocks = text.split("\n>")
    memory = next(float(line.split()[1]) for line in head.splitlines() if line.startswith("memory"))
    conversation, parts = (
        Conversation([] if "branches none" in head else listings, round(memory * GB)),
        [head],
    )
    for block in blocks:
        turn = block.split("\n", 1)[0]
        if turn.startswith("> "):
            conversation.edit(turn[2:])
        elif turn.startswith(" "):
            conversation.say(turn[1:])
        else:
            conversation.begin()
        parts.append(f"\n>{turn}\n{shown(conversation)}\n")
    return "".join(parts)


@pytest.mark.parametrize("file", TRANSCRIPTS, ids=lambda file: file.stem)
def test_a_conversation_goes_as_it_was_written_down(file, grove):
    written = file.read_text("utf-8")
    assert written.count("\n>") > 2
    assert replayed(written, grove) == written
