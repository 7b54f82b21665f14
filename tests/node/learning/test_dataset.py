"""Reading rows and keeping some of them apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.node.learning.dataset import ROW_BYTES, Row, load_dataset, read_rows, split
from banyan.node.learning.errors import DataError

Write = Callable[..., Path]

REPOSITORY = Path(__file__).resolve().parents[3]
CORPORA = REPOSITORY / "../shared/corpora"


def text(content: str, mark: str = "") -> Row:
    return Row((("", content),), mark)


def test_the_three_kinds_of_row_are_read(write_rows: Write) -> None:
    path = write_rows(
        [
            {"text": "plain"},
            {"prompt": "p", "response": "r", "client": "x", "split": "train"},
            {"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}]},
        ]
    )
    plain, pair, talk = read_rows(path)
    assert plain.is_text
    assert plain.turns == (("", "plain"),)
    assert pair.turns == (("user", "p"), ("assistant", "r"))
    assert pair.split == "train"
    assert talk.turns == (("system", "s"), ("assistant", "a"))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ('"text"', "not a JSON object"),
        ("{}", "no text"),
        ('{"text": 3}', "text must be text"),
        ('{"text": " "}', "text is empty"),
        ('{"prompt": "p"}', "no response"),
        ('{"response": "r"}', "no prompt"),
        ('{"prompt": "p", "response": null}', "no response"),
        ('{"messages": []}', "at least one message"),
        ('{"messages": [{"role": "user", "content": "u"}]}', "nothing to learn"),
        ('{"messages": [{"role": "robot", "content": "u"}]}', "role must be"),
        ('{"messages": ["hello"]}', "must be an object"),
        ('{"text": "\\ud800"}', "not valid Unicode"),
        ("[" * 100_000, "not a JSON object"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text('{"text": "fine"}\n\n' + line + "\n", "utf-8")
    with pytest.raises(DataError, match=problem) as caught:
        list(read_rows(path))
    assert (caught.value.file, caught.value.line) == (str(path), 3)
    assert f"{path}, line 3" in str(caught.value)


def test_bytes_that_are_no_utf8_are_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"text": "caf\xe9"}\n')
    with pytest.raises(DataError, match="line 1"):
        list(read_rows(path))


def test_a_row_longer_than_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_bytes(b'{"text": "' + b"a" * ROW_BYTES)
    with pytest.raises(DataError, match=r"line 1: the row is longer"):
        list(read_rows(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.jsonl: there is no such file"):
        load_dataset([tmp_path / "gone.jsonl"])


def test_a_folder_gives_every_file_below_it(write_rows: Write, tmp_path: Path) -> None:
    write_rows([{"text": f"a{i}"} for i in range(20)], "data/one.jsonl")
    write_rows([{"text": f"b{i}"} for i in range(20)], "data/deep/two.jsonl")
    dataset = load_dataset([tmp_path / "data"])
    assert len(dataset.training) + len(dataset.held_out) == 40


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file in this folder that can be read"):
        load_dataset([tmp_path])


def test_marked_rows_are_held_out_and_then_only_those() -> None:
    rows = [text(f"{i}", "train") for i in range(50)] + [text("x", "test"), text("y", "validation")]
    dataset = split(rows)
    assert {row.turns[0][1] for row in dataset.held_out} == {"x", "y"}
    assert len(dataset.training) == 50


def test_pretrain_rows_are_dropped_only_where_asked(write_rows: Write) -> None:
    path = write_rows(
        [{"text": f"{i}", "split": "pretrain" if i % 2 else "train"} for i in range(20)]
        + [{"text": "t", "split": "test"}]
    )
    assert len(load_dataset([path]).training) == 20
    assert len(load_dataset([path], use_pretrain_rows=False).training) == 10


def test_about_a_tenth_is_held_out_by_content() -> None:
    dataset = split([text(f"row {i}") for i in range(2000)])
    assert 150 <= len(dataset.held_out) <= 250


@given(st.lists(st.text(min_size=1, max_size=3), min_size=2, max_size=40), st.randoms())
def test_the_split_depends_on_content_alone_and_nothing_straddles_it(contents: list[str], random) -> None:
    rows = [text(content) for content in contents]
    dataset = split(rows)
    shuffled = rows + rows[:3]
    random.shuffle(shuffled)
    again = split(shuffled)
    assert {row.content for row in again.held_out} == {row.content for row in dataset.held_out}
    assert not {row.content for row in dataset.held_out} & {row.content for row in dataset.training}
    assert dataset.training
    assert len(set(contents)) == 1 or dataset.held_out


def test_content_that_is_held_out_anywhere_is_trained_on_nowhere() -> None:
    dataset = split([text("same", "train"), text("same", "test"), text("other", "train")])
    assert [row.turns[0][1] for row in dataset.training] == ["other"]


def test_extra_fields_do_not_make_another_row(write_rows: Write) -> None:
    one, two = read_rows(
        write_rows([{"text": "t", "client": 1}, {"text": "t", "doc": "d", "split": "train"}])
    )
    assert one.content == two.content


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the shared corpora are not on this machine")
def test_real_rows_are_read_and_their_split_is_honoured() -> None:
    manifest = {leaf["leaf"]: leaf for leaf in json.loads((CORPORA / "MANIFEST.json").read_text())}
    expected = manifest["en/medical/heart_lung"]["splits"]
    dataset = load_dataset([CORPORA / "en/medical/heart_lung.jsonl"], use_pretrain_rows=False)
    assert len(dataset.held_out) <= expected["test"]
    assert 0 < len(dataset.training) <= expected["train"]
