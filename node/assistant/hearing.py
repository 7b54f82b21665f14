"""What kind of thing was said: yes, no, the second one, why, thanks, or something about the need.

Only a turn that says nothing else is a yes: "yes, but in Spanish" changes the need, and is agreed to by nobody yet.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from banyan.node.catalog.words import fold, tokens

Kind: TypeAlias = Literal[
    "nothing",
    "yes",
    "no",
    "place",
    "path",
    "skip",
    "why",
    "help",
    "greeting",
    "thanks",
    "restart",
    "question",
    "statement",
]

#: Characters of one turn that are read. More is no request.
LONGEST: Final = 4_000

#: Words of the longest turn that is looked at as an answer in itself.
SHORT: Final = 8


def _words(text: str) -> frozenset[str]:
    return frozenset(fold(text).split())


_YES: Final = _words(
    "yes y yeah yep yup sure ok okay agreed perfect great absolutely definitely go take clone "
    "ja jo jawohl klar gern gerne einverstanden passt los nimm mach "
    "si vale claro perfecto acuerdo adelante hazlo clonalo toma "
    "oui ouais accord parfait volontiers vas prends"
)
_NO: Final = _words(
    "no nope nah n nein ne nee non not none nicht nada ninguno ninguna aucun aucune keins keines"
)
_THANKS: Final = _words(
    "thanks thank thx cheers danke dank gracias merci bye goodbye tschuss adios ciao revoir wiedersehen"
)
_GREETING: Final = _words(
    "hi hello hey hallo moin servus guten tag morgen abend hola buenos buenas dias tardes noches bonjour salut bonsoir "
    "good morning evening afternoon day there"
)
_FILLER: Final = _words(
    "please it that this the one i would want like let us s d do ahead you very much so many a lot then and now me for "
    "bitte das den die der es ich nehme will möchte vielen sehr schön auf jetzt doch "
    "por favor lo la el de muchas quiero esa ese ahora "
    "te vous plait il le les ce cette beaucoup je veux y bien sur au maintenant pas"
)
_PLACES: Final = {
    "1": "1 first erste ersten erster erstes primero primera primer premier premiere",
    "2": "2 second zweite zweiten zweiter zweites segundo segunda deuxieme seconde",
    "3": "3 third dritte dritten dritter drittes tercero tercera tercer troisieme",
    "4": "4 fourth vierte vierten cuarto cuarta quatrieme",
    "5": "5 fifth funfte funften quinto quinta cinquieme",
    "6": "6 sixth sechste sechsten sexto sexta sixieme",
    "7": "7 seventh siebte siebten septimo septima septieme",
}
_PLACE: Final = {word: int(place) for place, names in _PLACES.items() for word in names.split()}
_PLACED: Final = _words("number nummer numero nr no option opcion choose model modell modelo modele choice")

_SKIP: Final = re.compile(
    r"(it )?(really )?(doesn.?t|does not) matter( to me)?|i? ?(don.?t|do not) (care|know|mind)|"
    r"skip( it| this)?|whatever|"
    r"any( of them| one| language)?|anything|either|no preference|(not|un)sure|i.?m not sure|no idea|"
    r"(das )?(ist )?(mir )?egal|weiss (ich )?nicht|ich weiss (es )?nicht|keine ahnung|beliebig|spielt keine rolle|"
    r"(me )?da igual|no importa|cualquiera|no (lo )?se|ni idea|"
    r"peu importe|(ca m.?est )?egal|n.?importe( lequel| laquelle)?|(je ne )?sais pas|je ne sais pas|aucune idee"
)
_WHY: Final = re.compile(
    r"(but |and )?(why|how come|warum|wieso|weshalb|por ?que|pourquoi)\b.{0,60}|"
    r"explain( it| that| this)?|tell me more|(more )?details|erklar\w*( das)?|mehr dazu|explica\w*|explique\w*"
)
_HELP: Final = re.compile(
    r"(help|hilfe|ayuda|aide)( me)?|(who|what) (are|is) (you|this)|what (can|do) you do|"
    r"how does (this|it) work|commands?|"
    r"(wer|was) bist du|was kannst du|wie geht das|quien eres|que puedes hacer|que haces|"
    r"(qui|que) (es tu|etes vous)|que (peux tu|pouvez vous) faire|tu fais quoi"
)
_RESTART: Final = re.compile(
    r"(let.?s )?start (over|again|anew)|restart|reset|forget (everything|all( of)?( that)?)|begin again|"
    r"(noch ?mal )?von vorne?|neu anfangen|neustart|(empezar|comenzar) de nuevo|reiniciar|recommencer|a zero"
)
_ASKS: Final = re.compile(
    r"(what|who|whom|whose|when|where|why|how|is|are|was|were|did|does|do|has|have|should|"
    r"was|wer|wann|wo|warum|wie|welche[rs]?|ist|sind|hat|haben|"
    r"que|quien|cuando|donde|como|cual|cuanto|es|"
    r"quoi|qui|quand|comment|quel(le)?s?|combien|est)\b"
)
_REQUESTS: Final = re.compile(
    r"\b(models?|modelle?n?|modelo|modele|assistant|assistent|asistente|recommend\w*|suggest\w*|help\w*|need|looking|find|"
    r"choose|offer|empf\w+|brauche|hilf\w*|helfen|suche|recom\w+|necesito|ayud\w+|busco|besoin|aid\w+|cherche|conseil\w*)\b"
)


@dataclass(frozen=True, slots=True)
class Heard:
    """``place`` is the number that was named, from 1; ``path`` the branch."""

    kind: Kind
    place: int = 0
    path: str = ""


def clean(text: str) -> str:
    """``text`` without what moves cursors, turns directions or hides, its ends trimmed, cut to :data:`LONGEST`."""
    kept = "".join(
        " " if each in "\t\n\r" else each
        for each in text[: 4 * LONGEST]
        if each in "\t\n\r" or unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    )
    return kept.strip()[:LONGEST]


def hear(text: str, paths: Iterable[str] = ()) -> Heard:
    """What kind of turn ``text``, as :func:`clean` gives it, is; ``paths`` are the branches that may be named."""
    words = tokens(text)
    plain = re.sub(r"\s+", " ", fold(text)).strip(" .,;:!?¡¿…\"'")
    path = _path(text, words, paths)
    if path:
        return Heard("path", path=path)
    if not words:
        return Heard("help" if text.strip() == "?" else "nothing")
    if len(words) <= SHORT and (short := _short(plain, words)) is not None:
        return short
    asks = text.rstrip().endswith("?") or _ASKS.match(plain) is not None
    if asks and _ASKS.match(plain) and not _REQUESTS.search(plain):
        return Heard("question")
    return Heard("statement")


def _short(plain: str, words: list[str]) -> Heard | None:
    """What a few words are in themselves; None: they are about the need."""
    for kind, pattern in (("skip", _SKIP), ("restart", _RESTART), ("help", _HELP), ("why", _WHY)):
        if pattern.fullmatch(plain):
            places = [_PLACE[word] for word in words if word in _PLACE]
            return Heard(kind, place=places[0] if places else 0)  # type: ignore[arg-type]
    said = frozenset(words)
    places = {_PLACE[word] for word in said if word in _PLACE}
    if len(places) == 1 and said <= {*_PLACE, *_FILLER, *_YES, *_PLACED}:
        return Heard("place", place=places.pop())
    # "no thanks" is a no, "thanks, yes" a yes; "d'accord" and "de acuerdo" are one word and their particle
    if said & _NO and said <= {*_NO, *_FILLER, *_THANKS}:
        return Heard("no")
    if said & _YES and said <= {*_YES, *_FILLER, *_THANKS}:
        return Heard("yes")
    if plain in ("do it", "tu es", "tu das"):
        return Heard("yes")
    if said & _THANKS and said <= {*_THANKS, *_FILLER, *_GREETING}:
        return Heard("thanks")
    if said <= {*_GREETING, *_FILLER} and said & _GREETING:
        return Heard("greeting")
    return None


def _path(text: str, words: list[str], paths: Iterable[str]) -> str:
    """The branch that a short turn names by its path."""
    if len(words) > 2 * SHORT:
        return ""
    given = {each.rstrip(".,;:!?") for each in text.split() if each.startswith("/")}
    named = [path for path in paths if path in given]
    return named[0] if len(named) == 1 else ""
