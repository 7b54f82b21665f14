"""The assistant of a running node speaks about the cards that the node holds at that moment."""

import pytest
from tests.node.catalog.conftest import device, garden, listing

from banyan.node.assistant.sessions import AssistantRequest
from banyan.node.daemon.advising import Advising
from banyan.node.settings import Catalog

__all__ = ["garden"]


@pytest.fixture
def cards(garden):
    return [card.model_dump() for card in garden]


@pytest.fixture
def advising(cards, tmp_path):
    return Advising(tmp_path, Catalog(), lambda: cards, lambda folder: device(8_000_000_000))


async def test_a_conversation_goes_on_over_requests_and_is_plain_json(advising):
    first = await advising.answer(AssistantRequest(session="one", text="cooking recipes in English"))
    assert first["offers"][0]["path"] == "/en/cooking"
    then = await advising.answer(AssistantRequest(session="one", text="yes"))
    assert then["actions"] == [{"do": "clone", "branch": "/en/cooking", "data": None, "private": False}]
    assert then["commands"] == ["banyan clone /en/cooking"]


async def test_a_card_that_arrives_is_offered_from_the_next_turn_on(advising, cards):
    wish = AssistantRequest(session="one", text="chess openings in English")
    assert "/en/chess" not in [offer["path"] for offer in (await advising.answer(wish))["offers"]]
    cards.append(listing("/en/chess", domains="chess", title="Chess openings").model_dump())
    answer = await advising.answer(AssistantRequest(session="one"))
    assert "/en/chess" in [offer["path"] for offer in answer["offers"]]
