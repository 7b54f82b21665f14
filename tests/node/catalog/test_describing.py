"""The sheet of a card: what is said, what is kept from before, what the path tells."""

import json
from pathlib import Path

import pytest

from banyan.node.assets import base_model_path
from banyan.node.catalog.describing import DescriptionError, Words, base_of, sheet
from banyan.node.learning.base_model import fingerprint
from banyan.protocol.card import Sheet
from banyan.security.schema import from_plain
from banyan.simulations.world import World


@pytest.fixture(scope="module")
def base():
    return base_of(base_model_path() / "config.json", fingerprint(base_model_path()))


@pytest.fixture(scope="module")
def charter():
    return World(1, {"/": 1, "/de/recht": 1}).charter


def read(text):
    plain = json.loads(text)
    plain["base"]["digest"] = bytes.fromhex(plain["base"]["digest"])
    return from_plain(Sheet, plain)


def test_without_words_the_path_says_language_and_subject(charter, base):
    said = read(sheet("/de/civil_law", Words(), None, charter, base, ()))
    assert (said.languages, said.domains) == (("de",), ("civil law",))
    assert read(sheet("/", Words(), None, charter, base, ())).languages == ()
    assert read(sheet("/garden", Words(), None, charter, base, ())).domains == ("garden",)


def test_what_is_not_said_again_stays(charter, base):
    words = Words(title="Recht", languages=("de",), license="mit")
    first = read(sheet("/de/recht", words, None, charter, base, ()))
    later = read(sheet("/de/recht", Words(title="Zivilrecht", tasks=("chat",)), first, charter, base, ()))
    assert (later.title, later.languages, later.license, later.tasks) == (
        "Zivilrecht",
        ("de",),
        "mit",
        ("chat",),
    )


def test_the_adapters_sizes_are_the_charters(charter, base):
    said = read(sheet("/", Words(), None, charter, base, ()))
    assert (said.adapter_rank, said.adapter_parameters) == (charter.adapter.rank, charter.adapter.dimension)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"hidden_size": "wide"}', '{"hidden_size": 16, "num_attention_heads": 0}']
)
def test_a_base_model_without_its_sizes_is_an_error_in_words(tmp_path: Path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DescriptionError, match="cannot be read"):
        base_of(tmp_path / "config.json", fingerprint(base_model_path()))


def test_heads_without_keys_of_their_own_and_missing_widths_take_the_usual_ones(tmp_path: Path):
    config = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 100}
    (tmp_path / "config.json").write_text(json.dumps(config))
    base = base_of(tmp_path / "config.json", fingerprint(base_model_path()))
    assert (base.kv_width, base.intermediate, base.context) == (64, 256, 2_048)
