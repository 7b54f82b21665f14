"""What ``banyan doctor`` looks at. Each check gives one finding and never raises."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from banyan.node import membership
from banyan.node.home import Home, check_private
from banyan.security.charter import BaseModel, Charter
from banyan.security.doorplate import Doorplate
from banyan.security.errors import BanyanError

#: Free bytes below which a node is in danger.
LITTLE_ROOM = 1 << 30

#: Seconds to wait for one peer's port.
KNOCK = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """``ok``: fine. ``note``: worth knowing. ``bad``: something will not work until ``cure`` is done."""

    subject: str
    state: Literal["ok", "note", "bad"]
    what: str
    cure: str = ""

    def plain(self) -> dict[str, str]:
        """The JSON-ready form."""
        return asdict(self)


def examine(home: Home, *, deep: bool = False) -> list[Finding]:
    """Every check in turn; ``deep`` also reads the whole base model and all data."""
    findings = [_guarded("state directory", lambda: _directory(home))]
    if not home.root.is_dir():
        return findings
    status = _status(home)
    charter = None
    try:
        charter = membership.load_charter(home)
    except BanyanError as error:
        findings.append(_bad("charter", error))
    findings.append(_guarded("identity", lambda: _identity(home)))
    findings.append(_guarded("network", lambda: _network(home, charter)))
    findings.append(_guarded("settings", lambda: _settings(home)))
    findings.append(_guarded("node", lambda: _node(home, status)))
    findings.append(_guarded("port", lambda: _port(home, status)))
    findings.append(_guarded("clock", lambda: _clock(home, charter)))
    findings.append(_guarded("disk", lambda: _disk(home, charter)))
    findings.append(_guarded("base model", lambda: _model(home, charter, deep)))
    findings.append(_guarded("data", lambda: _data(home, deep)))
    findings.extend(_peers(home, status))
    return findings


def _guarded(subject: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except BanyanError as error:
        return _bad(subject, error)
    except OSError as error:
        return Finding(subject, "bad", f"{error.strerror or error} ({error.filename})", "See its permissions")


def _bad(subject: str, error: BanyanError) -> Finding:
    return Finding(subject, "bad", error.what, error.cure)


def _directory(home: Home) -> Finding:
    if not home.root.is_dir():
        cure = "Found a network with `banyan found NAME`, or join one with `banyan join INVITE`"
        return Finding("state directory", "bad", f"{home.root} does not exist", cure)
    check_private(home.root)
    return Finding("state directory", "ok", str(home.root))


def _identity(home: Home) -> Finding:
    if membership.is_encrypted(home):
        return Finding("identity", "ok", "locked with a passphrase")
    return Finding("identity", "ok", membership.load_identity(home).node_id)


def _network(home: Home, charter: Charter | None) -> Finding:
    if charter is not None:
        return Finding("network", "ok", f"{charter.name} ({charter.network_id.hex()[:16]}…)")
    invite = membership.load_invite(home)
    if invite is None:
        cure = "Found a network with `banyan found NAME`, or join one with `banyan join INVITE`"
        return Finding("network", "bad", "this node belongs to none", cure)
    if isinstance(invite, Doorplate):
        return Finding(
            "network", "note", "a guest that has not come in yet", "Start the node with `banyan up`"
        )
    expires = invite.chain[-1].expires
    if expires < time.time() * 1000:
        return Finding("network", "bad", "the invite has expired before it was used", "Ask for a new one")
    return Finding("network", "note", "invited, not joined yet", "Start the node with `banyan up`")


def _settings(home: Home) -> Finding:
    from banyan.node.settings import load

    return Finding("settings", "ok", f"preset {load(home.settings).preset}")


def _status(home: Home) -> dict[str, object] | None:
    from banyan.node.cli.client import Client

    try:
        return Client(home).get("/status")
    except BanyanError:
        return None


def _node(home: Home, status: dict[str, object] | None) -> Finding:
    if status is None:
        return Finding("node", "note", "not running", "Start it with `banyan up`")
    if status.get("disk_trouble"):
        return Finding("node", "bad", str(status["disk_trouble"]), "It goes on by itself once there is room")
    services = status.get("services")
    failing = (
        [s for s in services if s["last_error"] and not s["running"]] if isinstance(services, list) else []
    )
    if failing:
        return Finding("node", "bad", f"{failing[0]['name']}: {failing[0]['last_error']}", f"See {home.log}")
    return Finding("node", "ok", f"running, {status['phase']}")


def _port(home: Home, status: dict[str, object] | None) -> Finding:
    from banyan.node.settings import load

    if status is not None:
        addresses = status["addresses"]
        assert isinstance(addresses, list)
        local = all("/127." in address or "/::1/" in address for address in addresses)
        if local and load(home.settings).preset != "local":
            cure = "Set network.listen to 0.0.0.0, or network.announce to your address"
            return Finding("port", "note", "listening for this machine only", cure)
        return Finding("port", "ok", ", ".join(addresses))
    network = load(home.settings).network
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((network.listen, network.port))
        except OSError as error:
            where = f"{network.listen}:{network.port}"
            cure = "Stop the other program, or choose another: `banyan settings network.port=0`"
            return Finding("port", "bad", f"{where} cannot be used ({error.strerror})", cure)
    return Finding("port", "ok", f"{network.port or 'any'} is free")


def _clock(home: Home, charter: Charter | None) -> Finding:
    now = time.time()
    if charter is not None and now * 1000 < charter.created - charter.limits.clock_skew:
        return Finding(
            "clock",
            "bad",
            "this machine's clock is before the network's founding",
            "Set it, for example by NTP",
        )
    newest = max((path.stat().st_mtime for path in home.root.iterdir()), default=0.0)
    if newest > now + 60:
        ahead = round(newest - now)
        return Finding("clock", "bad", f"files here are {ahead} s in the future", "Set the clock by NTP")
    return Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


def _disk(home: Home, charter: Charter | None) -> Finding:
    free = shutil.disk_usage(home.root).free
    need = LITTLE_ROOM + (
        0 if charter is None or _has_model(home, charter) else 2 * _base(home, charter).size
    )
    if free < need:
        what = f"{free / 1e9:.1f} GB are free where {need / 1e9:.1f} GB should be"
        return Finding("disk", "bad", what, "Free some space, or move the state directory")
    return Finding("disk", "ok", f"{free / 1e9:.1f} GB free")


def _base(home: Home, charter: Charter) -> BaseModel:
    """The base model of the branch that this node works on."""
    from banyan.node.settings import load

    return charter.base_at(load(home.settings).training.branch or "/")


def _has_model(home: Home, charter: Charter) -> bool:
    from banyan.node.base_folder import missing
    from banyan.node.store import BlobStore

    return not missing(BlobStore(home.blobs), _base(home, charter))


def _model(home: Home, charter: Charter | None, deep: bool) -> Finding:
    if charter is None:
        return Finding("base model", "note", "known once this node has reached its network")
    base = _base(home, charter)
    if not _has_model(home, charter):
        what = f"{base.name} ({base.size / 1e6:,.0f} MB) is not here yet"
        return Finding("base model", "note", what, "It is fetched from peers before the first training")
    if deep:
        import hashlib

        from banyan.node.store import BlobStore

        blobs = BlobStore(home.blobs)
        for entry in base.files:
            with open(blobs.path(entry.digest), "rb") as file:
                if hashlib.file_digest(file, "sha256").digest() != entry.digest:
                    path = blobs.path(entry.digest)
                    cure = f"Remove {path} and {home.base}, and start the node: it is fetched again"
                    return Finding("base model", "bad", f"{entry.name} is damaged on this disk", cure)
    return Finding("base model", "ok", f"{base.name}, {base.parameters:,} parameters")


def _data(home: Home, deep: bool) -> Finding:
    from banyan.node.settings import load

    data = load(home.settings).training.data
    if data is None:
        return Finding(
            "data", "note", "none: this node does not train", "Give some: `banyan train --data PATH`"
        )
    if not data.exists():
        return Finding(
            "data", "bad", f"{data} is gone", "Put it back, or give another: `banyan train --data PATH`"
        )
    if deep:
        from banyan.node.learning.dataset import load_dataset

        rows = load_dataset([data])
        return Finding("data", "ok", f"{data}: {len(rows.training)} rows, {len(rows.held_out)} held out")
    return Finding("data", "ok", str(data))


def _peers(home: Home, status: dict[str, object] | None) -> Iterator[Finding]:
    if status is not None:
        peers = status["peers"]
        assert isinstance(peers, list)
        if peers:
            yield Finding("peers", "ok", f"{len(peers)} connected")
            return
    addresses = membership_addresses(home)
    if not addresses:
        cure = "Invite others: `banyan invite`"
        yield Finding("peers", "note", "none known: this node founded its network or is alone", cure)
        return
    for text in addresses[:8]:
        yield _knock(text)


def membership_addresses(home: Home) -> tuple[str, ...]:
    """Where the invite says that the network is found."""
    try:
        invite = membership.load_invite(home)
    except BanyanError:
        return ()
    return invite.addresses if invite is not None else ()


def _knock(text: str) -> Finding:
    from banyan.node.network.addresses import Address

    try:
        address = Address.parse(text)
    except BanyanError as error:
        return _bad("peers", error)
    try:
        with socket.create_connection((address.host, address.port), KNOCK):
            return Finding("peers", "ok", f"{address.host}:{address.port} answers")
    except OSError as error:
        what = f"{address.host}:{address.port} does not answer ({error.strerror or error})"
        cure = "See that the other node is up and its port is open in firewalls, or ask for a fresh invite"
        return Finding("peers", "bad", what, cure)
