"""Whatever was acknowledged is there after ``kill -9``, and nothing is half there."""

import hashlib
import random
import subprocess
import sys

import pytest

from banyan.node.store import BlobStore, Database, HomeInUse, HomeLock

WRITER = """
import sys
from pathlib import Path
from banyan.node.store import Batch, BlobStore, Database, HomeLock, StoredEvent
home = Path(sys.argv[1])
HomeLock(home).acquire()
database, blobs = Database(home / "node.sqlite"), BlobStore(home / "blobs")
number = int(database.state().get("number", b"0"))
while True:
    number += 1
    digest = blobs.put(b"blob %d " % number * 3_000)
    batch = Batch(state={"number": b"%d" % number, "blob": digest})
    batch.put_record(number.to_bytes(32, "big"), b"record %d" % number)
    if number > 20:
        batch.drop_record((number - 20).to_bytes(32, "big"))
    batch.events.append(StoredEvent(number, number, "test", {}))
    database.apply(batch)
    sys.stdout.write("%d\\n" % number)
    sys.stdout.flush()
"""


def test_every_acknowledgement_survives_a_kill_at_any_moment(tmp_path):
    chance = random.Random(20)
    acknowledged = 0
    for _ in range(12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(chance.randint(1, 12)):
            acknowledged = int(writer.stdout.readline())
        for _ in range(chance.randint(0, 200_000)):  # a moment within the next write, without a clock
            pass
        writer.kill()
        for line in writer.stdout:  # said before the end, read after it
            acknowledged = int(line)
        writer.wait()
        writer.stdout.close()

        database, blobs = Database(tmp_path / "node.sqlite"), BlobStore(tmp_path / "blobs")
        state = database.state()
        number = int(state["number"])
        assert number in (acknowledged, acknowledged + 1)  # one batch may be durable and not yet announced
        assert blobs.read(state["blob"]) == b"blob %d " % number * 3_000
        assert database.records() == [b"record %d" % n for n in range(max(1, number - 19), number + 1)]
        assert database.last_position() == number
        for digest in blobs.digests():
            assert hashlib.sha256(blobs.read(digest)).digest() == digest
        database.close()


def test_a_killed_daemon_leaves_its_home_free_and_a_living_one_does_not(tmp_path):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    writer.stdout.readline()
    with pytest.raises(HomeInUse, match=f"process {writer.pid}"):
        HomeLock(tmp_path).acquire()
    writer.kill()
    writer.wait()
    writer.stdout.close()
    with HomeLock(tmp_path):
        pass
