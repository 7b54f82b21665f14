"""An assistant over the small catalog of the catalog's own tests, and a conversation with it."""

import pytest
from tests.node.catalog.conftest import NOW, device, garden, listing

from banyan.node.assistant.dialogue import Assistant
from banyan.node.assistant.state import Dialogue, Edited, Said
from banyan.node.catalog.recommender import Recommender

__all__ = ["garden"]

GB = 1_000_000_000


class Conversation:
    """Turns taken one after the other; ``state`` and ``answer`` are the last."""

    def __init__(self, listings, memory=8 * GB):
        self.assistant = Assistant(listings, Recommender(listings, now=NOW), device(memory))
        self.state, self.answer = Dialogue(), None

    def begin(self):
        return self._take(None)

    def say(self, text):
        return self._take(Said(text=text))

    def edit(self, edit):
        return self._take(Edited(edit=edit))

    def _take(self, turn):
        self.state, self.answer = self.assistant.turn(self.state, turn)
        return self.answer

    @property
    def chips(self):
        return [chip.id for chip in self.answer.chips]

    @property
    def asks(self):
        return self.answer.question.topic if self.answer.question else None

    @property
    def offered(self):
        return [offer.path for offer in self.answer.offers]

    @property
    def does(self):
        return [action.command for action in self.answer.actions]


@pytest.fixture(scope="session")
def grove(garden):
    """The garden with branches below and beside its own, so that more is worth asking."""
    return [
        *garden,
        listing("/en/medical/first_aid", base="small", domains="first aid, emergency"),
        listing("/de/medizin", languages="de", domains="medizin", title="Medizin"),
        listing("/en/poetry", base="small", domains="poetry, verse", license="cc-by-nc-4.0", contributors=30),
        listing("/en/verses", base="small", domains="poetry, verse", contributors=3),
    ]


@pytest.fixture
def conversation(grove):
    """With somebody whose device has 8 GB of free memory."""
    return Conversation(grove)
