"""How well each listing matches a need, from 0 to 1, by subjects, BM25, and where there is one a sentence model.

Subjects carry over languages and word forms, BM25 (Robertson and Zaragoza, 2009) finds what no list of subjects
foresaw. A general branch answers everything a little; it is the best where nothing matches better.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from banyan.node.catalog import languages
from banyan.node.catalog.listing import Listing
from banyan.node.catalog.need import Need
from banyan.node.catalog.subjects import subjects
from banyan.node.catalog.words import silent_words, stems, tokens

#: What a general branch matches any subject, and what anything matches somebody who names no subject.
GENERAL: Final = 0.3
UNSAID: Final = 0.3
GENERAL_UNSAID: Final = 0.6

#: How much a subject of the branches above, or of the description, counts beside those that the branch is named for.
IN_PASSING: Final = 0.5

#: What a model is worth to somebody who writes in a language that it does not know.
OTHER_LANGUAGE: Final = 0.35

#: What a model loses at most for the languages that it knows besides.
MANY_TONGUES: Final = 0.15

#: Subjects that often only say how somebody would like to be helped with another.
MANNERS: Final = frozenset(
    {"writing", "conversation", "translation", "school", "customer_support", "science"}
)
MANNER: Final = 0.4

#: A BM25 score at which half of its share is given.
HALF: Final = 4.0

#: Shares of the match where subjects are named: theirs, BM25's, and of both where a sentence model has its say.
BY_SUBJECT: Final = 0.75
BY_SENTENCE: Final = 0.35

Scores = NDArray[np.float64]


class Embedder(Protocol):
    """Turns texts into unit vectors, ``(len(texts), width)`` float32."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class Matcher:
    """The words of ``listings``, indexed once."""

    def __init__(self, listings: Sequence[Listing], embedder: Embedder | None = None) -> None:
        import bm25s

        self._listings = listings
        self._about = [_about(listing) for listing in listings]
        self._general = np.array([_is_general(listing) for listing in listings], dtype=bool)
        self._index = bm25s.BM25()
        documents = [_document(listing) for listing in listings]
        self._known = bool(sum(map(len, documents)))
        if self._known:
            self._index.index(documents, show_progress=False)
        self._embedder = embedder
        self._sentences = embedder.embed([_sentence(listing) for listing in listings]) if embedder else None

    def scores(self, need: Need) -> Scores:
        """The match of each listing, in their order, float64 from 0 to 1."""
        if not self._listings:
            return np.zeros(0)
        by_subject, by_word = self._by_subject(need), self._by_word(need)
        if by_subject is not None:
            match = BY_SUBJECT * by_subject + (1 - BY_SUBJECT) * by_word
            match = np.where(self._general, np.maximum(match, GENERAL), match)
        elif by_word.any():
            match = np.maximum(by_word, np.where(self._general, GENERAL, 0.0))
        else:  # who names a subject that nobody here knows is not offered just anything
            match = np.where(self._general, GENERAL_UNSAID, 0.0 if _content(need) else UNSAID)
        if self._sentences is not None and self._embedder is not None and need.text.strip():
            near = self._sentences @ self._embedder.embed([need.text])[0]
            match = (1 - BY_SENTENCE) * match + BY_SENTENCE * np.clip(near, 0.0, 1.0)
        match = match + 0.08 * self._does(need)
        match = match * self._fluency(need)
        if need.written_in is not None and not need.languages:
            foreign = [need.written_in not in listing.languages for listing in self._listings]
            match = np.where(foreign, OTHER_LANGUAGE * match, match)
        return np.clip(match, 0.0, 1.0)

    def shared(self, need: Need, place: int) -> list[str]:
        """The subjects of ``need`` that the listing at ``place`` is about."""
        about = self._about[place]
        return [wanted for wanted in need.domains if any(_related(wanted, each) >= 0.7 for each in about)]

    def is_general(self, place: int) -> bool:
        """Whether the listing at ``place`` is for no subject in particular."""
        return bool(self._general[place])

    def _by_subject(self, need: Need) -> Scores | None:
        wanted = dict.fromkeys(need.domains, 1.0)
        if len(wanted.keys() - MANNERS) > 0:
            wanted = {subject: MANNER if subject in MANNERS else 1.0 for subject in wanted}
        if len(wanted) > 1:
            wanted.pop("general", None)
        if not wanted:
            return None
        total = sum(wanted.values())
        sums = [
            sum(
                weight * max((_related(subject, each) * sure for each, sure in about.items()), default=0.0)
                for subject, weight in wanted.items()
            )
            for about in self._about
        ]
        return np.array(sums) / total

    def _by_word(self, need: Need) -> Scores:
        nothing = np.zeros(len(self._listings))
        if not self._known:
            return nothing
        known = self._index.vocab_dict
        asked = [self._nearest(each) for each in _content(need)]
        asked = [each for each in dict.fromkeys(asked) if each in known]
        if not asked:
            return nothing
        found = np.asarray(self._index.get_scores(asked), dtype=np.float64)
        return found / (found + HALF)

    def _nearest(self, stem: str) -> str:
        """``stem``, or where no listing has it the one that it is most likely a misspelling of."""
        from rapidfuzz import fuzz, process

        known = self._index.vocab_dict
        if stem in known or len(stem) < 5:
            return stem
        found = process.extractOne(stem, known.keys(), scorer=fuzz.ratio, score_cutoff=86)
        return found[0] if found else stem

    def _fluency(self, need: Need) -> Scores:
        """A model of one language knows it better than one of many (Conneau et al., arXiv:1911.02116, section 5.2)."""
        asked = set(need.languages) or {need.written_in}
        share = [
            len(asked & set(listing.languages)) / max(1, len(listing.languages)) for listing in self._listings
        ]
        return 1 - MANY_TONGUES * (1 - np.minimum(1.0, share)) if asked != {None} else np.ones(len(share))

    def _does(self, need: Need) -> Scores:
        return np.array(
            [bool(set(need.tasks) & set(listing.tasks)) for listing in self._listings], dtype=float
        )


