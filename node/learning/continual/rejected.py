"""Versions that the gate rejected: kept on this device with their figures, published nowhere.

One folder for a node; a version is a float32 delta blob against its head and a JSON file of what was measured,
written last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

from banyan.node.home import write_durably
from banyan.node.learning.dataset import files_of
from banyan.node.learning.distill.teacher import Teacher
from banyan.node.learning.settings import TrainingSettings
from banyan.protocol.effects import Train

#: Rejected versions that are listed; older ones stay on the disk.
LISTED = 20

#: A file of figures is no longer than this many bytes.
FIGURES_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Rejected:
    """A round's version that would have made an earlier task worse by ``rise`` nats a token where ``allowed`` may be;
    or the model on the text that a teacher taught it on (``by_teacher``), where no rise is allowed.

    ``file`` is where its delta lies; ``metrics`` are those of its training. ``again`` says that the same job had been
    rejected before and was not trained again.
    """

    branch: str
    height: int
    file: str
    rise: float
    allowed: float
    metrics: dict[str, float] = field(default_factory=dict)
    again: bool = False
    by_teacher: bool = False

    @classmethod
    def by(cls, metrics: dict[str, float], job: Train, file: str, epsilon: float) -> Rejected:
        """The version of ``job`` with these ``metrics``, where ``epsilon`` is allowed to earlier tasks."""
        if (rise := metrics.get("text_rise", 0.0)) > 0:
            return cls(job.branch, job.height, file, rise, 0.0, metrics, by_teacher=True)
        return cls(job.branch, job.height, file, metrics.get("gate_rise", float("nan")), epsilon, metrics)

    def reason(self) -> str:
        """What happened, why, what to do."""
        if self.by_teacher:
            return (
                f"The version was kept aside: by what the teacher taught it the model would have become worse by "
                f"{self.rise:.3f} nats a token on the text's held-out rows. Learn from a model that is better on this "
                "text, or give text that the teacher knows"
            )
        return (
            f"The version was kept aside: an earlier source's loss would have risen by {self.rise:.3f} nats a token, "
            f"{self.allowed:g} is allowed. Train with a lower learning rate or more replay, or allow more with "
            "training.continual_epsilon"
        )


def place(
    folder: Path,
    job: Train,
    settings: TrainingSettings,
    data: Sequence[Path],
    teacher: Teacher | None = None,
) -> Path:
    """Where the figures of this very job's rejected version lie: same head, carry, settings, files and teacher."""
    stats = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in files_of(data)]
    key = hashlib.sha256(repr((job, settings, stats, teacher)).encode()).hexdigest()[:16]
    return folder / "rejected" / f"{quote(job.branch, safe='')}-{job.height}-{key}.json"


def keep(path: Path, version: Rejected, delta: bytes) -> None:
    """Keep the version and its figures, durably."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(Path(version.file), delta)
    write_durably(path, json.dumps(asdict(version)).encode())


def find(path: Path) -> Rejected | None:
    """The version whose figures lie in ``path``; None where there are none, or none that can be read."""
    with suppress(OSError, ValueError, TypeError):
        if path.stat().st_size <= FIGURES_BYTES:
            return Rejected(**json.loads(path.read_bytes()))
    return None


def listed(folder: Path) -> list[Rejected]:
    """The newest rejected versions of a node's folder for memories, oldest first."""
    paths = sorted((folder / "rejected").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return [found for path in paths[-LISTED:] if (found := find(path)) is not None]
