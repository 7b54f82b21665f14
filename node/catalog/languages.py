"""Names of languages in the languages that people write in: ``German``, ``deutsches``, ``alemán``, ``allemande``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

from banyan.node.catalog.words import SPOKEN, fold

#: Languages by their tags. More of them would be found in texts that do not mean them: "even", "ga", "sango".
# fmt: off
KNOWN: Final = (
    "af", "ar", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr",
    "gl", "he", "hi", "hr", "hu", "id", "is", "it", "ja", "ka", "kk", "km", "ko", "lt", "lv", "mk", "ms",
    "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sq", "sr", "sv", "sw", "ta", "te", "th", "tr", "uk",
    "ur", "vi", "zh",
)
# fmt: on

_ENDINGS: Final = {
    "de": ("", "e", "es", "er", "en", "em", "sprachig", "sprachige", "sprachiges", "sprachigen"),
    "es": ("", "a", "es", "as", "os"),
    "fr": ("", "e", "s", "es", "ne", "nes"),
    "en": ("", "s"),
}
_SPEAKERS: Final = {"francophone": "fr", "anglophone": "en", "hispanophone": "es", "germanophone": "de"}

#: Languages whose own names are known as well: loading one takes 10 ms.
OWN: Final = (*SPOKEN, "it", "nl", "pl", "pt", "sv", "tr")

#: Before a name, these make it the language of what is wanted.
_IN: Final = frozenset({"in", "auf", "en", "em", "into", "ins", "al", "del", "vers"})

#: Before a name, these make it a property: "a Spanish …", and not "the Spanish …".
_ARTICLES: Final = frozenset({"a", "an", "some", "any", "ein", "eine", "einen", "un", "una", "une"})

#: Within three words after a name, these are what it describes.
# fmt: off
_MODEL: Final = frozenset(
    {
        "model", "models", "modell", "modells", "modele", "modelo", "modello", "assistant", "assistent",
        "assistente", "asistente", "ki", "ai", "ia", "llm", "bot", "chatbot", "version",
    }
)
# fmt: on
# fmt: off
_SPEAK: Final = frozenset(
    {
        "speak", "speaks", "speaking", "spricht", "sprechen", "reden", "hablan", "habla", "hablar", "parle",
        "parlent", "parler",
    }
)
# fmt: on
_SELF: Final = frozenset({"i", "ich", "yo", "je", "we", "wir", "nosotros", "nous"})

#: In so short a request a language is named for its own sake.
SHORT: Final = 4


@cache
def names() -> dict[str, str]:
    """Folded name to tag, in every language here and in its own."""
    from babel import Locale

    found: dict[str, str] = dict(_SPEAKERS)
    for tag in KNOWN:
        for spoken in SPOKEN:
            name = Locale(spoken).languages.get(tag)
            if name is None:
                continue
            folded = fold(name)
            stem = folded[:-1] if spoken == "es" and folded.endswith("o") else folded
            for ending in _ENDINGS[spoken]:
                found.setdefault(stem + ending, tag)
            found.setdefault(folded, tag)
    for tag in OWN:
        found.setdefault(fold(Locale(tag).languages[tag]), tag)
    return found


def wanted(words: Sequence[str], *, translates: bool = False) -> tuple[str, ...]:
    """The languages that a request asks a model to know, in their order: those named first, with ``in``, as a
    property, as what others speak, or in a request of a few words. "The French revolution" names none.

    With ``translates``, every language named is needed.
    """
    known = names()
    marked: list[str] = []
    for at, word in enumerate(words):
        tag = known.get(word)
        if tag is not None and (translates or len(words) <= SHORT or _is_meant(words, at)):
            marked.append(tag)
    return tuple(dict.fromkeys(marked))


def _is_meant(words: Sequence[str], at: int) -> bool:
    before = words[at - 1] if at else ""
    if (
        at == 0
        or before in _ARTICLES
        or before in _IN
        or any(word in _MODEL for word in words[at + 1 : at + 4])
    ):
        return True
    if any(word in _MODEL for word in words[max(0, at - 1) : at]):
        return True
    return before in _SPEAK and not _SELF & set(words[max(0, at - 3) : at - 1])