def _content(need: Need) -> list[str]:
    """The stems of what a request says, without names of languages and numbers."""
    named = languages.names()
    words = [word for word in tokens(need.text) if word not in named and not any(map(str.isdigit, word))]
    return stems(words, need.written_in)


@cache
def _related(wanted: str, offered: str) -> float:
    return subjects().related(wanted, offered)


def _about(listing: Listing) -> dict[str, float]:
    """The subjects of a listing, each with how much it is about that."""
    language = listing.languages[0] if listing.languages else None
    known, (*above, own) = subjects(), listing.path.split("/")
    named = [own.replace("_", " ").replace("-", " "), *listing.domains, listing.title]
    about: dict[str, float] = {}
    for text in named:
        about |= known.found(tokens(text), language)
    for text in (*(each.replace("_", " ") for each in above), listing.description):
        for subject, sure in known.found(tokens(text), language).items():
            about.setdefault(subject, IN_PASSING * sure)
    return about


def _is_general(listing: Listing) -> bool:
    """Whether it says so, or stands where the tree has not divided by subject yet and says nothing else."""
    domains = [subject for each in listing.domains for subject in subjects().found(tokens(each))]
    if domains or listing.domains:
        return "general" in domains
    return listing.path.count("/") < 2 and listing.path.strip("/") in ("", *languages.KNOWN)


def _document(listing: Listing) -> list[str]:
    """The stems of a listing's words; those that name it more than once."""
    language = listing.languages[0] if listing.languages else None
    path = listing.path.replace("_", " ")
    texts = [
        path,
        path,
        listing.title,
        listing.title,
        *listing.domains * 3,
        listing.description,
        *listing.tasks,
    ]
    silent = silent_words()
    return [stem for text in texts for stem in stems(tokens(text), language) if stem not in silent]


def _sentence(listing: Listing) -> str:
    return f"{listing.title}. {', '.join(listing.domains)}. {listing.description}"
