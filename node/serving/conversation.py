"""A conversation that never grows beyond what the model can read: its oldest exchanges are forgotten first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from banyan.node.learning.dataset import Turn
from banyan.node.serving.errors import ContextExceeded

#: The part of the context that is kept free for the answer, where the owner asks for none.
ANSWER_SHARE = 4


class Conversation:
    """What was said so far. ``ids_of`` makes turns the prompt after which the model speaks."""

    def __init__(
        self, ids_of: Callable[[Sequence[Turn]], list[int]], context: int, system: str | None = None
    ) -> None:
        self._ids_of = ids_of
        self._context = context
        self._system: tuple[Turn, ...] = () if system is None else (("system", system),)
        self.turns: list[Turn] = []
        self.forgotten = 0
        """Exchanges that had to go."""

    def ask(self, text: str, max_tokens: int | None = None) -> tuple[list[int], int]:
        """Add the owner's ``text``; the prompt that the model answers, and how many tokens the answer may have.

        Forgets the oldest exchanges as long as prompt and answer do not fit into the context. Raises
        :class:`ContextExceeded` where even the text alone does not; it is then as if nothing had been said.
        """
        room = min(max_tokens or self._context // ANSWER_SHARE, self._context - 1)
        turns = [*self.turns, ("user", text)]
        while True:
            ids = self._ids_of((*self._system, *turns))
            if len(ids) + room <= self._context or len(turns) == 1:
                break
            turns = turns[2:]
        if len(ids) >= self._context:
            raise ContextExceeded(len(ids), self._context)
        self.forgotten += (len(self.turns) + 1 - len(turns)) // 2
        self.turns = turns
        return ids, min(max_tokens or self._context, self._context - len(ids))

    def answered(self, text: str) -> None:
        """Keep what the model said, in part if it was interrupted."""
        self.turns.append(("assistant", text))

    def take_back(self) -> None:
        """Forget the last question, which got no answer."""
        self.turns.pop()

    def begin_anew(self) -> None:
        """Forget everything that was said."""
        self.turns, self.forgotten = [], 0
