"""A wish to learn from another branch's model: kept until its rounds are over, whatever restarts in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from banyan.node.daemon.control import BadRequest, DistillRequest
from banyan.node.daemon.naming import check_known
from banyan.node.learning.dataset import files_of
from banyan.node.learning.distill.teacher import Teacher
from banyan.security import canonical
from banyan.security.charter import Charter
from banyan.security.errors import BanyanError, Refused
from banyan.security.schema import Between, Digest, Length, from_plain, to_bytes

#: Under which the wish is kept on disk.
KEY: Final = "node/distillation"

MAX_BYTES: Final = 16_384


@dataclass(frozen=True, slots=True)
class Distillation:
    """``branch`` learns from the model of ``source`` on the public ``text`` for ``rounds`` releases.

    ``until`` is the height at which these are over, once that of the branch is known. ``adapters`` are the teacher's,
    once they are here: it stays the same model for the whole wish. ``steps``: of a round; 0: as set.
    """

    source: Annotated[str, Length(1, 300)]
    branch: Annotated[str, Length(1, 300)]
    text: Annotated[str, Length(1, 4_096)]
    steps: Annotated[int, Between(0, 1_000_000)]
    temperature: Annotated[float, Between(0.1, 100.0)]
    rounds: Annotated[int, Between(1, 1_000_000)]
    until: Annotated[int, Between(0, 2**41)] | None = None
    adapters: Annotated[tuple[Digest, ...], Length(0, 16)] | None = None

    def encode(self) -> bytes:
        """Canonical msgpack."""
        return to_bytes(self)

    @classmethod
    def restore(cls, state: Mapping[str, bytes]) -> Distillation | None:
        """The wish from before a restart; one that cannot be read is none."""
        with suppress(Refused, KeyError):
            return from_plain(cls, canonical.decode(state[KEY], max_bytes=MAX_BYTES, floats=True))
        return None

    def is_due(self, branch: str, height: int) -> bool:
        """Whether the next training of ``branch``, now at ``height``, is to be by the teacher."""
        return branch == self.branch and (self.until is None or height < self.until)

    def status(self) -> dict[str, object]:
        """What is learnt from whom, JSON-ready."""
        here = self.adapters is not None
        return {
            "source": self.source,
            "branch": self.branch,
            "text": self.text,
            "until": self.until,
            "here": here,
        }

    @property
    def teacher(self) -> Teacher | None:
        """Whom to learn from; None until its adapters are here."""
        return None if self.adapters is None else Teacher(self.source, self.adapters, self.temperature)


def check_wish(request: DistillRequest, charter: Charter, branches: Sequence[str]) -> None:
    """Raises :class:`BadRequest` for a wish that cannot come true, saying why. ``branches`` are those that this node
    knows of."""
    for path in (request.source, request.target):
        check_known(path, branches, charter.name)
    if request.source == request.target:
        raise BadRequest(f"{request.target} cannot learn from itself", "Name another branch with --from")
    if charter.round.coordination == "gossip":
        raise BadRequest(
            "This network has no releases to learn from: its nodes mix their models",
            "Distil in a network with committees",
        )
    path = Path(request.text)
    try:
        if not path.is_absolute() or not path.exists():
            raise BadRequest(f"There is no text at {request.text}", "Give a file or a folder of them")
        files_of([path])
    except BadRequest:
        raise
    except BanyanError as error:
        raise BadRequest(error.what, error.cure) from error
