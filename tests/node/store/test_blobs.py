"""A blob is whole or absent."""

import hashlib
import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
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
    first.write_at(10_000, data[10_000:])  # pieces come from several peers, in any order
    first.abort()
    assert digest_of(data) not in store
    second = store.partial(digest_of(data), len(data))
    assert second.present() == ((10_000, len(data)),)
    second.write_at(0, data[:10_000])
    assert second.finish()
    assert store.read(digest_of(data)) == data
    assert list((store.root / "incoming").iterdir()) == []


def test_wrong_bytes_are_forgotten_so_that_the_next_attempt_begins_anew(store):
    data = b"x" * 1_000
    partial = store.partial(digest_of(data), len(data))
    partial.write_at(0, b"y" * 1_000)
    assert not partial.finish()
    assert partial.present() == ()
    assert digest_of(data) not in store
    partial.write_at(0, data)
    assert partial.finish()
    assert digest_of(data) in store


def test_a_download_that_ends_early_is_not_named(store):
    data = b"ab\0"  # what is missing would read as zeros
    partial = store.partial(digest_of(data), 3)
    partial.write_at(0, b"ab")
    assert not partial.finish()
    assert digest_of(data) not in store


def test_more_bytes_than_announced_are_refused_before_they_are_written(store):
    partial = store.partial(digest_of(b"abc"), 3)
    for offset, data in ((0, b"abcd"), (3, b"d"), (-1, b"a")):
        with pytest.raises(BlobMismatch, match="more than the 3 bytes"):
            partial.write_at(offset, data)
    assert partial.present() == ()


def test_a_torn_or_nonsensical_list_of_ranges_costs_only_the_bytes_it_lost(store):
    data = bytes(range(200))
    partial = store.partial(digest_of(data), 200)
    partial.write_at(0, data[:100])
    partial.abort()
    (ranges,) = (store.root / "incoming").glob("*.ranges")
    ranges.write_bytes(ranges.read_bytes() + b"100 900\n7 3\nx y\n150")
    again = store.partial(digest_of(data), 200)
    assert again.present() == ((0, 100),)
    again.write_at(100, data[100:])
    assert again.finish()


def test_an_open_blob_is_read_in_pieces_even_while_it_is_collected(store):
    digest = store.put(b"abcdef")
    reader = store.open(digest)
    store.collect(set(), grace=-60)
    assert (reader.size, reader.read(2, 3)) == (6, b"cde")
    reader.close()
    assert store.open(digest) is None


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


@given(data=st.binary(max_size=2_000), cuts=st.lists(st.integers(0, 2_000), max_size=6), order=st.randoms())
@settings(deadline=None, max_examples=25)
def test_any_way_of_cutting_a_download_ends_with_the_same_blob(tmp_path_factory, data, cuts, order):
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = list(itertools.pairwise(edges))
    order.shuffle(pieces)
    for start, stop in pieces:
        partial = store.partial(digest_of(data), len(data))
        partial.write_at(start, data[start:stop])
        partial.abort()
    assert store.partial(digest_of(data), len(data)).finish()
    assert store.read(digest_of(data)) == data


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from banyan.node.store import BlobStore, DiskFull
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = BlobStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
large = bytes(300_000)
for attempt in (lambda: store.put(large), lambda: store.partial(bytes(32), 300_000).write_at(0, large)):
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
