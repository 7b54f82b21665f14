"""What was understood, as chips that can be dropped one by one: all that a recommendation hangs on."""

from __future__ import annotations

from collections.abc import Iterator

from banyan.node.assistant.sentences import language_name, sentence, subject_name
from banyan.node.assistant.state import Chip, Dialogue
from banyan.node.catalog.matching import content
from banyan.node.catalog.sizes import in_words

#: Letters of a request that a chip shows.
SHOWN = 60


def chips(dialogue: Dialogue) -> tuple[Chip, ...]:
    """The chips of what is understood so far."""
    return tuple(_chips(dialogue))


def _chips(dialogue: Dialogue) -> Iterator[Chip]:
    need, tongue = dialogue.need, dialogue.tongue

    def one(name: str, value: str, key: str, shown: str = "") -> Chip:
        return Chip(id=name, name=name, value=value, label=sentence(key, tongue, value=shown or value))

    for subject in need.domains:
        yield _of_many("subject", subject, subject_name(subject, tongue))
    for task in (each for each in need.tasks if each not in need.domains):
        yield _of_many("task", task, subject_name(task, tongue))
    if need.text and not need.domains and content(need):
        short = need.text if len(need.text) <= SHOWN else need.text[: SHOWN - 1] + "…"
        yield one("words", short, "chip-words")
    for tag in need.languages:
        yield _of_many("language", tag, language_name(tag, tongue))
    if need.written_in and not need.languages:
        yield one("asked-in", need.written_in, "chip-asked-in", language_name(need.written_in, tongue))
    if need.use == "train" or "use" in dialogue.settled:
        yield one("use", need.use, f"chip-{need.use}")
    if need.memory is not None:
        yield one("memory", str(need.memory), "chip-memory", in_words(need.memory))
    if need.disk is not None:
        yield one("disk", str(need.disk), "chip-disk", in_words(need.disk))
    if need.license is not None:
        yield one(
            "license", need.license, "chip-commercial" if need.license == "commercial" else "chip-license"
        )
    if need.tokens_per_second is not None:
        yield one("speed", f"{need.tokens_per_second:g}", "chip-speed")
    if need.private:
        yield one("private", "yes", "chip-private")
    if need.prefers is not None:
        yield one("prefer", need.prefers, "chip-quality" if need.prefers == "quality" else "chip-fast")


def _of_many(name: str, value: str, label: str) -> Chip:
    return Chip(id=f"{name}:{value}", name=name, value=value, label=label)
