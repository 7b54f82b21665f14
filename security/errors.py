"""The one exception tree of Banyan.

Every message speaks to the person who reads it: *what* happened and why, then what to do about it (*cure*).
Each room derives its own few types from these two.
"""

from __future__ import annotations


class BanyanError(Exception):
    """Something went wrong and a person should know.

    ``what`` says what happened and why; ``cure`` says what to do next, and is empty where there is nothing
    to do. ``str(error)`` is both as sentences.
    """

    def __init__(self, what: str, cure: str = "") -> None:
        super().__init__(what, cure)
        self.what = what
        self.cure = cure

    def __str__(self) -> str:
        sentences = (_sentence(text) for text in (self.what, self.cure) if text)
        return " ".join(sentences)


class Refused(BanyanError):
    """Something offered to us (bytes, a message, an invite, an update) was not accepted.

    ``reason`` is a stable code in lower case with hyphens, for counters, events and tests; the sentence is
    for people and may change.
    """

    def __init__(self, reason: str, what: str, cure: str = "") -> None:
        super().__init__(what, cure)
        self.args = (reason, what, cure)  # so that copying rebuilds the same exception
        self.reason = reason


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."
