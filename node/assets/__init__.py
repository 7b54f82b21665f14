"""What the package carries for its first minute: a tiny base model and small corpora, so that a demo needs no download.

Both are made for this project and described in `README.md` beside this module.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def base_model_path() -> Path:
    """The folder of the embedded base model: a transformers `LlamaForCausalLM` with its tokenizer.

    Raises :class:`FileNotFoundError` if this installation lacks it.
    """
    return _folder("base")


def corpora_path() -> Path:
    """The folder of the embedded corpora, one `<domain>/<subdomain>.jsonl` a leaf.

    A row is `{"prompt", "response", "client", "split"}`: `client` is the natural owner of the row, for shares that
    differ in topic; `split` is `train` or `test`. Raises :class:`FileNotFoundError` if this installation lacks it.
    """
    return _folder("corpora")


def _folder(name: str) -> Path:
    # A package inside a zip file has no folders; Banyan's needs one, because models are loaded by path.
    path = Path(str(files(__name__).joinpath(name)))
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path} is missing. This installation is incomplete: install banyan-fl again."
        )
    return path
