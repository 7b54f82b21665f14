"""The daemon learns what arrives in its owner's folder."""

import os

import pytest
import trio

from banyan.node.daemon.control import BadRequest, TrainRequest
from banyan.node.daemon.events import FileRefused, FilesArrived
from banyan.node.daemon.watch import INTERVAL, Watch
from banyan.node.store import Batch, Database, DiskFull


class Desk:
    """A watched folder with its store; lessons are begun by a fake."""

    def __init__(self, folder):
        self.folder = folder / "inbox"
        self.folder.mkdir()
        self.database = Database(folder / "node.sqlite", 100)
        self.events, self.lessons, self.is_busy, self.is_full = [], [], False, False
        self.begun = trio.Event()
        self.watch = self.open()

    def open(self):
        return Watch(self.folder, self.database, self.events.append, lambda: self.is_busy, self.keep)

    async def keep(self, state, is_new):
        if self.is_full:
            raise DiskFull("There is no room")
        self.database.apply(Batch(state=state))
        if is_new:
            self.lessons.append([path.name for path in self.watch.lesson()])
            self.begun.set()

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    async def looks(self, count=2):
        for _ in range(count):
            await self.watch.look()


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.database.close()


async def test_a_file_that_arrives_is_the_next_lesson_and_a_copy_is_not(desk):
    one = desk.write("one.jsonl", '{"text": "one"}\n')
    await desk.looks()
    assert desk.lessons == [["one.jsonl"]]
    desk.write("copy.jsonl", '{"text": "one"}\n')
    await desk.looks()
    desk.write("two.jsonl", '{"text": "two"}\n')
    await desk.looks()
    assert desk.lessons == [["one.jsonl"], ["two.jsonl"]]
    assert desk.events[0] == FilesArrived((one,))


async def test_a_half_written_file_waits_and_a_bad_one_is_named_once_until_it_changes(desk):
    path = desk.write("notes.jsonl", '{"text": "a')
    await desk.looks(1)
    assert desk.events == []
    await desk.looks(3)
    (refused,) = desk.events
    assert isinstance(refused, FileRefused)
    assert "line 1" in refused.why
    assert desk.watch.status()["refused"] == [path]
    desk.write("notes.jsonl", '{"text": "a whole row"}\n')
    await desk.looks()
    assert desk.lessons == [["notes.jsonl"]]
    assert desk.watch.status()["refused"] == []


async def test_after_a_restart_nothing_is_learnt_twice_and_the_lesson_goes_on(desk):
    desk.write("one.jsonl", '{"text": "one"}\n')
    await desk.looks()
    desk.watch = desk.open()
    await desk.looks(3)
    assert desk.lessons == [["one.jsonl"]]
    assert [path.name for path in desk.watch.lesson()] == ["one.jsonl"]
    os.unlink(desk.folder / "one.jsonl")
    assert desk.watch.lesson() == ()


async def test_what_could_not_be_kept_is_taken_in_later(desk):
    desk.write("one.jsonl", '{"text": "one"}\n')
    await desk.looks(1)
    desk.is_full = True
    with pytest.raises(DiskFull):
        await desk.looks()
    desk.is_full = False
    await desk.looks()
    assert desk.lessons == [["one.jsonl"]]


async def test_what_arrives_while_a_lesson_lasts_joins_it(desk):
    desk.write("one.jsonl", '{"text": "one"}\n')
    await desk.looks()
    desk.is_busy = True
    desk.write("two.jsonl", '{"text": "two"}\n')
    await desk.looks()
    assert desk.lessons[-1] == ["one.jsonl", "two.jsonl"]


async def test_it_looks_again_and_again(desk, autojump_clock):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(desk.watch.run)
        await trio.sleep(INTERVAL / 2)
        desk.write("late.jsonl", '{"text": "late"}\n')
        await desk.begun.wait()
        nursery.cancel_scope.cancel()
    assert desk.lessons == [["late.jsonl"]]


async def test_whole_daemons_train_when_a_file_arrives_and_then_rest(
    garden, wait_until, fast_clock, tmp_path
):
    garden.join(1)
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    async with garden.running(0, 1) as daemons:
        for daemon in daemons:
            await wait_until(lambda d=daemon: d.member is not None and d.member.driver.peer is not None)
            with pytest.raises(BadRequest, match="no folder"):
                await daemon.train(TrainRequest(watch=str(garden.data), rounds=1))
            await wait_until(lambda d=daemon: d.member.height() >= 0)
            answer = await daemon.train(TrainRequest(watch=str(inbox), rounds=1))
            assert answer["watch"] == str(inbox)
        await trio.sleep(3 * INTERVAL)
        assert [daemon.member.height() for daemon in daemons] == [0, 0]
        (inbox / "rows.jsonl").write_text('{"text": "a row"}\n')
        await wait_until(lambda: all(daemon.member.height() == 1 for daemon in daemons))
        status = await daemons[0].status()
        assert status["watch"]["lesson"] == [str(inbox / "rows.jsonl")]
    async with garden.running(0, 1) as daemons:  # what was learnt is not learnt again
        await wait_until(lambda: all(daemon.member and daemon.member.driver.peer for daemon in daemons))
        await trio.sleep(3 * INTERVAL)
        assert [daemon.member.height() for daemon in daemons] == [1, 1]
