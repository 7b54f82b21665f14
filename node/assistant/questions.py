"""What is worth asking: only that to which different plausible answers bring different recommendations.

It is decided by trying. An answer that might be given is an edit; each is applied to what is understood so far, and
where all of them lead to the same first offer as no answer does, nothing is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from banyan.node.assistant import edits
from banyan.node.assistant.following import says_purpose
from banyan.node.assistant.state import Dialogue, Topic
from banyan.node.catalog import languages
from banyan.node.catalog.listing import Listing
from banyan.node.catalog.need import Need
from banyan.node.catalog.subjects import subjects
from banyan.node.catalog.words import tokens

#: Questions of one conversation at most, and how often one is asked.
MOST: Final = 3
AGAIN: Final = 2

#: Answers that are tried at most.
TRIED: Final = 6

#: The path of the first offer for a need; None: nothing fits.
First: TypeAlias = Callable[[Need], str | None]


@dataclass(frozen=True, slots=True)
class Known:
    """The catalog, with the subjects of each listing."""

    listings: Sequence[Listing]
    about: Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Worth:
    """A question worth asking: the edits that its answers are, and the first offers that they lead to."""

    topic: Topic
    answers: tuple[str, ...]
    outcomes: tuple[str | None, ...]


def worth_asking(dialogue: Dialogue, first: First, known: Known, stays: Topic | None = None) -> Worth | None:
    """The first question that changes the answer; None: what is understood is enough. ``stays``: what was asked last,
    where nothing has been said to it or to anything else."""
    now = first(dialogue.need)
    for topic, plausible in _PLAUSIBLE.items():
        if topic in dialogue.settled or (dialogue.asked.count(topic) >= AGAIN and topic != stays):
            continue
        if len(set(dialogue.asked)) >= MOST and topic not in dialogue.asked:
            continue
        tried = [
            (edit, first(edits.apply(dialogue.need, edits.parse(edit))))
            for edit in plausible(dialogue.need, known)[:TRIED]
        ]
        if topic == "detail":  # "in general" is what there is already
            tried = [(edit, outcome) for edit, outcome in tried if outcome not in (None, now)]
        outcomes = dict.fromkeys((*(outcome for _, outcome in tried), now))
        if len(outcomes) > 1:
            return Worth(topic, tuple(edit for edit, _ in tried), tuple(outcomes))
    return None


def _purposes(need: Need, known: Known) -> list[str]:
    if says_purpose(need):
        return []
    above = subjects().above
    return [f"subject={each}" for each in _offered(known, lambda subject: _widest(subject, above(subject)))]


def _widest(subject: str, above: Iterable[str]) -> str | None:
    widest = [subject, *(each for each in above if each != "general")][-1]
    return None if widest == "general" else widest


def _details(need: Need, known: Known) -> list[str]:
    if len(need.domains) != 1:
        return []
    (wide,) = need.domains
    above = subjects().above
    return [f"subject={each}" for each in _offered(known, lambda s: s if wide in above(s) else None)]


def _languages(need: Need, known: Known) -> list[str]:
    if need.languages:
        return []
    names = languages.names()
    named = [names[word] for word in tokens(need.text) if word in names]  # "German taxes": perhaps in German
    if named or need.written_in is not None:
        likely = dict.fromkeys((*named, *filter(None, (need.written_in,))))
        return [f"language={tag}" for tag in likely]
    spoken = Counter(tag for listing in known.listings for tag in listing.languages)
    return [f"language={tag}" for tag, _ in sorted(spoken.items(), key=lambda each: (-each[1], each[0]))]


def _uses(need: Need, known: Known) -> list[str]:
    return ["use=run", "use=train"]


def _licenses(need: Need, known: Known) -> list[str]:
    return [] if need.license is not None else ["license=commercial"]


def _preferences(need: Need, known: Known) -> list[str]:
    return [] if need.prefers is not None else ["prefer=quality", "prefer=speed"]


def _offered(known: Known, named: Callable[[str], str | None]) -> list[str]:
    """What ``named`` makes of the subjects that listings are named for, the most frequent first."""
    counts = Counter(
        name
        for about in known.about
        for name in {named(subject) for subject, sure in about.items() if sure > 0.5}
        if name is not None
    )
    return [name for name, _ in sorted(counts.items(), key=lambda each: (-each[1], each[0]))]


_PLAUSIBLE: Final[dict[Topic, Callable[[Need, Known], list[str]]]] = {
    "purpose": _purposes,
    "detail": _details,
    "language": _languages,
    "use": _uses,
    "license": _licenses,
    "preference": _preferences,
}
