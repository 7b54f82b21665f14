"""Looks at the owner's folder now and then, and makes what arrives there the next lesson."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from banyan.node.daemon.events import FileRefused, FilesArrived
from banyan.node.learning.errors import DataError
from banyan.node.learning.watched_folder import Sight, Watched, WatchedFolder, look_at, read_file
from banyan.node.store import Database
from banyan.protocol.events import Event
from banyan.security.errors import BanyanError

#: Seconds between two looks. A file counts as whole when it looked the same in two of them.
INTERVAL = 2.0

#: Where the state of the watched folder is kept; each folder has its own.
KEY = "node/watched/"


class Watch:
    """Watches one folder. ``busy`` says whether the lesson under way is not over yet; ``keep`` makes state durable and,
    where told that it holds a new lesson, begins the training in the same instant."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        report: Callable[[Event], None],
        busy: Callable[[], bool],
        keep: Callable[[dict[str, bytes], bool], Awaitable[None]],
    ) -> None:
        self.folder = folder
        self._report = report
        self._busy = busy
        self._keep = keep
        self._watched = WatchedFolder(_restored(database.state().get(KEY + str(folder))))

    def lesson(self) -> tuple[Path, ...]:
        """The files to train on that are still there."""
        return tuple(path for path in map(Path, self._watched.lesson) if path.is_file())

    def status(self) -> dict[str, object]:
        """JSON-ready."""
        state = self._watched.state()
        refused = [each.path for each in state.judged if not each.digest]
        return {
            "folder": str(self.folder),
            "learnt": len(state.learnt),
            "lesson": list(state.lesson),
            "refused": refused,
        }

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self.look()
            await trio.sleep(INTERVAL)

    async def look(self) -> None:
        """Take in what has come to rest since the look before."""
        found = await trio.to_thread.run_sync(look_at, self.folder)
        before = self._watched.state()
        try:
            await self._take_in(found)
        except BaseException:  # what is not durable has not been seen: the next look takes it in
            self._watched = WatchedFolder(before)
            raise

    async def _take_in(self, found: dict[str, Sight]) -> None:
        new = []
        worth_reading = self._watched.look(found)
        for path in worth_reading:
            try:
                digest = await trio.to_thread.run_sync(read_file, Path(path))
            except DataError as error:
                digest = b""
                self._report(FileRefused(path, str(error)))
            if self._watched.judge(path, digest):
                new.append(path)
        if not worth_reading:
            return
        if new:
            self._watched.begin(new, add=self._busy())
            self._report(FilesArrived(tuple(new)))
        await self._keep({KEY + str(self.folder): self._watched.state().encode()}, bool(new))


def _restored(data: bytes | None) -> Watched:
    try:
        return Watched.decode(data) if data else Watched()
    except BanyanError:
        return Watched()  # of another version: the files are read again, and known tasks go on
