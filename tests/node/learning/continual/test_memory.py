"""What a device remembers survives crashes, is strictly read, and is bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from banyan.node.learning.continual.memory import (
    MARK,
    MOST_TASKS,
    Memory,
    MemoryDamaged,
    Task,
    load,
    place,
    save,
    set_aside,
    sketch_of,
    with_task,
)
from banyan.node.learning.continual.reservoir import Reservoir
from banyan.node.learning.tokens import Example

DIMENSION = 5


def rows(first: int, count: int) -> tuple[Example, ...]:
    return tuple(Example((number, 9, 4), (-100, -100, 4)) for number in range(first, first + count))


def hashes(*numbers: int) -> frozenset[bytes]:
    return frozenset(hashlib.sha256(bytes([number])).digest() for number in numbers)


def task(number: int = 0, kept: int = 8) -> Task:
    sketch = sketch_of(hashes(*range(10 * number, 10 * number + 10)))
    reservoir = Reservoir(5).offer(rows(100 * number, kept), kept)
    return Task(f"source {number}", 1_800_000_000, sketch, rows(100 * number, 2), 1.5, reservoir)


def some_memory() -> Memory:
    vectors = [np.arange(DIMENSION, dtype=np.float32) + shift for shift in range(3)]
    return Memory((task(0), replace(task(1), loss=None)), *vectors)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    path = place(tmp_path / "memory", "/en/medical")
    memory = some_memory()
    save(path, memory)
    found = load(path, DIMENSION)
    assert found == memory
    for name in ("anchor", "fisher", "span"):
        np.testing.assert_array_equal(getattr(found, name), getattr(memory, name))
    assert path.stat().st_size == memory.bytes()
    assert path.stat().st_mode & 0o077 == 0
    assert load(place(tmp_path, "/en"), DIMENSION) == Memory()


def test_a_torn_write_leaves_the_memory_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.memory"
    save(path, some_memory())
    torn = tmp_path / f".{path.name}-killed"
    torn.write_bytes(path.read_bytes()[:40])
    assert load(path, DIMENSION) == some_memory()
    save(path, Memory((task(2),)))
    assert not torn.exists()
    assert load(path, DIMENSION).tasks == (task(2),)


def sealed(body: bytes) -> bytes:
    return MARK + hashlib.sha256(body).digest() + body


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: b"rubbish",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:70] + bytes([data[70] ^ 1]) + data[71:],
        lambda data: sealed(b"\xdd\xff\xff\xff\xff"),
        lambda data: sealed(data[len(MARK) + 32 :] + b"\0"),
        lambda data: sealed(data[len(MARK) + 32 :].replace(b"held_out", b"held-out")),
        lambda data: sealed(
            data[len(MARK) + 32 :].replace(np.float32(2).tobytes(), np.float32(np.nan).tobytes())
        ),
        lambda data: sealed(data[len(MARK) + 32 :].replace(b"\x9c\xff\xff\xff", b"\x03\0\0\0")),
    ],
)
def test_a_damaged_or_forged_file_is_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.memory"
    save(path, some_memory())
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(MemoryDamaged):
        load(path, DIMENSION)
    aside = set_aside(path)
    assert aside.exists()
    assert load(path, DIMENSION) == Memory()


def test_a_memory_of_another_adapter_or_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.memory"
    save(path, some_memory())
    with pytest.raises(MemoryDamaged, match="adapters have 24"):
        load(path, DIMENSION + 1)
    with open(path, "r+b") as file:
        file.truncate(1 << 30)  # sparse: refused by its length, before it is read
    with pytest.raises(MemoryDamaged, match="more than any"):
        load(path, DIMENSION)


def test_a_source_that_grows_is_the_same_task_and_one_whose_rows_were_replaced_is_not() -> None:
    memory = Memory((task(0), task(1)))
    assert memory.find(hashes(*range(40))) == memory.tasks[0]
    assert memory.find(hashes(*range(13, 20))) == memory.tasks[1]
    assert memory.find(hashes(*range(16, 60))) is None
    assert Memory().find(hashes(1)) is None


def test_the_rows_kept_are_bounded_and_shared_equally_and_the_oldest_tasks_join() -> None:
    tasks: tuple[Task, ...] = ()
    for number in range(MOST_TASKS + 3):
        tasks = with_task(tasks, task(number, kept=40), 64)
        assert sum(len(each.reservoir.kept) for each in tasks) <= 64
        assert len({len(each.reservoir.kept) for each in tasks}) == 1
    assert len(tasks) == MOST_TASKS
    assert tasks[0].name == "source 3"
    assert tasks[-1].name == f"source {MOST_TASKS + 2}"
