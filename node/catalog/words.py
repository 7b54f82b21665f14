"""Words of free text: folded, cut, stemmed, and the language they are in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any, Final

#: Languages whose requests are understood, the first where nothing tells.
SPOKEN: Final = ("en", "de", "es", "fr")

_TOKEN: Final = re.compile(r"c\+\+|c#|[^\W_]+")
_STEMMERS: Final = {
    "en": "english",
    "de": "german",
    "es": "spanish",
    "fr": "french",
    "it": "italian",
    "pt": "portuguese",
}

#: Words of requests that the lists of function words lack, and that say nothing of the subject.
_REQUEST: Final = {
    "en": "need want would like please help helps assistant model models something someone looking recommend good best "
    "use using run runs small big tiny large fast quick private only just give find me my our we you i im and or which "
    "that may be used for commercially commercial licensed license machine computer laptop memory ram speak speaks "
    "how what computers laptops phone phones machines office internet gb mb old new",
    "de": "brauche möchte will suche bitte hilfe helfen modell modelle assistent etwas jemand klein groß schnell gut "
    "bestes nur mir mein meine wir unser für ki mit ich ist sind speicher rechner läuft alles lokal wer wie was",
    "es": "necesito quiero busco por favor ayuda ayudar modelo modelos asistente algo alguien pequeño grande rápido "
    "bueno mejor solo mi mis nuestro para ia con memoria ordenador que como hola",
    "fr": "besoin veux voudrais cherche aide aider modele modeles assistant quelque chose petit grand rapide bon "
    "meilleur seulement mon mes ma notre pour ia avec memoire ordinateur que comment bonjour faire",
    "it": "ho bisogno aiuto modello assistente per vorrei il",
    "pt": "preciso ajuda modelo assistente para quero em de",
}


def fold(text: str) -> str:
    """``text`` in lower case without accents: ``Straße, Müsli`` is ``strasse, musli``."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(each for each in decomposed if not unicodedata.combining(each))


def tokens(text: str) -> list[str]:
    """The folded words of ``text``, in order."""
    return _TOKEN.findall(fold(text))


@cache
def function_words(language: str) -> frozenset[str]:
    """Folded words of ``language`` that say nothing of a subject."""
    from bm25s import stopwords

    lists = {
        "en": stopwords.STOPWORDS_EN_PLUS,
        "de": stopwords.STOPWORDS_GERMAN,
        "es": stopwords.STOPWORDS_SPANISH,
        "fr": stopwords.STOPWORDS_FRENCH,
        "it": stopwords.STOPWORDS_ITALIAN,
        "pt": stopwords.STOPWORDS_PORTUGUESE,
    }
    return frozenset(fold(word) for word in (*lists[language], *_REQUEST[language].split()))


@cache
def silent_words() -> frozenset[str]:
    """The function words of every language here."""
    return frozenset().union(*(function_words(language) for language in _STEMMERS))


def written_in(words: Sequence[str]) -> str | None:
    """The language whose function words ``words`` has most of; None where that is a tie or there are none."""
    counts = {
        language: sum(word in function_words(language) for word in words if len(word) > 1)
        for language in _STEMMERS
    }
    best = max(counts, key=lambda language: counts[language])
    leaders = [language for language, count in counts.items() if count == counts[best]]
    return best if counts[best] and len(leaders) == 1 else None


@cache
def _stemmer(language: str) -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer(_STEMMERS.get(language, "english"))


@lru_cache(maxsize=65_536)
def stem(word: str, language: str) -> str:
    """The stem of a folded word (Snowball)."""
    return str(_stemmer(language).stemWord(word))


def stems(words: Iterable[str], language: str | None) -> list[str]:
    """The stems of what is no function word, as ``language`` has them (None: as English)."""
    silent = silent_words()
    return [stem(word, language or "en") for word in words if word not in silent]
