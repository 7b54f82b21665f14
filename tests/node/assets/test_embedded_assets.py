"""What the package ships for its first minute is whole, small, clean and usable without a network."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banyan.node.assets import base_model_path, corpora_path
from banyan.node.learning import base_model
from banyan.node.learning.base_model import LoadedModel
from banyan.node.learning.dataset import load_dataset

LEAVES = sorted(corpora_path().rglob("*.jsonl"))
NAMES = [path.relative_to(corpora_path()).with_suffix("").as_posix() for path in LEAVES]


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def words(row: dict[str, str]) -> set[str]:
    return set(re.findall(r"\w+", row["response"].lower()))


def model_bytes() -> int:
    return sum(path.stat().st_size for path in base_model_path().iterdir())


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return base_model.load(base_model_path(), "cpu")


def test_there_are_at_least_two_domains_and_four_leaves() -> None:
    assert len({path.parent for path in LEAVES}) >= 2
    assert len(LEAVES) >= 4
    assert NAMES == ["garden/soil", "garden/vegetables", "health/first_aid", "health/nutrition"]


@pytest.mark.parametrize("leaf", LEAVES, ids=NAMES)
def test_a_leaf_has_enough_rows_of_enough_owners(leaf: Path) -> None:
    owners = Counter(row["client"] for row in rows(leaf))
    assert owners.total() >= 120
    assert len(owners) >= 6
    assert min(owners.values()) >= 15


@pytest.mark.parametrize("leaf", LEAVES, ids=NAMES)
def test_every_row_is_complete_and_short(leaf: Path) -> None:
    for row in rows(leaf):
        assert row.keys() == {"prompt", "response", "client", "split"}
        assert all(value == value.strip() and value for value in row.values())
        assert row["split"] in {"train", "test"}
        assert row["response"].endswith(".")
        assert len(row["response"]) < 400


@pytest.mark.parametrize("leaf", LEAVES, ids=NAMES)
def test_every_owner_keeps_some_rows_apart(leaf: Path) -> None:
    held_out = Counter(row["client"] for row in rows(leaf) if row["split"] == "test")
    assert set(held_out) == {row["client"] for row in rows(leaf)}
    assert set(held_out.values()) == {4}


def test_no_prompt_or_response_appears_twice() -> None:
    every = [row for leaf in LEAVES for row in rows(leaf)]
    for field in ("prompt", "response"):
        assert [text for text, times in Counter(row[field] for row in every).items() if times > 1] == []


def test_no_two_responses_are_nearly_the_same() -> None:
    every = [words(row) for leaf in LEAVES for row in rows(leaf)]
    for i, left in enumerate(every):
        for right in every[:i]:
            assert len(left & right) < 0.5 * len(left | right), left


def test_owners_of_a_leaf_use_different_words() -> None:
    """Seven letters or more leave out the manner that owners share and keep their subjects."""
    for leaf in LEAVES:
        vocabulary: dict[str, set[str]] = {}
        for row in rows(leaf):
            vocabulary.setdefault(row["client"], set()).update(w for w in words(row) if len(w) >= 7)
        owners = list(vocabulary.values())
        for i, left in enumerate(owners):
            for right in owners[:i]:
                assert len(left & right) < 0.25 * len(left | right)


@pytest.mark.parametrize("leaf", LEAVES, ids=NAMES)
def test_the_node_reads_a_leaf_and_keeps_its_test_rows_apart(leaf: Path) -> None:
    dataset = load_dataset([leaf])
    assert len(dataset.held_out) == sum(row["split"] == "test" for row in rows(leaf))
    assert len(dataset.training) + len(dataset.held_out) == len(rows(leaf))


def test_the_base_model_is_at_most_four_megabytes() -> None:
    assert model_bytes() <= 4_000_000


def test_the_base_model_holds_data_only() -> None:
    names = {path.name for path in base_model_path().iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    } <= names
    assert {Path(name).suffix for name in names} <= {".json", ".jinja", ".md", ".safetensors"}


def test_the_card_says_what_the_model_is_and_its_license() -> None:
    text = (base_model_path() / "README.md").read_text("utf-8")
    assert "knows format, not facts" in text
    assert "nan" not in text.lower().split()
    fingerprint = base_model.fingerprint(base_model_path())
    assert (fingerprint.license, fingerprint.architecture) == ("apache-2.0", "LlamaForCausalLM")
    assert f"{fingerprint.parameters:,}" in text


def test_everything_shipped_can_be_read_by_every_user() -> None:
    for folder in (base_model_path(), corpora_path()):
        assert all(path.stat().st_mode & 0o044 == 0o044 for path in folder.rglob("*") if path.is_file())


def test_the_model_loads_and_goes_on_with_an_answer(loaded: LoadedModel) -> None:
    tokenizer = loaded.tokenizer
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Why is the sky blue?"}], tokenize=False, add_generation_prompt=True
    )
    asked = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    made = loaded.model.generate(**asked, max_new_tokens=12, do_sample=False)
    answer = tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    assert re.search(r"[A-Za-z]{2,} [a-z]", answer)


def test_the_chat_template_marks_both_speakers_and_the_end(loaded: LoadedModel) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert loaded.tokenizer.apply_chat_template(turns, tokenize=False) == "<s><|user|>a<|assistant|>b</s>"


def test_the_model_expects_english_more_than_noise(loaded: LoadedModel) -> None:
    def loss(text: str) -> float:
        ids = loaded.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        return float(loaded.model(input_ids=ids, labels=ids).loss)

    sentence = "Return the name of the file and the number of the line."
    assert loss(sentence) < 0.7 * loss(" ".join(sorted(sentence.split(), key=lambda word: word[::-1])))


@settings(max_examples=150, deadline=None)
@given(text=st.text())
def test_the_tokenizer_returns_any_text_unchanged(loaded: LoadedModel, text: str) -> None:
    ids = loaded.tokenizer.encode(text, add_special_tokens=False)
    assert loaded.tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    "text", ["naïve café 12 °C", "榕树的根", "شجرة البانيان", "🌳\u200d\n\t  spaces ", "\x00\x7f"]
)
def test_the_tokenizer_needs_no_unknown_token(loaded: LoadedModel, text: str) -> None:
    assert loaded.tokenizer.unk_token is None
    assert loaded.tokenizer.decode(loaded.tokenizer.encode(text, add_special_tokens=False)) == text
