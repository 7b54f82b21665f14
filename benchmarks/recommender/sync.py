"""How long a node that knows no cards takes to hold a thousand, from when it connects to another: two real daemons on
loopback, each a process of its own.

``python -m benchmarks catalog-sync``. The cards are signed by the network's root, which is not running; each quotes a
release of eight contributors. The time ends when all of them are in the second node's store. What the processors did
hangs less on who else is at work: the first node's from before the second starts, the second's beyond that of a start
with twenty cards, measured right before.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from banyan.node.assets import base_model_path
from banyan.node.catalog.describing import Words, base_of, sheet
from banyan.node.founding import Founding, found_network
from banyan.node.home import Home, write_durably
from banyan.node.membership import accept_invite, load_identity, save_credential
from banyan.node.settings import save
from banyan.node.store import Batch, Database
from banyan.protocol.card import Card, Sheet
from banyan.protocol.messages import body_of
from banyan.protocol.release import Contribution, Release, Seat
from banyan.security.charter import Charter
from banyan.security.credential import root_credential
from banyan.security.envelope import Envelope, seal
from banyan.security.identity import Identity
from banyan.security.invite import Invite
from banyan.security.schema import from_plain

LIMIT = 2.0
PATIENCE = 120.0
CONTRIBUTORS = 8


def banyan(*arguments: str) -> None:
    command = [sys.executable, "-c", "from banyan.node.cli import main; main()", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def release_of(branch: str, now: int) -> Release:
    """A release as a small branch has it. Who follows the branch would refuse it; nobody here does."""

    def digest(word: str) -> bytes:
        return hashlib.sha256(f"{branch}|{word}".encode()).digest()

    members = [Identity.from_seed(digest(f"member {n}")).node_id for n in range(CONTRIBUTORS)]
    used = tuple(Contribution(m, digest(m), digest(m + "blob"), 40_000, b"", 0) for m in members)
    roster = tuple(Seat(member, 9, branch) for member in sorted(members))
    return Release(
        branch,
        9,
        digest("parent"),
        "multi-krum",
        1,
        used,
        (),
        digest("change"),
        40_000,
        digest("adapter"),
        40_000,
        b"",
        0,
        b"",
        0,
        0,
        roster,
        (),
        now,
    )


def cards(root: Identity, charter: Charter, now: int) -> list[Envelope]:
    """One of each branch below the root."""
    base = base_of(base_model_path() / "config.json", charter.base)
    credential = root_credential(root, charter, now)
    made = []
    for number, branch in enumerate(path for path in charter.branches if path.count("/") > 1):
        words = Words(title=f"Branch {number}", description="What this branch knows, in a line or two. " * 4)
        plain = json.loads(sheet(branch, words, None, charter, base, ()))
        plain["base"]["digest"] = bytes.fromhex(plain["base"]["digest"])
        card = Card(branch, credential, release_of(branch, now), from_plain(Sheet, plain))
        kind, body = body_of(card)
        made.append(seal(root, network=charter.network_id, kind=kind, seq=number + 1, time=now, body=body))
    return made


def join(home: Home, root: Identity, charter: Charter, address: str, now: int) -> None:
    """Make ``home`` a member's that knows where the first node is."""
    day = 86_400_000
    invite = Invite.create(
        root,
        network=charter.network_id,
        addresses=(address,),
        uses=1,
        now=now,
        expires=now + day,
        until=now + day,
        scope="/",
    )
    accept_invite(home, str(invite))
    write_durably(home.charter, charter.encode())
    save_credential(home, root_credential(root, charter, now, load_identity(home).node_id))


def held(home: Home) -> int:
    """Records in the node's store."""
    try:
        with closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True, timeout=5)) as connection:
            return int(connection.execute("SELECT count(*) FROM records").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # not made yet


def connected(home: Home) -> int | None:
    """When the node first met a peer, ms; None: not yet."""
    from banyan.node.cli.client import Client, NodeRefused, NotRunning

    try:
        events = Client(home).get("/events", after=0, kind="peer-connected", limit=10)["events"]
    except (NotRunning, NodeRefused):
        return None
    return int(events[0]["time"]) if events else None


def processor_seconds(home: Home) -> float:
    """What the node's process has used since it started."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "banyan.node.daemon" in words and str(home.root) in words:
            used = process.cpu_times()
            return float(used.user + used.system)
    raise SystemExit("The daemon is not running.")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def measure(count: int) -> dict[str, Any]:
    """Seconds from the connection until ``count`` cards are stored, and their bytes."""
    with tempfile.TemporaryDirectory() as place:
        now = time.time_ns() // 10**6 - 10_000
        root, one, other = (Home(Path(place).resolve() / name) for name in ("root", "one", "other"))
        branches = tuple(f"/t{number % 20}/b{number}" for number in range(count))
        charter = found_network(
            root, Founding("catalog", base_model_path(), preset="local", rank=1, branches=branches), now
        )
        key, port = load_identity(root), free_port()
        made = cards(key, charter, now)
        join(one, key, charter, f"/ip4/127.0.0.1/tcp/{free_port()}/p2p/{key.node_id}", now)
        where = f"/ip4/127.0.0.1/tcp/{port}/p2p/{load_identity(one).node_id}"
        join(other, key, charter, where, now)
        for home, changes in (
            (one, {"preset": "local", "network.port": port, "training.branch": "/t0"}),
            (other, {"preset": "local", "training.branch": "/t1"}),
        ):
            save(home.settings, changes)
        database = Database(one.database)
        database.apply(Batch(records={envelope.id: envelope.data for envelope in made}))
        database.close()
        try:
            banyan("up", "--home", str(one.root))
            before = processor_seconds(one)
            banyan("up", "--home", str(other.root))
            until = time.monotonic() + PATIENCE
            while held(other) < count:
                if time.monotonic() > until:
                    raise SystemExit(f"Only {held(other)} of {count} cards came within {PATIENCE:.0f} s.")
                time.sleep(0.025)  # a look costs a millisecond
            ended = time.time_ns() // 10**6
            began, spent = connected(other), processor_seconds(other)
            gave = processor_seconds(one) - before
            assert began is not None
        finally:
            for home in (one, other):
                banyan("down", "--home", str(home.root))
        return {
            "cards": count,
            "bytes": sum(len(envelope.data) for envelope in made),
            "seconds": round((ended - began) / 1000, 2),
            "processor_seconds": round(spent, 2),
            "processor_seconds_of_the_first_node": round(gave, 2),
            "load": round(psutil.getloadavg()[0], 1),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/catalog-sync.json"))
    options = parser.parse_args()
    runs = []
    for _ in range(options.repeats):
        least = measure(20)["processor_seconds"]  # a start, and few cards
        run = measure(options.cards)
        run["processor_seconds"] = round(run["processor_seconds"] - least, 2)
        runs.append(run)
        spent, gave = run["processor_seconds"], run["processor_seconds_of_the_first_node"]
        print(
            f"{run['cards']} cards, {run['bytes'] / 1e6:.1f} MB: {run['seconds']:.2f} s (limit {LIMIT:.0f} s), "
            f"processor {spent:.2f} s and {gave:.2f} s of the node that had them, load {run['load']}",
            flush=True,
        )
    result = {
        "what": "seconds from the connection until a second daemon has stored all cards of the first, on loopback",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}",
        "limit_seconds": LIMIT,
        "runs": runs,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
