"""A base model is data: what could run, or is larger than it should be, is refused before it is fetched or loaded."""

import hashlib
import json
import shutil

import pytest

from banyan.node.learning.base_manifest import MIB, check_content, check_manifest
from banyan.node.learning.base_model import fingerprint
from banyan.node.learning.errors import ModelError
from banyan.security.model import BaseModel, FileEntry


def model(*files):
    entries = [FileEntry(name, size, hashlib.sha256(name.encode()).digest()) for name, size in files]
    return BaseModel.of("a model", entries, parameters=1, architecture="X", license="")


WHOLE = (("config.json", 100), ("model.safetensors", 5 << 32))


def test_weights_of_any_size_with_a_tokenizer_are_a_base_model():
    check_manifest(model(*WHOLE, ("tokenizer.json", 9 * MIB), ("merges.txt", 9), ("chat_template.jinja", 9)))


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        (("pytorch_model.bin", 9), "pytorch_model.bin, which is no kind of file"),
        (("modeling_mine.py", 9), r"modeling_mine\.py, which is no kind of file"),
        (("weights.pkl", 9), r"weights\.pkl"),
        (("notes.txt", 9), r"notes\.txt"),
        (("chat_template.jinja", MIB + 1), "where 1,048,576 are allowed"),
        (("tokenizer.json", 257 * MIB), "tokenizer.json of a model has"),
    ],
)
def test_another_kind_of_file_or_a_larger_one_is_refused_by_name(extra, complaint):
    with pytest.raises(ModelError, match=complaint):
        check_manifest(model(*WHOLE, extra))


@pytest.mark.parametrize("missing", [0, 1])
def test_a_model_without_configuration_or_weights_is_refused(missing):
    with pytest.raises(ModelError, match="has no"):
        check_manifest(model(*(file for i, file in enumerate(WHOLE) if i != missing)))


@pytest.fixture
def folder(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "model")


def test_a_real_model_passes(folder):
    base = fingerprint(folder)
    check_manifest(base)
    check_content(folder, base)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_that_asks_for_code_to_be_run_is_refused(folder, name):
    plain = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(plain | {"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(ModelError, match=f"{name} of the base model asks for code"):
        check_content(folder, fingerprint(folder))


def test_what_is_not_what_its_name_says_is_refused(folder):
    base = fingerprint(folder)
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match=r"config\.json of the base model is not valid JSON"):
        check_content(folder, base)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelError, match="not a safetensors file"):
        check_content(folder, base)
