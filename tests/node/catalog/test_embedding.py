"""A sentence model in a folder, made here: tiny and random, but loaded and pooled like any other."""

import numpy as np
import pytest
from tests.node.catalog.conftest import NOW, device

from banyan.node.catalog.embedding import EmbeddingError, SentenceModel
from banyan.node.catalog.recommender import Recommender
from banyan.node.catalog.understand import understand


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("sentences")
    letters = {
        letter: number for number, letter in enumerate(["[PAD]", "[UNK]", *"abcdefghijklmnopqrstuvwxyz "])
    }
    inner = Tokenizer(models.WordLevel(letters, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        place
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(letters),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        )
        BertModel(config).save_pretrained(place)
    return place


def test_vectors_are_unit_means_that_padding_does_not_change(folder):
    model = SentenceModel(folder)
    together = model.embed(["heart", "a much longer text about something else", ""])
    assert together.shape == (3, 16)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together[:2], axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(model.embed(["heart"])[0], together[0], atol=1e-5)
    assert model.embed([]).shape == (0, 0)
    assert model.embed(["z" * 10_000]).shape == (1, 16)


def test_with_it_nothing_that_cannot_be_is_offered_either(folder, garden):
    recommender = Recommender(garden, now=NOW, embedder=SentenceModel(folder))
    answer = recommender.recommend(understand("a German tax model"), device(8_000_000_000))
    assert answer.offers[0].listing.path == "/de/steuern"
    assert all("de" in offer.listing.languages for offer in answer.offers)


def test_a_folder_without_a_model_is_an_error_in_words(tmp_path):
    with pytest.raises(EmbeddingError, match=r"unset catalog\.embedding"):
        SentenceModel(tmp_path)
