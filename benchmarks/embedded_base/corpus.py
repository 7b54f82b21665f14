"""The text the embedded base model is trained on: documentation inside Python itself, and rows of our own.

Nothing is downloaded. Three sources, each deterministic for one Python installation:

- *prose*: docstrings of the standard library (read with `ast`, never imported) and its longer comments,
  docstrings of the modules built into the interpreter, the topics of `help()`, and the Zen of Python.
  Hard-wrapped lines are joined, and paragraphs that are code, tables or doctests are dropped, so that what is
  left reads as sentences.
- *definitions*: "What does textwrap.dedent do?" with the first paragraph of its docstring as the answer:
  thousands of prompt/response rows that teach the shape of a conversation.
- *general*: `general.jsonl`, prompt/response rows about everyday things, written for this project. They share
  no topic with the corpora in `node/assets/corpora`, which the base model must never have seen.

A document belongs to the held-out part when its hash says so (1 in 20), whatever the order of the sources.
"""

from __future__ import annotations

import ast
import codecs
import hashlib
import importlib
import inspect
import json
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GENERAL = Path(__file__).with_name("general.jsonl")

HELD_OUT_ONE_IN = 20

# Left out: folders that distributions move or strip, and the test suite, whose docstrings say nothing.
SKIPPED_FOLDERS = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "ensurepip"}
)

BUILT_IN_MODULES = ("builtins", "itertools", "math", "time", "errno", "sys", "gc", "marshal", "_thread")

_SENTENCE = re.compile(r"[A-Za-z][a-z]+ [a-z]+ ")
_MARKUP = re.compile(r"^(>>>|\.\.\.|[-=+*#|/\\]{2,}|\.\. |:\w+|@|\||\$)")


@dataclass(frozen=True)
class Row:
    """One prompt/response pair."""

    prompt: str
    response: str


@dataclass(frozen=True)
class Corpus:
    """Everything one training run reads, already split by hash.

    `prose` and `held_out_prose` are running texts; the rows are shown to the model through its chat template.
    """

    prose: tuple[str, ...]
    definitions: tuple[Row, ...]
    general: tuple[Row, ...]
    held_out_prose: tuple[str, ...]
    held_out_definitions: tuple[Row, ...]
    held_out_general: tuple[Row, ...]

    def fingerprint(self) -> str:
        """Hex sha256 over every document in order: two installations with the same text train the same model."""
        digest = hashlib.sha256()
        for text in (*self.prose, *self.held_out_prose):
            digest.update(text.encode() + b"\0")
        for row in (*self.definitions, *self.general, *self.held_out_definitions, *self.held_out_general):
            digest.update(f"{row.prompt}\0{row.response}\0".encode())
        return digest.hexdigest()


def gather() -> Corpus:
    """Read all sources, drop repeated texts, and split them."""
    docstrings = sorted(set(_library_docstrings()) | set(_built_in_docstrings()))
    prose = _unique(
        text for _, docstring in docstrings if (text := _readable(docstring)) and len(text) >= 120
    )
    prose += _unique(_topics())
    prose += _unique(text for text in _library_comments() if len(text) >= 120)
    definitions = _unique_rows(_definitions(docstrings))
    general = general_rows()
    return Corpus(
        prose=tuple(text for text in prose if not _held_out(text)),
        definitions=tuple(row for row in definitions if not _held_out(row.prompt)),
        general=tuple(row for row in general if not _held_out(row.prompt)),
        held_out_prose=tuple(text for text in prose if _held_out(text)),
        held_out_definitions=tuple(row for row in definitions if _held_out(row.prompt)),
        held_out_general=tuple(row for row in general if _held_out(row.prompt)),
    )


def general_rows(path: Path = GENERAL) -> list[Row]:
    """The rows written for this project, in the order of the file."""
    lines = path.read_text("utf-8").splitlines()
    return [Row(row["prompt"], row["response"]) for row in map(json.loads, lines)]


