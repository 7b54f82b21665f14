"""Who this node is and what it belongs to: identity, invite, charter and credential in its directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from banyan.node.home import Home, HomeError, write_durably
from banyan.security import canonical
from banyan.security.charter import Charter
from banyan.security.credential import Credential
from banyan.security.doorplate import Doorplate
from banyan.security.identity import Identity
from banyan.security.invite import Invite
from banyan.security.schema import from_plain, to_bytes
from banyan.security.scope import covers

MAX_CREDENTIAL = 8_192


def passphrase_from(environment: Mapping[str, str] = os.environ) -> str | None:
    """The identity's passphrase from ``BANYAN_PASSPHRASE``; None if there is none."""
    return environment.get("BANYAN_PASSPHRASE") or None


def is_encrypted(home: Home) -> bool:
    """Whether the identity needs a passphrase."""
    try:
        return home.identity.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    except OSError:
        return False


def load_identity(home: Home, ask: Callable[[], str] | None = None) -> Identity:
    """This node's key. ``ask`` is called for the passphrase if one is needed and the environment has none.

    Raises :class:`HomeError` if there is no identity, and the identity's own errors for a wrong passphrase or
    a file that others may read.
    """
    if not home.identity.exists():
        raise HomeError(
            f"{home.root} holds no identity yet",
            "Found a network with `banyan found NAME`, or join one with `banyan join INVITE`",
        )
    passphrase = passphrase_from()
    if passphrase is None and is_encrypted(home):
        if ask is None:
            raise HomeError(
                "The identity is locked with a passphrase", "Give it in the environment as BANYAN_PASSPHRASE"
            )
        passphrase = ask()
    return Identity.load(home.identity, passphrase)


def create_identity(home: Home, passphrase: str | None = None) -> Identity:
    """This node's key: the one that is there, else a new one."""
    if home.identity.exists():
        return load_identity(home, (lambda: passphrase) if passphrase else None)
    identity = Identity.generate()
    identity.save(home.identity, passphrase)
    return identity


def load_charter(home: Home) -> Charter | None:
    """The charter, checked; None if this node has not reached its network yet."""
    try:
        data = home.charter.read_bytes()
    except FileNotFoundError:
        return None
    return Charter.decode(data)


def load_invite(home: Home) -> Invite | Doorplate | None:
    """The invite that this node joins with, or the open network's address that it comes to as a guest; None if it
    founded its network."""
    try:
        return read_invite(home.invite.read_text("ascii"))
    except FileNotFoundError:
        return None


def read_invite(text: str) -> Invite | Doorplate:
    """What somebody was given to join with. Raises ``CredentialRefused``."""
    return Doorplate.parse(text) if Doorplate.is_one(text) else Invite.parse(text)


def save_credential(home: Home, credential: Credential) -> None:
    """Keep this node's credential."""
    write_durably(home.credential, encode_credential(credential))


def load_credential(home: Home) -> bytes | None:
    """This node's credential in its wire form, or None."""
    try:
        return home.credential.read_bytes()
    except FileNotFoundError:
        return None


def first_branch(branches: Sequence[str], scope: str) -> str:
    """The branch that a node with a credential for ``scope`` works on where its owner has chosen none: the first of
    ``branches`` in it that has no children."""
    leaves = (
        path for path in branches if not any(other != path and covers(path, other) for other in branches)
    )
    return next((path for path in leaves if covers(scope, path)), scope)


def covered_branch(home: Home, charter: Charter) -> str:
    """The branch that this node works on where its owner has chosen none: the first that its credential covers."""
    credential = load_credential(home)
    scope = decode_credential(credential).scope if credential is not None else "/"
    return first_branch(charter.branches, scope)


def encode_credential(credential: Credential) -> bytes:
    """The wire form."""
    return to_bytes(credential)


def decode_credential(data: bytes) -> Credential:
    """A credential from its wire form; raises a :class:`~banyan.security.errors.Refused`."""
    return from_plain(Credential, canonical.decode(data, max_bytes=MAX_CREDENTIAL))


def accept_invite(home: Home, text: str, passphrase: str | None = None) -> Invite | Doorplate:
    """Make ``home`` a node that joins with the invite ``text``, or comes as a guest to the open network whose address
    it is, when it is started. Returns what was read.

    Joining the same network again with a fresh invite is allowed (the old one may have expired). Raises
    :class:`HomeError` if the directory belongs to another network already.
    """
    invite = read_invite(text)
    home.create()
    charter = load_charter(home)
    if charter is not None and charter.network_id != invite.network:
        raise HomeError(
            f"{home.root} belongs to the network {charter.name} already",
            "Choose another directory for the new network with --home",
        )
    before = load_invite(home)
    if before is not None and before.network != invite.network:
        raise HomeError(
            f"{home.root} holds an invite to another network already",
            "Choose another directory for the new network with --home",
        )
    create_identity(home, passphrase)
    write_durably(home.invite, str(invite).encode("ascii"))
    if before is not None and str(before) != str(invite):
        home.credential.unlink(missing_ok=True)  # the next start takes a new one
    return invite
