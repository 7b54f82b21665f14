"""Every file of a watched folder is learnt once, whole, and only if it can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from banyan.node.learning.errors import DataError
from banyan.node.learning.watched_folder import Sight, Watched, WatchedFolder, look_at, read_file

A, B = b"a" * 32, b"b" * 32


def test_a_file_is_read_once_it_has_come_to_rest() -> None:
    folder = WatchedFolder(Watched())
    assert folder.look({"a": Sight(10, 1)}) == []
    assert folder.look({"a": Sight(20, 2)}) == []  # still being written
    assert folder.look({"a": Sight(20, 2)}) == ["a"]
    assert folder.judge("a", A)
    assert folder.look({"a": Sight(20, 2)}) == []


def rested(folder: WatchedFolder, **files: Sight) -> list[str]:
    folder.look(files)
    return folder.look(files)


def test_content_counts_once_whatever_its_name_and_even_when_it_returns() -> None:
    folder = WatchedFolder(Watched())
    assert rested(folder, a=Sight(1, 1), b=Sight(1, 2)) == ["a", "b"]
    assert [folder.judge("a", A), folder.judge("b", A)] == [True, False]
    assert rested(folder) == []
    assert rested(folder, c=Sight(1, 9)) == ["c"]
    assert not folder.judge("c", A)


def test_a_refused_file_waits_until_it_changes() -> None:
    folder = WatchedFolder(Watched())
    rested(folder, a=Sight(1, 1))
    assert not folder.judge("a", b"")
    assert rested(folder, a=Sight(1, 1)) == []
    assert rested(folder, a=Sight(2, 5)) == ["a"]
    assert folder.judge("a", B)


def test_a_restart_goes_on_where_it_was() -> None:
    folder = WatchedFolder(Watched())
    rested(folder, a=Sight(1, 1), b=Sight(3, 3))
    folder.judge("a", A)
    folder.judge("b", b"")
    folder.begin(["a"], add=False)
    again = WatchedFolder(Watched.decode(folder.state().encode()))
    assert again.state() == folder.state()
    assert again.lesson == ("a",)
    assert rested(again, a=Sight(1, 1), b=Sight(3, 3)) == []


def test_what_arrives_during_a_lesson_joins_it_and_after_it_is_the_next() -> None:
    folder = WatchedFolder(Watched())
    folder.begin(["a"], add=False)
    folder.begin(["b"], add=True)
    assert folder.lesson == ("a", "b")
    folder.begin(["c"], add=False)
    assert folder.lesson == ("c",)


def test_only_rows_in_plain_sight_are_found(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.jsonl", "below/b.jsonl", ".half.jsonl", "notes.pdf"):
        (tmp_path / name).write_text('{"text": "hello"}\n')
    found = look_at(tmp_path)
    assert {Path(name).name for name in found} == {"a.jsonl", "b.jsonl"}
    assert found[str(tmp_path / "a.jsonl")].size == 18
    assert look_at(tmp_path / "nowhere") == {}


def test_a_bad_file_is_named_with_its_line(tmp_path: Path) -> None:
    bad, empty, good, copy = (tmp_path / f"{name}.jsonl" for name in ("bad", "empty", "good", "copy"))
    bad.write_text('{"text": "hello"}\n{"text": "he')
    empty.write_text("\n\n")
    for path in (good, copy):
        path.write_text('{"text": "hello"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl, line 2"):
        read_file(bad)
    with pytest.raises(DataError, match="no row"):
        read_file(empty)
    with pytest.raises(DataError, match="cannot be read"):
        read_file(tmp_path / "gone.jsonl")
    assert read_file(good) == read_file(copy)
