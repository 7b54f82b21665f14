"""Writes many answers at once, in one thread, and changes to a new release without dropping one.

Whatever was begun with a release ends with it: each release in use has its own batch, and the newest takes the new
requests. All of them share the base weights.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

from banyan.node.learning.frozen import NONE, Frozen
from banyan.node.learning.layout import Vector
from banyan.node.serving.base_in_memory import BaseInMemory
from banyan.node.serving.batch import Batch
from banyan.node.serving.errors import ContextExceeded, RequestRefused, ServingError
from banyan.node.serving.generation import Generation, Piece, Wish

log = logging.getLogger("banyan.serving")


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How much is done at once.

    ``slots``: answers written together; more raise the tokens a second of all, and the memory, and slow each one.
    ``queue``: requests that may wait beyond them; more wait longer instead of being told to come back.
    ``prefill``: tokens of prompts read in one step; more read long prompts faster and let running answers wait longer.
    """

    slots: int = 8
    queue: int = 64
    prefill: int = 2048


class Engine:
    """Serves one base model, always with the newest release that it was given. :meth:`serve` one before asking."""

    def __init__(self, base: BaseInMemory, limits: EngineLimits = EngineLimits()) -> None:
        self.base = base
        self.limits = limits
        self._changed = threading.Condition()
        self._waiting: deque[Generation] = deque()
        self._batches: dict[str, Batch] = {}
        self._release = ""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def release(self) -> str:
        """The name of the release that answers what is asked now."""
        return self._release

    def serve(self, release: str, vector: Vector, later: Frozen = NONE) -> None:
        """Answer from now on with the model of ``vector`` (B, float32, Layout order) and ``later``; what runs stays
        with its own."""
        forward = self.base.forward_of(self.base.model_with(vector, later))
        batch = Batch(forward, self.base.device, self.base.ends)
        with self._changed:
            if release not in self._batches:
                self._batches[release] = batch
            self._release = release

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """End; whatever is unfinished is told so."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.ident is None:
            self._thread.start()  # it is what tells them
        self._thread.join()

    def submit(self, wish: Wish, deliver: Callable[[Piece], None]) -> Generation:
        """Ask for an answer; ``deliver`` is called with each piece of it, in the engine's thread.

        ``max_tokens`` beyond the model's context are cut. Raises :class:`RequestRefused`: ``context_length_exceeded``,
        and with status 429 where too many wait.
        """
        [generation] = self.submit_all([wish], deliver=lambda _, piece: deliver(piece))
        return generation

    def submit_all(self, wishes: Iterable[Wish], deliver: Callable[[int, Piece], None]) -> list[Generation]:
        """:meth:`submit` all or none of ``wishes``; ``deliver`` is told the place of each piece's wish as well."""
        made = []
        for place, wish in enumerate(wishes):
            room = self.base.context - len(wish.ids)
            if room < 1 or not wish.ids:
                raise ContextExceeded(len(wish.ids), self.base.context)

            def tell(piece: Piece, place: int = place) -> None:
                deliver(place, piece)

            fitting = replace(wish, max_tokens=min(wish.max_tokens, room))
            made.append(Generation(fitting, self.base.tokenizer, tell))
        with self._changed:
            if self._closing:
                raise RequestRefused("The server is stopping", "Ask again when it is back", status=503)
            if len(self._waiting) + len(made) > self.limits.queue:
                raise RequestRefused(
                    f"{len(self._waiting)} requests wait already",
                    "Try again in a moment",
                    status=429,
                    code="rate_limit_exceeded",
                )
            self._waiting += made
            self._changed.notify()
        return made

    def load(self) -> dict[str, int]:
        """How many answers are being written, how many wait, and by how many releases they are written."""
        with self._changed:
            running = [len(batch.rows) for batch in self._batches.values()]
            return {
                "running": sum(running),
                "waiting": len(self._waiting),
                "releases": sum(count > 0 for count in running),
            }

    # -------------------------------------------------------------------------------------- the engine's thread

    def _run(self) -> None:
        with torch.inference_mode():
            while (turn := self._next_turn()) is not None:
                self._do(turn)
        gone = ServingError("The server was stopped before the answer was whole", "Ask again")
        for row in (*self._waiting, *(row for batch in self._batches.values() for row in batch.rows)):
            row.fail(gone)

    def _next_turn(self) -> tuple[list[Batch], Batch, list[Generation]] | None:
        """Wait until there is something to do: the batches to go on with, and the newest with what joins it."""
        with self._changed:
            while not self._closing and not self._waiting and not any(b.rows for b in self._batches.values()):
                self._changed.wait()
            if self._closing:
                return None
            self._batches = {
                name: batch for name, batch in self._batches.items() if batch.rows or name == self._release
            }
            running = [batch for batch in self._batches.values() if batch.rows]
            return running, self._batches[self._release], self._joining()

    def _joining(self) -> list[Generation]:
        """The next of those that wait, as many as there is room for now."""
        free = self.limits.slots - sum(len(batch.rows) for batch in self._batches.values())
        joining: list[Generation] = []
        longest = 0
        while self._waiting and len(joining) < free:
            row = self._waiting[0]
            longest = max(longest, len(row.wish.ids))
            if joining and longest * (len(joining) + 1) > self.limits.prefill:
                break
            self._waiting.popleft()
            if row.cancelled:
                row.drop()
                continue
            row.release = self._release
            joining.append(row)
        return joining

    def _do(self, turn: tuple[list[Batch], Batch, list[Generation]]) -> None:
        running, newest, joining = turn
        for batch in running:
            self._guarded(batch, batch.step, batch.rows)
        if joining:
            self._guarded(newest, lambda: newest.admit(joining), joining)

    def _guarded(self, batch: Batch, work: Callable[[], None], rows: list[Generation]) -> None:
        """Do ``work`` for ``rows``; if it fails, they fail, and those in one batch with them. The engine goes on."""
        rows = list(rows)
        try:
            work()
        except Exception as error:
            log.exception("a batch failed")
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                said = ServingError("The memory is full", "Ask for less at once, or start with fewer --slots")
            else:
                said = ServingError(f"The model failed ({type(error).__name__})", "See the server's log")
            if any(row in batch.rows for row in rows):
                rows += [row for row in batch.rows if row not in rows]
                batch.clear()
            for row in rows:
                row.fail(said)
