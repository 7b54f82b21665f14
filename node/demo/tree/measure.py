"""The process of the demo in which torch lives: it gives models their losses.

    python -m banyan.node.demo.tree.measure OUT/measure.json

Orders come as JSON lines on standard input, ``{"model": [blobs], "rows": branch}``, and go back as they were with a
``loss``, in nats a token (null for one that is not a number).
"""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from banyan.node.demo.measure import seat
from banyan.node.learning.blobs import read_sum
from banyan.node.learning.settings import TrainingSettings
from banyan.node.store import BlobStore
from banyan.security.charter import Charter


@dataclass(frozen=True, slots=True)
class Task:
    """Everything that the measuring process needs to know; travels as JSON. ``rows`` has a file for each branch."""

    charter: str
    founder: str
    blobs: str
    base: str
    rows: dict[str, str]
    settings: dict[str, Any]

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, path: Path) -> Task:
        """From JSON."""
        return cls(**json.loads(path.read_text("utf-8")))


def main(path: str) -> int:
    """Measure until nobody orders any more."""
    from banyan.node.learning.dataset import read_rows
    from banyan.node.learning.tokens import examples
    from banyan.node.learning.trainer import held_out_loss

    task = Task.read(Path(path))
    charter = Charter.decode(Path(task.charter).read_bytes())
    settings = TrainingSettings(**task.settings)
    bench = seat(charter, BlobStore(Path(task.founder)), Path(task.base), settings)
    rows = {
        branch: examples(list(read_rows(Path(file))), bench.tokenizer, bench.length)
        for branch, file in task.rows.items()
    }
    store = BlobStore(Path(task.blobs))
    for line in sys.stdin:
        order = json.loads(line)
        bench.model.set_vector(read_sum(store, map(bytes.fromhex, order["model"]), charter.adapter))
        loss, _ = held_out_loss(bench.model, rows[order["rows"]], settings, pad=bench.pad)
        print(json.dumps(order | {"loss": loss if math.isfinite(loss) else None}), flush=True)
    os._exit(0)  # at once, whatever threads torch has


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
