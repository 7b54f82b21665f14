"""What can go wrong while a node learns, in its owner's words."""

from __future__ import annotations

from banyan.security.errors import BanyanError


class LearningError(BanyanError):
    """A job on this device cannot be done as asked."""


class ModelError(LearningError):
    """A base model is missing, unsafe to load, or not the one the network was founded on."""


class AdapterError(LearningError):
    """An adapter, or the shared A, does not fit the base model or the charter's adapter spec."""


class DataError(LearningError):
    """Training data cannot be read. ``file`` and ``line`` (from 1; None: the whole file) say where."""

    def __init__(self, file: str, line: int | None, what: str, cure: str = "") -> None:
        place = file if line is None else f"{file}, line {line}"
        super().__init__(f"{place}: {what}", cure)
        self.args = (file, line, what, cure)
        self.file = file
        self.line = line


class AppError(LearningError):
    """A Flower ClientApp could not be loaded, failed, or answered with something that is no adapter."""


class JobCancelled(LearningError):
    """The daemon no longer wants the result of the job that is running."""
