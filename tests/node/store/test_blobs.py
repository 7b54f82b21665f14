"""A blob is whole or absent."""

import hashlib
import itertools
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banyan.node.store import BlobMismatch, BlobMissing, BlobStore


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "blobs")


def digest_of(data):
    return hashlib.sha256(data).digest()


def files(store):
    return [path for path in store.root.rglob("*") if path.is_file()]


def test_what_was_put_is_found_by_its_hash(store):
    digest = store.put(b"a delta")
    assert digest == digest_of(b"a delta")
    assert digest in store
    assert store.size(digest) == 7
    assert store.read(digest, 2, 3) == b"del"
    name = digest.hex()
    assert store.path(digest) == store.root / name[:2] / name[2:]
    assert list(store.digests()) == [digest]


def test_a_missing_blob_is_named(store):
    with pytest.raises(BlobMissing, match="not on this node"):
        store.read(bytes(32))
    assert store.size(bytes(32)) is None


def test_a_file_of_other_content_is_refused_and_leaves_nothing(store, tmp_path):
    source = tmp_path / "model.bin"
    source.write_bytes(b"altered")
    with pytest.raises(BlobMismatch):
        store.put_file(source, digest_of(b"original"))
    assert files(store) == []
    assert store.put_file(source) == digest_of(b"altered")


def test_a_download_resumes_where_it_stopped(store):
    data = bytes(range(256)) * 100
    first = store.partial(digest_of(data), len(data))
    first.write(data[:10_000])
    first.close()
    assert digest_of(data) not in store
    second = store.partial(digest_of(data), len(data))
    assert second.offset == 10_000
    second.write(data[10_000:])
    second.finish()
    assert store.read(digest_of(data)) == data
    assert list((store.root / "incoming").iterdir()) == []


def test_wrong_bytes_are_thrown_away_so_that_the_next_attempt_begins_anew(store):
    data = b"x" * 1_000
    partial = store.partial(digest_of(data), len(data))
    partial.write(b"y" * 1_000)
    with pytest.raises(BlobMismatch, match="another hash"):
        partial.finish()
    assert files(store) == []
    assert store.partial(digest_of(data), len(data)).offset == 0


def test_a_download_that_ends_early_is_not_named(store):
    partial = store.partial(digest_of(b"abc"), 3)
    partial.write(b"ab")
    with pytest.raises(BlobMismatch):
        partial.finish()
    assert digest_of(b"abc") not in store


@pytest.mark.parametrize("size", [3, None])
def test_more_bytes_than_announced_are_refused_before_they_are_written(store, size):
    partial = store.partial(digest_of(b"abc"), size, limit=3)
    with pytest.raises(BlobMismatch, match="more than the 3 bytes"):
        partial.write(b"abcd")
    assert files(store) == []


def test_a_blob_of_unknown_length_is_bounded_and_verified(store):
    partial = store.partial(digest_of(b"abc"), None, limit=10)
    partial.write(b"abc")
    partial.finish()
    assert store.read(digest_of(b"abc")) == b"abc"


def test_collection_spares_what_is_kept_and_what_is_young(store):
    kept, gone = store.put(b"kept"), store.put(b"gone")
    now = store.path(gone).stat().st_mtime
    assert store.collect({kept}, grace=60, now=now + 59).blobs == 0
    collected = store.collect({kept}, grace=60, now=now + 61)
    assert (collected.blobs, collected.bytes) == (1, 4)
    assert list(store.digests()) == [kept]


def test_collection_removes_leftovers_of_a_crash(store):
    store.put(b"whole")
    leftover = store.root / "incoming" / "put-1234"
    leftover.write_bytes(b"half")
    store.collect(set(store.digests()), grace=60, now=leftover.stat().st_mtime + 61)
    assert not leftover.exists()


@given(data=st.binary(max_size=5_000), cuts=st.lists(st.integers(0, 5_000), max_size=5))
def test_any_way_of_cutting_a_download_ends_with_the_same_blob(tmp_path_factory, data, cuts):
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, stop in itertools.pairwise(edges):
        partial = store.partial(digest_of(data), len(data))
        assert partial.offset == start
        partial.write(data[start:stop])
        partial.close()
    store.partial(digest_of(data), len(data)).finish()
    assert store.read(digest_of(data)) == data


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from banyan.node.store import BlobStore, DiskFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = BlobStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
large = bytes(300_000)
for attempt in (lambda: store.put(large), lambda: store.partial(bytes(32), 300_000).write(large)):
    try:
        attempt()
    except DiskFull as error:
        print(error)
"""


def test_a_full_disk_is_said_clearly_and_leaves_nothing_half_written(tmp_path):
    root = tmp_path / "blobs"
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(root)], capture_output=True, text=True, check=True, timeout=60
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 2, result.stderr
    assert all("no room left on the disk" in line for line in lines)
    assert [path for path in root.rglob("*") if path.is_file()] == []
