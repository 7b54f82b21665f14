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

_BREAKS: Final = re.compile(r"[,;.!?:\n]+|\b(?:but|sondern|aber|sino|pero|mais|rather|lieber)\b", re.IGNORECASE)
_NO: Final = frozenset({"no", "nope", "nein", "nee", "non", "not"})
_NOT: Final = re.compile(
    r"(not|no|never|without|nicht|kein\w*|ohne|sin|pas|sans|ni)\b|"
    r"(i|we|ich|wir|yo|je|nous)?\W*(don.?t|do not|didn.?t|brauche\w* (nicht|kein\w*)|will (nicht|kein\w*)|no (quiero|necesito)"
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

_ONLY_RUN: Final = re.compile(
    r"\b(only|just|merely|nur|solo|solamente|seulement|juste)\b.{0,15}\b(us(e|ing)|run(ning)?|be?nutzen|verwenden|usar\w*"
    r"|utiliser|util\w+)\b|"
    r"\b(no|not|without|never|don.?t|nicht|kein\w*|ohne|sin|no|pas|sans)\b.{0,25}\b(train\w*|fine.?tun\w*|trainier\w*|training"
    r"|entren\w*|entrain\w*)\b"
)
_TOKENS: Final = re.compile(r"(\d{1,5}(?:[.,]\d)?) ?tok\w* ?(?:a|per|/|pro|in der|por|par)? ?(?:s\b|sec\w*|sek\w*|seg\w*)")

#: Said in answer to a question, these say it; elsewhere they may mean something else.
_LEARN: Final = re.compile(r"\b(train\w*|learn\w*|lern\w*|trainier\w*|aprend\w*|entren\w*|appren\w*|entrain\w*|both|beides)\b")
_RUN: Final = re.compile(r"\b(us(e|ing)|run|be?nutzen|verwenden|usar\w*|utiliser|only|nur|solo|seulement)\b")
_BETTER: Final = re.compile(r"\b(better|quality|good|accura\w+|bess\w+|gut\w*|genau\w*|qualit\w*|calidad|mejor\w*|meilleur\w*)\b")
_FASTER: Final = re.compile(r"\b(fast\w*|quick\w*|speed\w*|schnell\w*|tempo|rapid\w*|veloc\w*|vit\w+)\b")
_HOBBY: Final = re.compile(
    r"\b(private\w*|personal\w*|hobby|research\w*|home|privat\w*|forschung|investigacion|perso\w*|recherche|non.?commercial\w*)\b"
)

#: Words that only set conditions: whoever says nothing else has not said what a model is for.
_CONDITIONS: Final = frozenset(
    "fine tune tuned tuning train training trained device laptop computer offline private data file files notes cloud "
    "trainieren gerat daten dateien rechner entrenar dispositivo datos archivos entrainer appareil donnees fichiers "
    "license licence lizenz licencia commercial speed quality second tokens token".split()
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
    wanted, unwanted, corrects = _parts(text)
    plain = fold(text)
    corrects = (corrects or _INSTEAD.search(plain) is not None) and _ALSO.search(plain) is None
    wanted = _ASIDE.sub(" ", wanted).strip(" ,")
    new, whole = understand(wanted), understand(text)
    changes: dict[str, Any] = {}
    topics: set[Topic] = set()
    _take_languages(changes, before, wanted, unwanted, new, corrects or pending == "language")
    if "languages" in changes:
        topics.add("language")
    _take_conditions(changes, before, plain, whole)
    _take_use(changes, topics, plain, whole)
    _take_answers(changes, topics, plain, pending)
    if changes.get("license"):
        topics.add("license")
    if changes.get("prefers"):
        topics.add("preference")
    found = bool(changes or topics or new.domains or new.tasks)
    _take_purpose(changes, before, wanted, unwanted, new, corrects or anew, pending, found)
    if pending in ("purpose", "detail") and (new.domains or "text" in changes):
        topics.add(pending)
    told = new.written_in if len(tokens(text)) >= TELLING or not says_purpose(before) else None
    if told is not None and "text" in changes and (corrects or not before.text):
        changes["written_in"] = told
    return Followed(before.model_copy(update=changes), frozenset(topics), found, told)


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


def _take_languages(
    changes: dict[str, Any], before: Need, wanted: str, unwanted: str, new: Need, replaces: bool
) -> None:
    known = languages.names()
    refused = {known[word] for word in tokens(unwanted) if word in known}
    named = new.languages
    if replaces and len(tokens(wanted)) <= 8:
        named = tuple(dict.fromkeys(known[word] for word in tokens(wanted) if word in known)) or named
    kept = tuple(tag for tag in before.languages if tag not in refused)
    if not named and refused and kept == before.languages and not before.domains:
        return
    if not named and refused and kept == before.languages:
        named = tuple(refused)  # "no Spanish", said where nobody had spoken of it: a correction without its comma
    if named:
        adds = not replaces and (_ALSO.search(fold(wanted)) or _AND.match(fold(wanted)))
        kept = tuple(dict.fromkeys((*kept, *named))) if adds else named
    if kept != before.languages or named:
        changes["languages"] = kept


def _take_conditions(changes: dict[str, Any], before: Need, plain: str, whole: Need) -> None:
    for name in ("memory", "disk", "license", "prefers"):
        value = getattr(whole, name)
        if value is not None:
            changes[name] = value
    if whole.private:
        changes["private"] = True
    rate = _TOKENS.search(plain)
    if rate is not None and float(rate[1].replace(",", ".")) > 0:
        changes["tokens_per_second"] = float(rate[1].replace(",", "."))


def _take_use(changes: dict[str, Any], topics: set[Topic], plain: str, whole: Need) -> None:
    if _ONLY_RUN.search(plain):
        changes["use"] = "run"
    elif whole.use == "train":
        changes["use"] = "train"
    if "use" in changes:
        topics.add("use")


def _take_answers(changes: dict[str, Any], topics: set[Topic], plain: str, pending: Topic | None) -> None:
    """What only says something because it was asked."""
    if pending == "use" and "use" not in topics:
        for use, pattern in (("train", _LEARN), ("run", _RUN)):
            if pattern.search(plain):
                changes["use"] = use
                topics.add("use")
                break
    elif pending == "preference" and "prefers" not in changes:
        better, faster = _BETTER.search(plain), _FASTER.search(plain)
        if bool(better) != bool(faster):
            changes["prefers"] = "quality" if better else "speed"
    elif pending == "license" and "license" not in changes and _HOBBY.search(plain):
        changes.pop("private", None)
        topics.add("license")


def _take_purpose(
    changes: dict[str, Any],
    before: Need,
    wanted: str,
    unwanted: str,
    new: Need,
    replaces: bool,
    pending: Topic | None,
    found: bool,
) -> None:
    refused = set(understand(unwanted).domains) if unwanted else set()
    kept = tuple(each for each in before.domains if each not in refused)
    if kept != before.domains:
        changes |= {"domains": kept, "text": ""}
    if new.tasks:
        changes["tasks"] = new.tasks if replaces else tuple(dict.fromkeys((*before.tasks, *new.tasks)))
    if not says_purpose(new) or (not new.domains and found and pending != "purpose" and says_purpose(before)):
        return
    if not new.domains and says_purpose(before) and len(tokens(wanted)) < TELLING and pending != "purpose":
        return
    if new.domains:
        changes["domains"] = new.domains if replaces else _joined(kept, new.domains)
    earlier = "" if replaces and new.domains else changes.get("text", before.text)
    changes["text"] = f"{earlier}\n{wanted}".strip()[-4_000:]


def _joined(before: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
    """Both, without what ``new`` says more exactly."""
    above = {wider for each in new for wider in subjects().above(each)}
    return tuple(dict.fromkeys((*(each for each in before if each not in above), *new)))
