"""The state directory of one node: what lies where in it, and who may read it."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from banyan.security.errors import BanyanError

#: A Unix socket's path may have this many bytes on every system that we know (macOS is the tightest).
SOCKET_PATH_BYTES = 100


class HomeError(BanyanError):
    """The state directory is missing something, or is not as it should be."""


@dataclass(frozen=True, slots=True)
class Home:
    """Names of everything in a state directory. Nothing is created before :meth:`create`."""

    root: Path

    @classmethod
    def find(cls, option: Path | None = None, environment: Mapping[str, str] = os.environ) -> Home:
        """The directory named by ``--home``, else by ``BANYAN_HOME``, else this user's own."""
        if option is not None:
            return cls(option.expanduser().absolute())
        if named := environment.get("BANYAN_HOME"):
            return cls(Path(named).expanduser().absolute())
        import platformdirs

        return cls(Path(platformdirs.user_data_dir("banyan")))

    @property
    def identity(self) -> Path:
        """The private key (PEM, 0600)."""
        return self.root / "identity.pem"

    @property
    def charter(self) -> Path:
        """The network's charter; absent until this node has founded or reached its network."""
        return self.root / "charter.bin"

    @property
    def invite(self) -> Path:
        """The invite that this node joins with (0600: it carries an ephemeral key)."""
        return self.root / "invite.txt"

    @property
    def credential(self) -> Path:
        """This node's membership credential."""
        return self.root / "credential.bin"

    @property
    def settings(self) -> Path:
        """The owner's settings (TOML)."""
        return self.root / "settings.toml"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "node.sqlite"

    @property
    def blobs(self) -> Path:
        """The content-addressed files."""
        return self.root / "blobs"

    @property
    def base(self) -> Path:
        """The base model as an ordinary folder, linked to the blobs it consists of."""
        return self.root / "base"

    @property
    def work(self) -> Path:
        """Scratch space of the workers."""
        return self.root / "work"

    @property
    def memory(self) -> Path:
        """What this node has learnt before and rejected versions; its owner's data in other words."""
        return self.root / "memory"

    @property
    def private(self) -> Path:
        """What this node has learnt for itself alone."""
        return self.root / "private"

    @property
    def log(self) -> Path:
        """The daemon's log in lines."""
        return self.root / "daemon.log"

    @property
    def token(self) -> Path:
        """The secret that opens the control API over TCP (0600)."""
        return self.root / "token"

    @property
    def page_link(self) -> Path:
        """A file that leads a browser to the node's page, once (0600)."""
        return self.root / "page.html"

    @property
    def serving_key(self) -> Path:
        """The API key of `banyan serve` (0600)."""
        return self.root / "serving.key"

    @property
    def socket(self) -> Path:
        """The control API's Unix socket.

        In the directory itself where the path fits into a socket address, else under a name made from it in
        this user's own folder for temporary files.
        """
        path = self.root / "control.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
            return path
        name = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:20]
        return Path(tempfile.gettempdir()) / f"banyan-{os.getuid()}" / f"{name}.sock"

    def create(self) -> None:
        """Make the directory (0700). Raises :class:`HomeError` if others may write to it."""
        for folder in {self.root, self.socket.parent}:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_private(folder)

    def require_network(self) -> None:
        """Raise :class:`HomeError` unless this node has founded a network or holds an invite to one."""
        if not (self.charter.exists() or self.invite.exists()):
            raise HomeError(
                f"{self.root} belongs to no network yet",
                "Found one with `banyan found NAME`, or join one with `banyan join INVITE`",
            )


def check_private(folder: Path) -> None:
    """Raise :class:`HomeError` unless ``folder`` is this user's and closed to writing by others."""
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise HomeError(f"{folder} belongs to another user", "Choose another directory with --home")
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise HomeError(f"Others may write to {folder}", f"Close it with `chmod 700 {folder}`")


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data`` in one step that survives a loss of power; readable by its owner only."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
