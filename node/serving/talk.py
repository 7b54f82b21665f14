"""Speaks with a model in this very process: for the terminal, where no server is needed."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from pathlib import Path

import jinja2

from banyan.node.home import Home
from banyan.node.learning.dataset import Turn
from banyan.node.learning.tokens import conversation_ids
from banyan.node.serving.base_in_memory import BaseInMemory
from banyan.node.serving.chosen_release import (
    base_of,
    charter_of,
    choose,
    model_of,
    shared_a_of,
    with_lessons,
)
from banyan.node.serving.conversation import Conversation
from banyan.node.serving.engine import Engine, EngineLimits
from banyan.node.serving.errors import ServingError
from banyan.node.serving.generation import Piece, Wish
from banyan.node.serving.sampling import Sampling


class Talk:
    """A loaded model and one conversation with it. Raises :class:`BanyanError` for whatever cannot be loaded."""

    def __init__(
        self,
        home: Home,
        branch: str | None = None,
        release: str | None = None,
        *,
        base: Path | None = None,
        device: str = "auto",
        system: str | None = None,
        private: bool = False,
    ) -> None:
        charter = charter_of(home)
        self.chosen = choose(home, branch, release, private=private)
        if private:
            with_lessons(self.chosen)
        ground = charter.foundation_of(self.chosen.branch)
        folder = base_of(home, ground.base, base)
        loaded = BaseInMemory(folder, ground.adapter, shared_a_of(home, ground.adapter), device)
        self._engine = Engine(loaded, EngineLimits(slots=1, queue=1))
        there = (home, ground.adapter, self.chosen)
        self._engine.serve(self.chosen.fingerprint, *model_of(*there))
        self._engine.start()

        def ids_of(turns: Sequence[Turn]) -> list[int]:
            try:
                return conversation_ids(turns, loaded.tokenizer)
            except jinja2.TemplateError as error:
                raise ServingError(
                    f"The model's chat template does not take this conversation ({error})",
                    "Leave out --system, or begin anew",
                ) from None

        self.conversation = Conversation(ids_of, loaded.context, system)
        self.prompt_tokens = 0

    def say(self, text: str, sampling: Sampling, max_tokens: int | None = None) -> Iterator[Piece]:
        """The answer to ``text``, piece by piece. What has come when the iterator is closed stays in the conversation.

        Raises :class:`ContextExceeded`, and the error of an answer that failed.
        """
        ids, most = self.conversation.ask(text, max_tokens)
        self.prompt_tokens = len(ids)
        pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        generation = self._engine.submit(Wish(tuple(ids), most, sampling), pieces.put)
        said = ""
        try:
            while True:
                piece = pieces.get()
                if piece.error is not None:
                    raise piece.error
                said += piece.text
                yield piece
                if piece.finish is not None:
                    return
        finally:
            generation.cancel()
            if said:
                self.conversation.answered(said)
            else:
                self.conversation.take_back()

    def close(self) -> None:
        """End the engine."""
        self._engine.close()
