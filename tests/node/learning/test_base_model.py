"""Describing a base model without torch, and loading it safely."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from banyan.node.learning import base_model
from banyan.node.learning.errors import ModelError
from banyan.security.model import BaseModel

SHARED = Path(__file__).resolve().parents[3] / "../shared/models"


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


def test_the_fingerprint_names_files_architecture_and_parameters(tiny_model: Path) -> None:
    found = base_model.fingerprint(tiny_model, "tiny")
    model = base_model.load(tiny_model, "cpu").model
    assert isinstance(found, BaseModel)
    assert found.architecture == "LlamaForCausalLM"
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {entry.name for entry in found.files}
    base_model.check_fingerprint(tiny_model, found)


def test_a_readme_changes_no_model_but_its_license_is_named(copy: Path) -> None:
    before = base_model.fingerprint(copy, "m")
    (copy / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A card\n")
    after = base_model.fingerprint(copy, "m")
    assert after.digest == before.digest
    assert (before.license, after.license) == ("unknown", "apache-2.0")


def test_a_changed_or_missing_file_is_named(copy: Path) -> None:
    expected = base_model.fingerprint(copy, "m")
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"model\.safetensors in .* is not the file"):
        base_model.check_fingerprint(copy, expected)
    weights.unlink()
    with pytest.raises(ModelError, match=r"lacks model\.safetensors"):
        base_model.check_fingerprint(copy, expected)


def test_the_targets_are_the_linear_layers_of_the_real_model(tiny_model: Path) -> None:
    found = {t.name: (t.rows_out, t.cols_in) for t in base_model.target_tensors(tiny_model)}
    model = base_model.load(tiny_model, "cpu").model
    real = {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
    }
    assert found == real
    chosen = base_model.target_tensors(tiny_model, ("q_proj", "v_proj"))
    assert {t.name.rsplit(".", 1)[1] for t in chosen} == {"q_proj", "v_proj"}
    with pytest.raises(ModelError, match="no query or key"):
        base_model.target_tensors(tiny_model, ("query", "key"))


def test_pickled_weights_are_never_read(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ModelError, match="no safetensors weights"):
        base_model.fingerprint(copy)
    with pytest.raises(ModelError, match="cannot be loaded"):
        base_model.load(copy, "cpu")


def test_a_models_own_code_is_never_run(copy: Path, tmp_path: Path) -> None:
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(
        config.replace(
            '"model_type": "llama"', '"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}'
        )
    )
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(ModelError, match="need no code of its own"):
        base_model.load(copy, "cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_folder_that_is_no_model_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match="not a model folder"):
        base_model.fingerprint(tmp_path)


def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(tiny_model: Path) -> None:
    assert base_model.locate(str(tiny_model)) == tiny_model
    for name in ("./gone", "a/b/c", "nothing"):
        with pytest.raises(ModelError, match="no model folder"):
            base_model.locate(name)


def test_a_loaded_model_is_frozen_and_in_float32_on_the_cpu(tiny_model: Path) -> None:
    loaded = base_model.load(tiny_model, "cpu")
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.model.dtype == torch.float32


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared models are not on this machine")
@pytest.mark.parametrize("name", ["stories-260k", "babyllama-1m", "base-4m"])
def test_real_models_are_described(name: str) -> None:
    found = base_model.fingerprint(SHARED / name)
    assert found.name == name
    assert len(base_model.target_tensors(SHARED / name)) % 7 == 0


def test_describing_a_model_needs_no_torch(tiny_model: Path) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from banyan.node.learning import adapter_spec, base_model, dataset, export;"
        f"base_model.fingerprint(Path({str(tiny_model)!r}));"
        f"adapter_spec.design_adapter(Path({str(tiny_model)!r}), seed=1, rank=2);"
        "print(sorted({'torch', 'transformers', 'peft', 'flwr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
