"""What a turn in free text changes of a need: it adds, says more exactly, corrects, or answers what was asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from banyan.node.assistant.state import Topic
from banyan.node.catalog import languages
from banyan.node.catalog.matching import content
from banyan.node.catalog.need import Need
from banyan.node.catalog.subjects import subjects
from banyan.node.catalog.understand import understand
from banyan.node.catalog.words import fold, tokens

#: Words of a turn from which on it is taken to show which language a person writes.
TELLING: Final = 4

#: Words of the longest turn in which any name of a language is meant, where one was asked for or is being corrected.
SHORT: Final = 8

#: Characters of a need's text, the latest.
LONGEST: Final = 4_000

#: Conditions that are read from the whole turn, each with the question that it answers.
_CONDITION_TOPICS: Final[dict[str, Topic | None]] = {
    "memory": None,
    "disk": None,
    "license": "license",
    "prefers": "preference",
}

_BREAKS: Final = re.compile(
    r"[,;.!?:\n]+|\b(?:but|sondern|aber|sino|pero|mais|rather|lieber)\b", re.IGNORECASE
)
_NO: Final = frozenset({"no", "nope", "nein", "nee", "non", "not"})
_NOT: Final = re.compile(
    r"(not|no|never|without|nicht|kein\w*|ohne|sin|pas|sans|ni)\b|"
    r"(i|we|ich|wir|yo|je|nous)?\W*(don.?t|do not|didn.?t|brauche\w* (nicht|kein\w*)|"
    r"will (nicht|kein\w*)|no (quiero|necesito)"
    r"|ne veux pas|ne voudrais pas)\b"
)
_INSTEAD: Final = re.compile(
    r"\b(instead|rather|actually|now|jetzt|ahora|maintenant|i mean|i meant|make (it|that)|change (it|that)|sorry|"
    r"stattdessen|lieber|eigentlich|ich meine|ich meinte|doch|mejor|en vez|en lugar|quiero decir|"
    r"plutot|au lieu|je veux dire|en fait)\b"
)
_ALSO: Final = re.compile(r"\b(also|too|as well|auch|ausserdem|tambien|ademas|aussi)\b")
_AND: Final = re.compile(r"\b(plus|and|und|y|e|et)\b")

#: What says nothing of the subject, though words of it are like some that do: sizes, and "nothing may leave my laptop".
_ASIDE: Final = re.compile(
    r"\b\d+(?:[.,]\d+)?\s*[tgm]i?[bo]\b|"
    r"\b(?:nothing|not|never|nichts|nada|rien)\b.{0,30}\b(?:leaves?|verl[aä]ss\w*|sal\w*|sort\w*|quitt\w*)\b",
    re.IGNORECASE,
)

_LEARNS: Final = re.compile(
    r"\b(learn\w*|lern\w*|aprend\w*|appren\w*)\b.{0,20}\b(my|our|mein\w*|unser\w*|mis?|nuestr\w+|mes|mon|nos|notre)\b|"
    r"\b(mein\w*|unser\w*) \w+ lern\w*",
    re.IGNORECASE,
)
_ONLY_RUN: Final = re.compile(
    r"\b(only|just|merely|nur|solo|solamente|seulement|juste)\b.{0,15}\b(us(e|ing)|run(ning)?|be?nutzen|verwenden|usar\w*"
    r"|utiliser|util\w+)\b|"
    r"\b(no|not|without|never|don.?t|nicht|kein\w*|ohne|sin|no|pas|sans)\b.{0,25}\b(train\w*|fine.?tun\w*|trainier\w*|training"
    r"|entren\w*|entrain\w*)\b"
)
_TOKENS: Final = re.compile(
    r"(\d{1,5}(?:[.,]\d)?) ?tok\w* ?(?:a|per|/|pro|in der|por|par)? ?(?:s\b|sec\w*|sek\w*|seg\w*)"
)

#: Said in answer to a question, these say it; elsewhere they may mean something else.
_LEARN: Final = re.compile(
    r"\b(train\w*|learn\w*|lern\w*|trainier\w*|aprend\w*|entren\w*|appren\w*|entrain\w*|both|beides)\b"
)
_RUN: Final = re.compile(r"\b(us(e|ing)|run|be?nutzen|verwenden|usar\w*|utiliser|only|nur|solo|seulement)\b")
_BETTER: Final = re.compile(
    r"\b(better|quality|good|accura\w+|bess\w+|gut\w*|genau\w*|qualit\w*|calidad|mejor\w*|meilleur\w*)\b"
)
_FASTER: Final = re.compile(r"\b(fast\w*|quick\w*|speed\w*|schnell\w*|tempo|rapid\w*|veloc\w*|vit\w+)\b")
_HOBBY: Final = re.compile(
    r"\b(private\w*|personal\w*|hobby|research\w*|home|privat\w*|forschung|investigacion|perso\w*|recherche|non.?commercial\w*)\b"
)

#: Words that only set conditions: whoever says nothing else has not said what a model is for.
_CONDITIONS: Final = frozenset(
    tokens(
        "fine tune tuned tuning train training trained device laptop computer offline private data file files notes "
        "cloud trainieren gerät daten dateien rechner entrenar dispositivo datos archivos entraîner appareil données "
        "fichiers license licence lizenz licencia commercial speed quality second tokens token"
    )
)


@dataclass(frozen=True, slots=True)
class Followed:
    """The need after a turn; ``topics`` that it has answered; ``found`` whether anything in it was recognised."""

    need: Need
    topics: frozenset[Topic]
    found: bool
    written_in: str | None


def says_purpose(need: Need) -> bool:
    """Whether a need says what the model is for, in words that are known or not."""
    return bool(need.domains) or any(word not in _CONDITIONS for word in content(need) if word.isalpha())


def followed(before: Need, text: str, pending: Topic | None = None, *, anew: bool = False) -> Followed:
    """``before`` as ``text`` changes it. ``anew``: what was wanted has been found, and a new subject is a new wish."""
    turn = _Turn(before, text, pending)
    turn.take_languages()
    turn.take_conditions()
    turn.take_use()
    turn.take_answers()
    turn.take_purpose(anew)
    turn.take_language_of_words()
    new = turn.new
    told = turn.changes.keys() - {"text", "written_in"} or turn.topics - {"purpose", "detail"}
    found = bool(told or new.domains or new.tasks)
    return Followed(before.model_copy(update=turn.changes), frozenset(turn.topics), found, turn.told)


class _Turn:
    """One turn of free text, taken apart, and what it has changed so far."""

    def __init__(self, before: Need, text: str, pending: Topic | None) -> None:
        wanted, self.unwanted, corrects = _parts(text)
        self.before = before
        self.pending = pending
        self.plain = fold(text)
        self.wanted = _LEARNS.sub(" ", _ASIDE.sub(" ", wanted)).strip(" ,")
        self.new, self.whole = understand(self.wanted), understand(text)
        also = _ALSO.search(self.plain) is not None
        #: What is said takes the place of what was.
        self.replaces = not also and (corrects or _INSTEAD.search(self.plain) is not None)
        self.changes: dict[str, Any] = {}
        self.topics: set[Topic] = set()
        told = len(tokens(text)) >= TELLING or not says_purpose(before)
        self.told = self.new.written_in if told else None

    def take_languages(self) -> None:
        known, before = languages.names(), self.before.languages
        words = tokens(self.wanted)
        refused = {known[word] for word in tokens(self.unwanted) if word in known}
        named = self.new.languages
        if (self.replaces or self.pending == "language") and len(words) <= SHORT:
            named = tuple(dict.fromkeys(known[word] for word in words if word in known)) or named
        kept = tuple(tag for tag in before if tag not in refused)
        if not named and refused and kept == before and self.before.domains:
            named = tuple(
                refused
            )  # "no Spanish" where nobody had spoken of it: a correction without its comma
        if named:
            plain = fold(self.wanted)
            adds = not self.replaces and (_ALSO.search(self.plain) or _AND.match(plain))
            kept = tuple(dict.fromkeys((*kept, *named))) if adds else named
        if kept != before or named:
            self.changes["languages"] = kept
            self.topics.add("language")

    def take_conditions(self) -> None:
        for name, topic in _CONDITION_TOPICS.items():
            value = getattr(self.whole, name)
            if value is not None:
                self.changes[name] = value
                self.topics |= {topic} if topic else set()
        if self.whole.private:
            self.changes["private"] = True
        rate = _TOKENS.search(self.plain)
        if rate is not None and (wanted := float(rate[1].replace(",", "."))) > 0:
            self.changes["tokens_per_second"] = wanted

    def take_use(self) -> None:
        if _ONLY_RUN.search(self.plain):
            self.changes["use"] = "run"
        elif self.whole.use == "train" or _LEARNS.search(self.plain):
            self.changes["use"] = "train"
        if "use" in self.changes:
            self.topics.add("use")

    def take_answers(self) -> None:
        """What only says something because it was asked."""
        if self.pending == "use" and "use" not in self.topics:
            learns = _LEARN.search(self.plain) is not None
            if learns or _RUN.search(self.plain):
                self.changes["use"] = "train" if learns else "run"
                self.topics.add("use")
        elif self.pending == "preference" and "preference" not in self.topics:
            better, faster = _BETTER.search(self.plain), _FASTER.search(self.plain)
            if bool(better) != bool(faster):
                self.changes["prefers"] = "quality" if better else "speed"
                self.topics.add("preference")
        elif self.pending == "license" and "license" not in self.topics and _HOBBY.search(self.plain):
            self.changes.pop("private", None)  # "for private use" is about the license here
            self.topics.add("license")

    def take_purpose(self, anew: bool) -> None:
        before, new, changes = self.before, self.new, self.changes
        replaces, asked = self.replaces or anew, self.pending in ("purpose", "detail")
        refused = understand(self.unwanted).domains if self.unwanted else ()
        kept = tuple(each for each in before.domains if each not in refused)
        if kept != before.domains:
            changes |= {"domains": kept, "text": ""}
        if new.tasks:
            changes["tasks"] = new.tasks if replaces else tuple(dict.fromkeys((*before.tasks, *new.tasks)))
        if not says_purpose(new):
            return
        few = self.topics or changes or len(tokens(self.wanted)) < TELLING
        if few and not new.domains and says_purpose(before) and not asked:
            return  # words between conditions, or too few to say more exactly what it is for
        if new.domains:
            changes["domains"] = new.domains if replaces else _joined(kept, new.domains)
        earlier = "" if replaces and new.domains else changes.get("text", before.text)
        changes["text"] = f"{earlier}\n{self.wanted}".strip()[-LONGEST:]
        if asked and self.pending is not None:
            self.topics.add(self.pending)

    def take_language_of_words(self) -> None:
        if self.told is not None and "text" in self.changes and (self.replaces or not self.before.text):
            self.changes["written_in"] = self.told


def _parts(text: str) -> tuple[str, str, bool]:
    """What is wanted, what is not, and whether a "no" came before."""
    wanted, unwanted, corrects = [], [], False
    for part in filter(None, (each.strip() for each in _BREAKS.split(text))):
        words = tokens(part)
        if words and set(words) <= _NO:
            corrects = True
        elif _NOT.match(fold(part)) and len(words) > 1:
            unwanted.append(part)
        else:
            wanted.append(part)
    if unwanted:
        corrects = corrects or bool(wanted)
    return ", ".join(wanted), ", ".join(unwanted), corrects


def _joined(before: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    """Both, without what ``new`` says more exactly."""
    above = {wider for each in new for wider in subjects().above(each)}
    return tuple(dict.fromkeys((*(each for each in before if each not in above), *new)))
