"""Cloning a base model of 500 MB from two peers against one, where a peer's uplink is the limit.

Real processes over loopback: peers serve a blob store with ``upload_bytes_per_second`` set, and a third process fetches
the weights into its own store through the daemon's fetcher, from one peer and from both in turn. The gain must be at
least 1.5; the fetching process may grow by a few chunks for each lane and no more, whatever the size of the model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import trio

from banyan.node.daemon.book import AddressBook
from banyan.node.daemon.fetcher import Fetcher
from banyan.node.network.libp2p_host import Libp2pTransport
from banyan.node.network.limits import MIB, NetworkLimits
from banyan.node.store import BlobStore
from banyan.security.identity import Identity

NETWORK = b"clone benchmark"
LEAST_GAIN = 1.5

#: Chunks of 1 MiB that the fetching process may hold at its peak: two under way on each of two lanes, each with its
#: copies in the stream's window, the frame and the thread that writes it, and what the allocator keeps.
MOST_CHUNKS = 48


def transport(blobs: BlobStore, seed: int, uplink: int = 0) -> Libp2pTransport:
    identity = Identity.from_seed(random.Random(seed).randbytes(32))
    limits = NetworkLimits(upload_bytes_per_second=uplink)
    return Libp2pTransport(identity, NETWORK, blobs=blobs, host="127.0.0.1", limits=limits)


def peak_memory(*, anew: bool = False) -> int:
    """The most memory (bytes) this process has held; ``anew``: from now on."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


async def serve(store: Path, seed: int, uplink: int) -> None:
    """Serve until standard input ends; the address is the first line of standard output."""
    node = transport(BlobStore(store), seed, uplink)
    async with node.run():
        print(node.addresses()[0], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def fetch(store: Path, digest: bytes, size: int, addresses: list[str]) -> None:
    """Fetch once; print seconds, bytes by peer and the growth of memory (bytes) as JSON."""
    blobs = BlobStore(store)
    node = transport(blobs, 99)
    async with node.run():
        peers = [await node.dial([address]) for address in addresses]
        fetcher = Fetcher(blobs, node, AddressBook(node.local_id), lambda event: None)
        before = peak_memory(anew=True)
        began = time.perf_counter()
        failure = await fetcher.fetch(digest, size, peers)
        seconds = time.perf_counter() - began
        if failure is not None:
            raise SystemExit(failure)
        grown = peak_memory() - before
        received = [node.traffic()[peer].received for peer in peers]
    print(json.dumps({"seconds": seconds, "received": received, "grown": grown}))


def run(folder: Path, size: int, uplink: int, rounds: int) -> dict[str, list[dict[str, object]]]:
    """Interleaved: one peer, two peers, ``rounds`` times."""
    data = np.random.default_rng(0).bytes(size)
    digest = hashlib.sha256(data).digest()
    for name in ("one", "two"):
        BlobStore(folder / name).put(data)
    del data
    this = [sys.executable, "-m", "benchmarks.clone_from_peers"]
    servers = [
        subprocess.Popen(
            [*this, "--serve", str(folder / name), "--seed", str(seed), "--uplink", str(uplink)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed, name in enumerate(("one", "two"))
    ]
    try:
        addresses = [server.stdout.readline().strip() for server in servers if server.stdout]
        results: dict[str, list[dict[str, object]]] = {"1": [], "2": []}
        for turn in range(rounds):
            for count in (1, 2):
                time.sleep(1.5)  # what a bucket saves while idle passes at once: the same for both
                target = folder / f"clone-{turn}-{count}"
                call = [*this, "--fetch", str(target), "--digest", digest.hex(), "--size", str(size)]
                out = subprocess.run(
                    [*call, *addresses[:count]], check=True, capture_output=True, text=True
                ).stdout
                results[str(count)].append(json.loads(out))
                blob = BlobStore(target).path(digest)
                blob.unlink()
        return results
    finally:
        for server in servers:
            server.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=500_000_000, help="bytes of the model")
    parser.add_argument("--uplink", type=int, default=12_000_000, help="bytes a second of each peer")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/clone_from_peers.json"))
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fetch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--digest", help=argparse.SUPPRESS)
    parser.add_argument("addresses", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        trio.run(serve, options.serve, options.seed, options.uplink)
        return
    if options.fetch:
        trio.run(fetch, options.fetch, bytes.fromhex(options.digest), options.size, options.addresses)
        return
    with tempfile.TemporaryDirectory() as folder:
        results = run(Path(folder), options.size, options.uplink, options.rounds)
    one, two = (statistics.median(float(str(each["seconds"])) for each in results[n]) for n in ("1", "2"))
    grown = max(int(str(each["grown"])) for each in results["2"])
    print(f"one peer   {one:6.1f} s  {options.size / one / 1e6:6.1f} MB/s")
    print(f"two peers  {two:6.1f} s  {options.size / two / 1e6:6.1f} MB/s")
    print(f"gain       {one / two:6.2f}    at least {LEAST_GAIN}")
    print(f"memory     {grown / MIB:6.1f} MiB more at the peak, at most {MOST_CHUNKS}")
    result = {
        "what": "a base model fetched from two peers against one, each with a limited uplink; loopback",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}",
        "bytes": options.size,
        "uplink_bytes_per_second": options.uplink,
        "runs": results,
        "gain": round(one / two, 3),
        "memory_mib": round(grown / MIB, 1),
        "limits": {"gain": LEAST_GAIN, "memory_mib": MOST_CHUNKS},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    if one / two < LEAST_GAIN or grown > MOST_CHUNKS * MIB:
        sys.exit("A limit is missed.")


if __name__ == "__main__":
    main()