def _held_out(text: str) -> bool:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % HELD_OUT_ONE_IN == 0


def _library_sources() -> Iterator[tuple[str, str]]:
    """(module name, source) of the standard library, in order of path."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS & set(relative.parts):
            continue
        try:
            source = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a few files keep an old encoding on purpose
        yield ".".join(relative.with_suffix("").parts).removesuffix(".__init__"), source


def _library_docstrings() -> Iterator[tuple[str, str]]:
    """(dotted name, docstring) of every module, class and function of the standard library's sources."""
    for module, source in _library_sources():
        yield from _docstrings_below(ast.parse(source), module)


def _library_comments() -> Iterator[str]:
    """Comments that run over at least three lines and read as sentences."""
    for _, source in _library_sources():
        for block in re.findall(r"(?:^[ \t]*#.*\n){3,}", source, re.MULTILINE):
            yield _readable("\n".join(line.strip().lstrip("#") for line in block.splitlines()))


def _docstrings_below(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str
) -> Iterator:
    docstring = ast.get_docstring(node)
    if docstring:
        yield name, docstring
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings_below(child, f"{name}.{child.name}")


def _built_in_docstrings() -> Iterator[tuple[str, str]]:
    """(dotted name, docstring) of what is written in C and so has no source to read."""
    for module_name in BUILT_IN_MODULES:
        module = importlib.import_module(module_name)
        for name, value in sorted(vars(module).items()):
            if name.startswith("_"):
                continue
            if docstring := inspect.getdoc(value):
                yield f"{module_name}.{name}", docstring
            if inspect.isclass(value):
                for member, attribute in sorted(vars(value).items()):
                    own = getattr(attribute, "__doc__", None)
                    if not member.startswith("_") and isinstance(own, str):
                        yield f"{name}.{member}", inspect.cleandoc(own)


def _topics() -> Iterator[str]:
    """The pages behind `help("if")`, and the Zen of Python."""
    topics = importlib.import_module("pydoc_data.topics").topics
    for name in sorted(topics):
        if len(text := _readable(topics[name])) >= 120:
            yield text
    # `this` prints when it is imported; its text lies in the source, in rot13.
    source = (Path(sysconfig.get_path("stdlib")) / "this.py").read_text("utf-8")
    constants = [str(node.value) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    yield codecs.decode(max(constants, key=len), "rot13")


def _definitions(docstrings: list[tuple[str, str]]) -> Iterator[Row]:
    for name, docstring in docstrings:
        public = not any(part.startswith("_") for part in name.split("."))
        first = _paragraphs(docstring)[:1]
        if public and first and 30 <= len(first[0]) <= 320 and first[0].endswith("."):
            yield Row(f"What does {name} do?", first[0])


def _readable(text: str) -> str:
    return "\n".join(_paragraphs(text))


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of `text` that are sentences, each on one line."""
    found = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line.strip() for line in block.splitlines() if line.strip()]
        if not lines or any(_MARKUP.match(line) for line in lines):
            continue
        joined = re.sub(r"\s+", " ", " ".join(lines))
        letters = sum(c.isalpha() or c == " " for c in joined)
        if _SENTENCE.search(joined) and letters >= 0.85 * len(joined):
            found.append(joined)
    return found


def _unique(texts: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _unique_rows(rows: Iterator[Row]) -> list[Row]:
    """One row an answer: methods that share an inherited docstring would otherwise repeat it."""
    return list({row.response: row for row in rows}.values())


if __name__ == "__main__":
    corpus = gather()
    letters = sum(map(len, corpus.prose)) + sum(len(r.prompt) + len(r.response) for r in corpus.definitions)
    print(
        f"{len(corpus.prose)} texts, {len(corpus.definitions)} definitions, {len(corpus.general)} general rows"
    )
    print(
        f"{letters / 1e6:.2f} M characters, fingerprint {corpus.fingerprint()}, Python {sys.version.split()[0]}"
    )
