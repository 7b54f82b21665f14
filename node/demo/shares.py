"""Who holds which rows: one leaf of a tree of JSONL files, shared out by natural owners (non-IID)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from banyan.node.learning.dataset import HELD_OUT_SPLITS, files_of, is_jsonl, read_rows
from banyan.node.learning.errors import DataError

Row = Mapping[str, Any]

#: Of an owner none of whose rows is marked as held out, every so many-th is (by a hash of its content).
EVERY: Final = 6


@dataclass(frozen=True, slots=True)
class Leaf:
    """One sub-domain: where its rows are, its branch in the tree, and its name for people."""

    file: Path
    branch: str


@dataclass(frozen=True, slots=True)
class Share:
    """What one node holds: whole owners, their training rows and their held-out rows."""

    owners: tuple[str, ...]
    training: tuple[Row, ...]
    held_out: tuple[Row, ...]


def choose_leaf(data: Path) -> Leaf:
    """The leaf at ``data``: the file itself, or the file below the folder with most owners (then most rows).

    The branch is the file's path from the folder, below the folder's own name: ``medical`` gives
    ``/medical/heart_lung``. Raises :class:`DataError`.
    """
    data = data.expanduser().resolve()
    root = data if data.is_dir() else data.parent
    files = [file for file in files_of([data]) if is_jsonl(file)]
    if not files:
        raise DataError(
            str(data), None, "there is no JSONL in it", "The demo deals rows of JSONL to its people"
        )
    best = max(files, key=lambda file: (_owners_and_rows(file), str(file)))
    parts = [root.name, *best.relative_to(root).with_suffix("").parts]
    return Leaf(best, "/" + "/".join(filter(None, map(_segment, parts))))


def deal(leaf: Leaf, people: int) -> list[Share]:
    """``people`` shares, the largest first. Owners stay whole; only where there are fewer owners than people is
    the largest cut in two. ``pretrain`` rows are nobody's. Raises :class:`DataError` if there are too few rows."""
    owners = _by_owner(leaf.file)
    while len(owners) < people:
        name = max(owners, key=lambda each: (len(owners[each].training), each), default="")
        if not name or len(owners[name].training) < 4:
            raise DataError(
                str(leaf.file), None, f"there are too few rows for {people} people", "Take fewer nodes"
            )
        whole = owners.pop(name)
        for part in (0, 1):
            owners[f"{name} ({part + 1})"] = Share(
                (f"{name} ({part + 1})",), whole.training[part::2], whole.held_out[part::2]
            )
    hands: list[list[Share]] = [[] for _ in range(people)]
    for share in sorted(owners.values(), key=lambda each: (-len(each.training), each.owners)):
        lightest = min(range(people), key=lambda hand: (sum(len(s.training) for s in hands[hand]), hand))
        hands[lightest].append(share)
    return sorted(map(join, hands), key=lambda share: (-len(share.training), share.owners))


def join(shares: Sequence[Share]) -> Share:
    """All of these as one."""
    return Share(
        tuple(owner for share in shares for owner in share.owners),
        tuple(row for share in shares for row in share.training),
        tuple(row for share in shares for row in share.held_out),
    )


def pool(shares: Sequence[Share], most: int) -> list[Row]:
    """At most ``most`` held-out rows of all these shares, as many of each as there are, in turn by hash."""
    queues = [sorted(share.held_out, key=_hash) for share in shares]
    taken: list[Row] = []
    while any(queues) and len(taken) < most:
        for queue in queues:
            if queue and len(taken) < most:
                taken.append(queue.pop(0))
    return taken


def write(path: Path, training: Sequence[Row], held_out: Sequence[Row]) -> None:
    """Write rows as a node's JSONL data, each marked ``train`` or ``test``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**row, "split": "train"} for row in training] + [{**row, "split": "test"} for row in held_out]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


def _by_owner(file: Path) -> dict[str, Share]:
    """Every owner's rows in the order of the file; a row without an owner belongs to nobody in particular."""
    training: dict[str, list[Row]] = {}
    held_out: dict[str, list[Row]] = {}
    for row in _rows(file):
        split = str(row.get("split", "")).lower()
        if split == "pretrain":
            continue
        owner = str(row.get("client", "everybody"))
        training.setdefault(owner, [])
        (held_out if split in HELD_OUT_SPLITS else training).setdefault(owner, []).append(row)
    if not held_out:
        for owner, rows in training.items():
            chosen = sorted(rows, key=_hash)[: len(rows) // EVERY]
            held_out[owner] = chosen
            training[owner] = [row for row in rows if row not in chosen]
    return {
        owner: Share((owner,), tuple(rows), tuple(held_out.get(owner, ())))
        for owner, rows in training.items()
        if rows
    }


def _rows(file: Path) -> list[Row]:
    for _ in read_rows(file):  # refuses a bad row, by file and line
        pass
    lines = file.read_text("utf-8-sig").split("\n")  # not splitlines: a row may hold other line ends
    return [json.loads(line) for line in lines if line.strip()]


def _owners_and_rows(file: Path) -> tuple[int, int]:
    owners = _by_owner(file)
    return len(owners), sum(len(share.training) for share in owners.values())


def _hash(row: Row) -> str:
    content = json.dumps({**row, "split": ""}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _segment(text: str) -> str:
    """``text`` as one segment of a branch path."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:32]
