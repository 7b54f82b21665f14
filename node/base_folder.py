"""The base model as a folder: what the worker loads, made of the blobs that the charter names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from banyan.node.home import Home
from banyan.node.store import BlobStore, DiskFull
from banyan.security.charter import BaseModel

#: Room that must stay on the disk (bytes): the database needs some to go on.
SPARE = 64 << 20


def missing(blobs: BlobStore, base: BaseModel) -> list[tuple[bytes, int]]:
    """Digest and size of every file of ``base`` that is not in the store."""
    return [(entry.digest, entry.size) for entry in base.files if entry.digest not in blobs]


def import_folder(folder: Path, blobs: BlobStore, base: BaseModel) -> None:
    """Copy a local base model into the store, so that it can be used and served to others.

    Raises :class:`~banyan.node.learning.errors.ModelError` naming the first file that is not the charter's.
    """
    from banyan.node.learning.base_model import check_fingerprint

    check_fingerprint(folder, base)
    for entry in base.files:
        if entry.digest not in blobs:
            blobs.put_file(folder / entry.name, entry.digest)


def check_room(folder: Path, size: int) -> None:
    """Raise :class:`DiskFull` unless ``size`` bytes and :data:`SPARE` more are free where ``folder`` is."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise DiskFull(
            f"{size:,} bytes do not fit into {folder}: {free:,} are free there, and {SPARE:,} must stay so",
            "Free some space, or choose a folder on another disk",
        )


def place(home: Home, base: BaseModel) -> Path:
    """Where :func:`link` puts the folder of ``base``."""
    return home.base / base.digest.hex()[:16]


def link(home: Home, blobs: BlobStore, base: BaseModel) -> Path:
    """The folder ``HOME/base/<digest>`` with every file of ``base`` under its own name; all must be in the
    store.

    The files are links to the blobs (copies where the file system has no links), so the model is on the disk
    once.
    """
    folder = place(home, base)
    for entry in base.files:
        target = folder / entry.name
        if target.exists() and target.stat().st_size == entry.size:
            continue
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        temporary.unlink(missing_ok=True)
        try:
            os.link(blobs.path(entry.digest), temporary)
        except OSError:
            shutil.copyfile(blobs.path(entry.digest), temporary)
        temporary.replace(target)
    return folder
