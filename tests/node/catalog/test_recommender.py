"""What cannot be is never offered, what is offered says why, and what would help is said where nothing fits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.node.catalog.conftest import NOW, device, listing

from banyan.node.catalog.memory import needed
from banyan.node.catalog.need import Need
from banyan.node.catalog.recommender import Recommender
from banyan.node.catalog.understand import understand
from banyan.node.catalog.weights import Weights


@pytest.fixture(scope="module")
def recommender(garden):
    return Recommender(garden, now=NOW)


def paths(answer):
    return [offer.listing.path for offer in answer.offers]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("income tax", "/en/tax"),
        ("Steuererklärung", "/de/steuern"),
        ("heart rhythm", "/en/medical/cardiology"),
        ("recetas de cocina", "/es/cocina"),
        ("a doctor's questions", "/en/medical"),
        ("hello", "/en"),
    ],
)
def test_the_branch_that_is_about_it_comes_first(recommender, text, first):
    assert paths(recommender.recommend(understand(text), device()))[0] == first


def test_at_most_as_many_are_offered_as_asked_for_and_the_best_first(recommender):
    answer = recommender.recommend(understand("medical questions"), device(), top=2)
    assert len(answer.offers) == 2
    assert answer.offers[0].score >= answer.offers[1].score


def test_what_does_not_fit_into_memory_is_left_out_with_the_reason(recommender):
    answer = recommender.recommend(understand("medical questions"), device(8_000_000_000))
    assert "/en/medical" not in paths(answer)
    (gone,) = [each for each in answer.left_out if each.path == "/en/medical"]
    assert gone.causes == ("memory",)
    assert "needs" in gone.reasons[0]
    assert "8.0 GB are there" in gone.reasons[0]
    assert any("/en/medical" in change for change in answer.changes)


def test_a_wish_for_more_memory_than_is_here_makes_nothing_fit_that_did_not(recommender):
    wish = Need(text="medical", domains=("medicine",), memory=10**12)
    assert "/en/medical" not in paths(recommender.recommend(wish, device(8_000_000_000)))


@pytest.mark.parametrize(
    ("need", "never"),
    [
        (Need(text="cooking", domains=("cooking",), languages=("es",)), "/en/cooking"),
        (Need(text="heart", domains=("cardiology",), license="commercial"), "/en/medical/cardiology"),
        (Need(text="heart", domains=("cardiology",), license="mit"), "/en/medical/cardiology"),
        (Need(text="medical", domains=("medicine",), tokens_per_second=20.0), "/en/medical"),
        (Need(text="medical", domains=("medicine",), disk=10**9), "/en/medical"),
        (Need(text="medical", domains=("medicine",), use="train"), "/en/medical"),
    ],
)
def test_a_condition_that_is_not_met_excludes(recommender, need, never):
    place = device(20_000_000_000)
    answer = recommender.recommend(need, place)
    assert never not in paths(answer)
    assert never in [each.path for each in answer.left_out]
    easy = need.model_copy(
        update={"languages": (), "license": None, "tokens_per_second": None, "disk": None, "use": "run"}
    )
    assert never in paths(recommender.recommend(easy, place))


def test_where_nothing_fits_it_says_what_would(recommender):
    answer = recommender.recommend(understand("a Spanish model for recipes in 500 MB"), device())
    assert answer.offers == ()
    assert any("memory" in change and "/es/cocina" in change for change in answer.changes)
    train = recommender.recommend(
        understand("train a Spanish model for recipes"), device(1_500_000_000, precisions=("float32",))
    )
    assert train.offers == ()
    assert any("can be run here" in change or "In bfloat16" in change for change in train.changes)


def test_int8_is_named_where_it_would_fit_and_never_offered(garden):
    recommender, place = Recommender(garden, now=NOW), device(12_000_000_000, precisions=("float32",))
    answer = recommender.recommend(understand("medical diagnosis"), place)
    assert any("In int8" in change and "/en/medical" in change for change in answer.changes)
    assert {offer.precision for offer in answer.offers} == {"float32"}


def test_a_language_that_nobody_speaks_here_is_said(recommender):
    answer = recommender.recommend(understand("a Finnish tax model"), device())
    assert answer.offers == ()
    assert answer.counts["language"] == len(answer.left_out) >= 2
    assert any("would fit if" in change for change in answer.changes)


def test_an_empty_catalog_says_that_it_is_empty():
    answer = Recommender([], now=NOW).recommend(understand("anything"), device())
    assert answer.offers == ()
    assert "empty" in answer.changes[0]


def test_a_card_without_words_is_found_by_its_path():
    bare = listing("/en/tax"), listing("/en/garden")
    answer = Recommender(bare, now=NOW).recommend(understand("income tax"), device())
    assert paths(answer) == ["/en/tax"]


def test_whoever_asks_in_a_language_is_first_offered_what_knows_it(recommender):
    answer = recommender.recommend(understand("Ich brauche Hilfe mit dem Herz"), device())
    assert answer.need.languages == ()
    for offer in answer.offers:
        if "de" not in offer.listing.languages:
            assert any("does not know de" in caution for caution in offer.cautions)


def test_every_offer_says_why_and_what_to_mind(recommender):
    (offer, *_) = recommender.recommend(understand("income tax"), device()).offers
    assert any("about tax" in reason for reason in offer.reasons)
    assert any("are there" in reason for reason in offer.reasons)
    assert any("10 contributors, 1 days old" in reason for reason in offer.reasons)
    assert any("checked when it is cloned" in caution for caution in offer.cautions)
    assert set(offer.shares) == {"match", "quality", "speed", "trust", "freshness"}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"contributors": 30}, {"contributors": 1}),
        ({"standing": "certified"}, {"standing": "claimed"}),
        ({"released": NOW}, {"released": NOW - 300 * 86_400_000}),
        ({"loss": 1.5}, {"loss": 3.0}),
    ],
)
def test_of_two_that_match_alike_the_better_comes_first(better, worse):
    pair = [listing("/en/a/tax", domains="tax", **worse), listing("/en/b/tax", domains="tax", **better)]
    answer = Recommender(pair, now=NOW).recommend(understand("tax"), device())
    assert paths(answer) == ["/en/b/tax", "/en/a/tax"]


def test_weights_decide_between_fast_and_good():
    pair = [
        listing("/en/a/tax", base="small", domains="tax"),
        listing("/en/b/tax", base="large", domains="tax"),
    ]
    for weights, first in (
        (Weights(quality=1.0, speed=0.0), "/en/b/tax"),
        (Weights(quality=0.0, speed=1.0), "/en/a/tax"),
    ):
        assert (
            paths(Recommender(pair, now=NOW, weights=weights).recommend(understand("tax"), device()))[0]
            == first
        )


class FirstLetters:
    """A sentence model that knows two words."""

    def embed(self, texts):
        import numpy as np

        meant = [[float("kiln" in text or "pottery" in text), 1e-6] for text in texts]
        vectors = np.array(meant, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_sentence_model_finds_what_words_do_not():
    pair = [listing("/en/a", domains="kiln firing"), listing("/en/b", domains="boats")]
    assert not Recommender(pair, now=NOW).recommend(understand("pottery"), device()).offers
    helped = Recommender(pair, now=NOW, embedder=FirstLetters()).recommend(understand("pottery"), device())
    assert paths(helped) == ["/en/a"]


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(max_size=60)
    | st.sampled_from(["tax in German", "cocina", "medical 4 GB", "MIT licensed heart"]),
    memory=st.integers(1, 30_000_000_000),
    disk=st.integers(0, 30_000_000_000),
    use=st.sampled_from(["run", "train"]),
    languages=st.lists(st.sampled_from(["en", "de", "es", "fi"]), max_size=2, unique=True),
    precisions=st.sampled_from([("float32",), ("bfloat16",), ("bfloat16", "float32")]),
)
def test_no_offer_ever_exceeds_the_device_or_lacks_a_language(
    recommender, text, memory, disk, use, languages, precisions
):
    place = device(memory, disk=disk, precisions=precisions)
    need = understand(text).model_copy(update={"use": use, "languages": tuple(languages)})
    for offer in recommender.recommend(need, place, top=50).offers:
        assert offer.precision in precisions
        assert (
            needed(offer.listing, use, offer.precision) == offer.memory <= min(memory, need.memory or memory)
        )
        assert offer.listing.download <= disk
        assert set(languages) <= set(offer.listing.languages)


def test_the_same_question_has_the_same_answer(recommender):
    once, again = (recommender.recommend(understand("a doctor"), device()) for _ in range(2))
    assert once == again
