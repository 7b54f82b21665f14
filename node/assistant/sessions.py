"""Conversations by name, for whoever speaks with several people at once: ``POST /assistant``, and a terminal's one.

Nothing here knows of HTTP: a request is a pydantic model, and so is the answer. They are kept in memory alone.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from banyan.node.assistant.dialogue import Assistant
from banyan.node.assistant.phrasing import Phrasing, Plain
from banyan.node.assistant.state import Action, Answer, Dialogue, Edited, Said, Turn

#: Conversations that are kept: the ones last used.
KEPT: Final = 64


class AssistantRequest(BaseModel):
    """One turn. With neither ``text`` nor ``edit``: where the conversation stands."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    session: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    text: str | None = None
    edit: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.text is not None and self.edit is not None:
            raise ValueError("give text or edit, not both")
        return self

    @property
    def turn(self) -> Turn:
        """What is said."""
        if self.edit is not None:
            return Edited(edit=self.edit)
        return Said(text=self.text) if self.text is not None else None


class AssistantReply(Answer):
    """An answer, with the conversation's name and the actions as command lines."""

    session: str
    commands: tuple[str, ...]


class Sessions:
    """The conversations of one node. Safe to be called from several threads.

    Args:
        phrasing: how answers are worded.
        new_name: names a conversation that comes without a name.
    """

    def __init__(self, phrasing: Phrasing | None = None, new_name: Callable[[], str] | None = None) -> None:
        self._phrasing = phrasing or Plain()
        self._new_name = new_name or (lambda: secrets.token_urlsafe(12))
        self._dialogues: OrderedDict[str, Dialogue] = OrderedDict()
        self._lock = threading.Lock()

    def answer(self, request: AssistantRequest, assistant: Assistant) -> AssistantReply:
        """What ``assistant`` answers to the turn. A name that is not known begins a conversation."""
        name = request.session or self._new_name()
        with self._lock:  # two turns of one conversation are taken one after the other
            dialogue = self._dialogues.pop(name, Dialogue())
            dialogue, answer = assistant.turn(dialogue, request.turn)
            self._dialogues[name] = dialogue
            while len(self._dialogues) > KEPT:
                self._dialogues.popitem(last=False)
        actions = tuple(_at_home(action) for action in answer.actions)
        facts = {field: getattr(answer, field) for field in Answer.model_fields}
        return AssistantReply(
            **facts | {"reply": self._phrasing.phrase(answer), "actions": actions},
            session=name,
            commands=tuple(action.command for action in actions),
        )


def _at_home(action: Action) -> Action:
    """``~`` is this user's home: no shell will say so later."""
    if action.data is None:
        return action
    return action.model_copy(update={"data": os.path.expanduser(action.data)})
