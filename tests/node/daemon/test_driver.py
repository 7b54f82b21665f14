"""The driver keeps the rule of order, survives a full disk, and survives its core."""

import pytest
import trio

from banyan.node.daemon.driver import CoreFailed, Driver
from banyan.node.daemon.eventlog import EventLog
from banyan.node.store import Batch, Database, DiskFull
from banyan.protocol.effects import (
    Command,
    DropRecords,
    Emit,
    FetchBlob,
    MessageReceived,
    PutRecord,
    PutState,
    Send,
    SetTimer,
    Started,
    TimerFired,
    Train,
)
from banyan.protocol.events import CaughtUp


class ScriptedCore:
    """A core whose answers are given beforehand; notes what it was told."""

    def __init__(self, script):
        self.script = script
        self.heard = []
        self.restored = None

    def restore(self, records, state):
        self.restored = (list(records), dict(state))

    def handle(self, event, now):
        self.heard.append(event)
        answer = self.script(event)
        if isinstance(answer, Exception):
            raise answer
        return list(answer)

    def status(self, now):
        return {"heard": len(self.heard)}


class Journal:
    """Database and hands in one: notes the order in which things happen."""

    def __init__(self, database, full=0):
        self._database = database
        self.full = full
        self.entries = []
        self.records, self.state = database.records, database.state

    def apply(self, batch):
        if self.full:
            self.full -= 1
            raise DiskFull("There is no room left")
        self._database.apply(batch)
        self.entries.append(("durable", tuple(batch.records), tuple(batch.state)))

    def send(self, effect):
        self.entries.append(("send", effect.data))

    def fetch(self, effect):
        self.entries.append(("fetch", effect.digest))

    def work(self, effect):
        self.entries.append(("work", type(effect).__name__))


@pytest.fixture
def database(tmp_path):
    database = Database(tmp_path / "node.sqlite")
    yield database
    database.close()


def record(number):
    return number.to_bytes(32, "big")


def driver_of(core, journal):
    events = EventLog(lambda: 1)
    return Driver(lambda: core, journal, journal, events, lambda: round(trio.current_time() * 1000)), events


async def run(driver, journal, until):
    """Run the driver until the journal's last entry is ``until``; threads take real time."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        with trio.fail_after(10_000):
            while not journal.entries or journal.entries[-1] != until:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_everything_persisted_is_durable_before_anything_is_sent(database, autojump_clock):
    def script(event):
        return [
            Send(("p",), b"hello"),
            PutRecord(record(1), b"one"),
            Train("/", 1, b"", (), ()),
            PutState("seq", b"5"),
            Send(("p",), b"again"),
        ]

    journal = Journal(database)
    driver, _ = driver_of(ScriptedCore(script), journal)
    await run(driver, journal, ("send", b"again"))
    assert journal.entries == [
        ("durable", (record(1),), ("seq",)),
        ("send", b"hello"),
        ("work", "Train"),
        ("send", b"again"),
    ]


async def test_inputs_that_wait_share_one_transaction(database, autojump_clock):
    def script(event):
        if isinstance(event, Command):
            number = event.arguments["n"]
            return [PutRecord(record(number), b"%d" % number), Send(("p",), b"%d" % number)]
        return []

    journal = Journal(database)
    driver, _ = driver_of(ScriptedCore(script), journal)
    for number in range(1, 6):
        await driver.give(Command("x", {"n": number}))
    await run(driver, journal, ("send", b"5"))
    durable = [entry for entry in journal.entries if entry[0] == "durable"]
    assert len(durable) == 1
    assert [entry[1] for entry in journal.entries if entry[0] == "send"] == [b"1", b"2", b"3", b"4", b"5"]


async def test_a_full_disk_stops_every_word_until_there_is_room(database, autojump_clock):
    def script(event):
        return [PutState("seq", b"1"), Send(("p",), b"hello")] if isinstance(event, Started) else []

    journal = Journal(database, full=3)
    driver, events = driver_of(ScriptedCore(script), journal)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        while driver.disk_trouble is None:  # threads take real time, which the virtual clock jumps over
            await trio.sleep(0.01)
        assert journal.entries == []
        assert "no room" in driver.disk_trouble
        while len(journal.entries) < 2:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert [entry[0] for entry in journal.entries] == ["durable", "send"]
    assert driver.disk_trouble is None
    assert [event.kind for event in events.after(0, 10)] == ["disk-trouble", "disk-recovered"]


async def test_a_core_that_raises_is_reported_its_earlier_words_stand_and_the_sender_is_muted(
    database, autojump_clock
):
    def script(event):
        if isinstance(event, MessageReceived) and event.data == b"poison":
            return ZeroDivisionError("bug")
        if isinstance(event, MessageReceived):
            return [PutState("last", event.data), Send(("p",), event.data)]
        return []

    journal = Journal(database)
    core = ScriptedCore(script)
    driver, events = driver_of(core, journal)
    for sender, data in (("good", b"one"), ("bad", b"poison"), ("good", b"two")):
        await driver.give(MessageReceived(sender, data))
    with pytest.raises(CoreFailed, match="ZeroDivisionError: bug"):
        await driver.run()
    assert ("send", b"one") in journal.entries
    assert [event.kind for event in events.after(0, 10)] == ["peer-muted"]
    # As the supervisor would, start it again: the core is rebuilt from what is durable.
    await driver.give(MessageReceived("bad", b"poison"))
    await driver.give(MessageReceived("good", b"three"))
    await run(driver, journal, ("send", b"three"))
    assert core.restored[1] == {"last": b"one"}
    assert ("send", b"three") in journal.entries


async def test_timers_events_and_fetches_reach_whom_they_concern(database, autojump_clock):
    def script(event):
        if isinstance(event, Started):
            wake = round(trio.current_time() * 1000) + 2_000
            return [
                SetTimer("sync", wake),
                Emit(CaughtUp("/", 3, 2)),
                FetchBlob(record(7), 10, ("p",)),
            ]
        return []

    journal = Journal(database)
    core = ScriptedCore(script)
    driver, events = driver_of(core, journal)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        nursery.start_soon(driver.timers.run, driver.fire)
        while TimerFired("sync") not in core.heard:
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert core.heard[-1] == TimerFired("sync")
    assert journal.entries == [("fetch", record(7))]
    assert events.after(0, 1)[0].kind == "caught-up"


async def test_a_rebuilt_core_gets_its_past_and_not_the_daemons_own_keys(database, autojump_clock):
    def script(event):
        if isinstance(event, Started):
            return [PutRecord(record(1), b"one"), PutRecord(record(2), b"two"), DropRecords((record(1),))]
        return []

    journal = Journal(database)
    core = ScriptedCore(script)
    driver, _ = driver_of(core, journal)
    database.apply(Batch(state={"node/port": b"1"}))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        while not journal.entries:
            await trio.sleep(0.01)
        assert core.restored == ([], {})
        driver.rebuild()
        while len(core.heard) < 2:
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert core.restored == ([b"two"], {})
    assert [type(event) for event in core.heard] == [Started, Started]
