"""Free text becomes a need, the same one every time."""

import pytest

from banyan.node.catalog.sizes import in_words, size_of
from banyan.node.catalog.subjects import subjects
from banyan.node.catalog.understand import understand


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a German model for tax returns", {"languages": ("de",), "domains": ("tax",), "written_in": "en"}),
        ("Hilfe bei der Steuererklärung", {"languages": (), "domains": ("tax",), "written_in": "de"}),
        ("un modelo en francés para recetas", {"languages": ("fr",), "domains": ("cooking",)}),
        (
            "un modèle allemand pour les impôts",
            {"languages": ("de",), "domains": ("tax",), "written_in": "fr"},
        ),
        ("teach me about the French revolution", {"languages": (), "domains": ("school", "history")}),
        (
            "my patients speak Spanish, I need medical answers",
            {"languages": ("es",), "domains": ("medicine",)},
        ),
        ("I speak English and like to cook", {"languages": (), "domains": ("cooking",)}),
        ("translate from German to Spanish", {"languages": ("de", "es"), "tasks": ("translation",)}),
        ("Übersetzung ins Englische", {"languages": ("en",), "tasks": ("translation",)}),
        ("cardiolgy", {"domains": ("cardiology",)}),
        ("Gemüsebeet", {"domains": ("vegetables",)}),
    ],
)
def test_languages_and_subjects_are_found_in_what_is_said(text, said):
    need = understand(text)
    assert {name: getattr(need, name) for name in said} == said


@pytest.mark.parametrize(
    ("text", "memory", "disk"),
    [
        ("runs in 4 GB", 4_000_000_000, None),
        ("with 512MB of RAM", 512_000_000, None),
        ("1,5 Go de mémoire", 1_500_000_000, None),
        ("8 GB Speicher, 20 GB Festplatte", 8_000_000_000, 20_000_000_000),
        ("at most 3 GB of disk", None, 3_000_000_000),
        ("in 2026 for 4 people", None, None),
        ("0 GB", None, None),
    ],
)
def test_sizes_are_memory_unless_a_disk_is_named(text, memory, disk):
    need = understand(text)
    assert (need.memory, need.disk) == (memory, disk)


@pytest.mark.parametrize(
    ("text", "license"),
    [
        ("a model I may use commercially", "commercial"),
        ("MIT licensed, please", "mit"),
        ("ein Modell mit Rezepten", None),
        ("Apache license", "apache"),
        ("GPL-3.0", "gpl-3.0"),
        ("for non-commercial use", None),
        ("cc by-nc is fine", "cc-by-nc"),
    ],
)
def test_a_license_is_a_name_or_commercial_use(text, license):
    assert understand(text).license == license


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("fine-tune it on my notes", "train"),
        ("train a model on our tickets", "train"),
        ("auf eigenen Daten trainieren", "train"),
        ("entrenar con mis textos", "train"),
        ("entraîner sur mes notes", "train"),
        ("a training plan for the gym", "run"),
        ("train timetables", "run"),
    ],
)
def test_training_a_model_is_told_from_training_for_a_race(text, use):
    assert understand(text).use == use


@pytest.mark.parametrize(
    ("text", "private", "prefers"),
    [
        ("everything must stay on my laptop", True, None),
        ("die Daten sind vertraulich", True, None),
        ("sin internet y rápido", True, "speed"),
        ("the best there is", False, "quality"),
        ("the best and the fastest: fast", False, None),
    ],
)
def test_privacy_and_what_matters_more(text, private, prefers):
    need = understand(text)
    assert (need.private, need.prefers) == (private, prefers)


@pytest.mark.parametrize(
    "text", ["", " ", "???", "\x00", "🌱" * 900, "a" * 10_000, "1" * 5_000 + " GB", "ß" * 4_001]
)
def test_what_says_nothing_is_an_empty_need(text):
    need = understand(text)
    assert (need.languages, need.domains, need.memory, need.use) == ((), (), None, "run")


def test_every_word_of_a_subject_finds_it():
    known = subjects()
    for text, subject in (
        ("income tax", "tax"),
        ("erste hilfe", "first_aid"),
        ("primeros auxilios", "first_aid"),
        ("code de la route", "traffic_law"),
    ):
        assert known.found(text.split())[subject] == 1.0
    assert list(known.above("cardiology")) == ["medicine"]


def test_what_is_part_of_a_subject_serves_better_than_its_neighbour():
    known = subjects()
    same, part, whole = (known.related("medicine", each) for each in ("medicine", "cardiology", "law"))
    assert same > part > whole == 0.0
    assert known.related("cardiology", "medicine") > known.related("cardiology", "pharmacy") > 0.0


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 * 10**9), ("800 mb", 8 * 10**8), ("4", None), ("lots", None)]
)
def test_a_size_is_a_number_with_its_unit(text, size):
    assert size_of(text) == size


def test_sizes_are_said_in_the_unit_that_suits():
    assert (in_words(7_140_000_000), in_words(512_000_000)) == ("7.1 GB", "512 MB")
