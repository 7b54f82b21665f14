"""Subjects: what a text is about, whichever language names it and however it is spelt (``subjects.toml``)."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from banyan.node.catalog.words import fold, silent_words, tokens

#: How much a subject counts by how it was found.
NAMED: Final = 1.0
MISSPELT: Final = 0.8
IN_COMPOUND: Final = 0.6

#: Letters of the longest word that is looked into, longer than any that people join.
LONGEST: Final = 48

#: Shorter beginnings are found inside too many compounds, shorter words resemble too many others.
LEAST_INNER: Final = 5
LEAST_MISSPELT: Final = 5


class Terms:
    """The words of one language for the subjects: whole words, beginnings and phrases."""

    def __init__(self, joins: bool = False) -> None:
        """``joins``: this language makes one word of several."""
        self._joins = joins
        self._words: dict[str, set[str]] = {}
        self._beginnings: dict[str, set[str]] = {}
        self._phrases: dict[str, list[tuple[tuple[str, ...], str]]] = {}

    def add(self, subject: str, term: str) -> None:
        """``term`` names ``subject``; a ``*`` ends a beginning."""
        parts = tuple(word + "*" * part.endswith("*") for part in fold(term).split() for word in tokens(part))
        if len(parts) > 1:
            self._phrases.setdefault(parts[0].rstrip("*")[:3], []).append((parts, subject))
        elif parts[0].endswith("*"):
            self._beginnings.setdefault(parts[0][:-1], set()).add(subject)
        else:
            self._words.setdefault(parts[0], set()).add(subject)

    def phrase(self, words: Sequence[str], at: int) -> tuple[int, set[str]]:
        """The longest phrase that begins at ``at``: how many words, and its subjects."""
        best, subjects = 0, set[str]()
        for parts, subject in self._phrases.get(words[at][:3], ()):
            there = words[at : at + len(parts)]
            if len(parts) < best or len(there) < len(parts) or not all(map(_fits, there, parts)):
                continue
            subjects = {*subjects, subject} if len(parts) == best else {subject}
            best = len(parts)
        return best, subjects

    def word(self, word: str) -> dict[str, float]:
        """The subjects that a word names, each with how surely."""
        if len(word) > LONGEST:
            return {}
        named = self._words.get(word) or self._begun(word)
        if named:
            return dict.fromkeys(named, NAMED)
        if word in silent_words():
            return {}
        near = self._misspelt(word)
        if near or not self._joins:
            return dict.fromkeys(near, MISSPELT)
        return dict.fromkeys(self._inside(word), IN_COMPOUND)

    def names(self, word: str) -> bool:
        """Whether ``word``, as it is spelt, names a subject."""
        return len(word) <= LONGEST and bool(self._words.get(word) or self._begun(word))

    def _begun(self, word: str) -> set[str]:
        """The subjects of the longest beginning of ``word`` that is known."""
        for end in range(len(word), 1, -1):
            subjects = self._beginnings.get(word[:end])
            if subjects:
                return subjects
        return set()

    def _inside(self, word: str) -> set[str]:
        """As German joins them: ``mietwohnung`` begins with one, ``gartengemuse`` holds another."""
        for start in range(3, len(word) - LEAST_INNER + 1):
            for end in range(len(word), start + LEAST_INNER - 1, -1):
                subjects = self._beginnings.get(word[start:end])
                if subjects:
                    return subjects
        return set()

    def _misspelt(self, word: str) -> set[str]:
        """The subjects of the known words that take the fewest edits or swaps: one, or two between long words. People
        get the first letter right."""
        from rapidfuzz.distance import OSA

        if len(word) < LEAST_MISSPELT:
            return set()
        best, near = 3, list[str]()
        for known in (*self._words, *self._beginnings):
            if known[0] != word[0] or len(known) < LEAST_MISSPELT:
                continue
            allowed = 2 if len(known) >= 8 and len(word) >= 9 else 1
            ends = range(len(known) - 1, len(known) + 2) if known in self._beginnings else (len(word),)
            apart = min(OSA.distance(word[:end], known, score_cutoff=allowed) for end in ends)
            if apart <= min(allowed, best):
                near = [*near, known] if apart == best else [known]
                best = apart
        longest = max(map(len, near), default=0)
        found = (
            self._words.get(each, set()) | self._beginnings.get(each, set())
            for each in near
            if len(each) == longest
        )
        return set().union(*found)


class Subjects:
    """The known subjects, how they lie under each other, and the words for them."""

    def __init__(self, table: Mapping[str, Mapping[str, object]]) -> None:
        self.under: dict[str, str] = {}
        self._terms: dict[str, Terms] = {}
        for subject, entry in table.items():
            for name, value in entry.items():
                if isinstance(value, list):
                    terms = self._terms.setdefault(name, Terms(joins=name == "de"))
                    for term in value:
                        terms.add(subject, str(term))
                else:
                    self.under[subject] = str(value)
            self._terms.setdefault("en", Terms()).add(subject, subject.replace("_", " "))

    def above(self, subject: str) -> Iterator[str]:
        """The wider subjects, the nearest first."""
        wider = self.under.get(subject)
        while wider is not None:
            yield wider
            wider = self.under.get(wider)

    def related(self, wanted: str, offered: str) -> float:
        """How well a model of ``offered`` serves who wants ``wanted``, 0 to 1: the same, one of its parts, the whole
        that it is a part of, or a part of the same whole."""
        if wanted == offered:
            return 1.0
        if wanted in self.above(offered):
            return 0.7
        if offered in self.above(wanted):
            return 0.6
        shared = set(self.above(wanted)) & set(self.above(offered))
        return 0.25 if shared - {"general"} else 0.0

    def language_of(self, words: Sequence[str]) -> str | None:
        """The language that has most of ``words`` for subjects; None where that is a tie or there are none."""
        counts = Counter(
            language for language, terms in self._terms.items() for word in words if terms.names(word)
        ).most_common(2)
        return counts[0][0] if counts and (len(counts) == 1 or counts[0][1] > counts[1][1]) else None

    def found(self, words: Sequence[str], language: str | None = None) -> dict[str, float]:
        """The subjects that folded ``words`` of ``language`` name, each with how surely (0 to 1). English words count
        in every language, and those of all where nothing else is found."""
        chosen = [self._terms[each] for each in dict.fromkeys((language, "en")) if each in self._terms]
        if language is None:
            chosen = [*self._terms.values()]
        found = _found(words, chosen)
        return found or {s: IN_COMPOUND * sure for s, sure in _found(words, [*self._terms.values()]).items()}


@cache
def subjects() -> Subjects:
    """Those that come with Banyan."""
    text = files("banyan.node.catalog").joinpath("subjects.toml").read_text("utf-8")
    return Subjects(tomllib.loads(text))


def _found(words: Sequence[str], chosen: Sequence[Terms]) -> dict[str, float]:
    sure: dict[str, float] = {}
    at = 0
    while at < len(words):
        phrases = [terms.phrase(words, at) for terms in chosen]
        length = max((size for size, _ in phrases), default=0)
        if length:
            named = {each: NAMED for size, those in phrases if size == length for each in those}
        else:
            meanings = [terms.word(words[at]) for terms in chosen]
            surest = max((weight for each in meanings for weight in each.values()), default=0.0)
            named = {s: weight for each in meanings for s, weight in each.items() if weight == surest}
        for subject, weight in named.items():
            sure[subject] = max(weight, sure.get(subject, 0.0))
        at += max(1, length)
    return sure


def _fits(word: str, part: str) -> bool:
    return word.startswith(part[:-1]) if part.endswith("*") else word == part
