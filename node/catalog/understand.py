"""From free text to a :class:`Need`, by rules: the same words give the same need, on any device, with no model.

English, German, Spanish and French are understood. What is not said stays empty: the assistant asks for it.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from banyan.node.catalog import languages
from banyan.node.catalog.need import Need, Use
from banyan.node.catalog.sizes import sizes
from banyan.node.catalog.subjects import subjects
from banyan.node.catalog.words import fold, tokens, written_in

#: A subject found less surely than this is not taken for said.
SURE: Final = 0.5

_DISK: Final = re.compile(r"\b(disk|disc|ssd|drive|festplatte|disco|disque|stockage|download\w*)\b")

_TRAIN: Final = re.compile(
    r"\bfine\W?tun\w*|\b(re)?train (a|an|the|it|this|my|our)\b|\b(train|training) (on|with) (my|our)\b|\bteach it\b"
    r"|\b(nach|weiter)?trainieren\b|\banpassen\b|\bfeinabstimm\w*"
    r"|\bentrenar\w*|\bajustar(lo)?\b|\bentraine[rz]?\b|\baffiner\b"
)
_PRIVATE: Final = re.compile(
    r"\bprivate?\b|\bprivacy\b|\bconfidential\w*|\boffline\b|\blocal(ly|e|mente)?\b|\bon (my|our|this) (own )?"
    r"(device|machine|computer|laptop)\b|\b(nothing|not|never)\b.{0,30}\bleave\b"
    r"|\b(stay|stays|remain) (on|in|here|local)\b"
    r"|\bprivat\w*|\bvertraulich\w*|\blokal\w*|\bdatenschutz\w*|\bohne (internet|cloud)\b"
    r"|\bprivad\w*|\bconfidencial\w*|\bsin (internet|conexion|nube)\b|\bprivee?s?\b|\bconfidentiel\w*|\bhors ligne\b"
)
_FAST: Final = re.compile(
    r"\bfast(er)?\b|\bquick(ly)?\b|\bsmall\b|\btiny\b|\blightweight\b|\blow latency\b|\breal.?time\b|\binstant\w*"
    r"|\bschnell\w*|\bklein(es|e|er)?\b|\bsofort\b|\brapid[oae]s?\b|\bpequen[oa]s?\b|\blig(e|era)\w*|\bpetite?s?\b"
    r"|\brapidement\b|\bvite\b"
)
_QUALITY: Final = re.compile(
    r"\bbest\b|\bbiggest\b|\bbig\b|\blargest\b|\bmost accurate\b|\b(high|highest) quality\b|\bbeste[sr]?\b"
    r"|\bgro(ss|ß)(es|te|er|e)?\b"
    r"|\bgenau(este)?\w*|\bmejor\b|\bmas preciso\b|\bmeilleur\w*|\bplus precis\b"
)
_COMMERCIAL: Final = re.compile(
    r"\b(non|not|nicht|no)[\s-]+(commercial|kommerziell|comercial)|\bcommercial\w*|\bkommerziell\w*|\bcomercial\w*|\bgewerblich\w*"
    r"|\bsell\b|\bverkaufen\b|\bvender\b|\bvendre\b"
)
_LICENSE: Final = re.compile(
    r"\b(agpl|lgpl|gpl|mit|apache|bsd|mpl|cc)(?:[\s-]*(by(?:-?(?:nc|sa|nd))*|v?\d(?:\.\d)?|\d-clause))?(?=\W|$)"
)

_TASKS: Final = {
    "translation": re.compile(r"\btranslat\w*|\bubersetz\w*|\btraduc\w*|\btradui\w*"),
    "summarisation": re.compile(r"\bsummar\w*|\bzusammenfass\w*|\bresum\w*|\babstract\w*"),
    "code": re.compile(r"\b(coding|code|script\w*|debug\w*|program(ming|mieren|acion|mation))\b"),
    "writing": re.compile(
        r"\b(write|writing|draft\w*|redraft|edit|schreib\w*|verfass\w*|escrib\w*|redact\w*|rediger|ecrire)\b"
    ),
    "chat": re.compile(
        r"\bchat\w*|\btalk\b|\bconversation\w*|\bplauder\w*|\bcharl\w*|\bdiscut\w*|\bjokes?\b"
    ),
    "classification": re.compile(
        r"\b(sort|classif\w*|categori\w*|label)\b|\bsortier\w*|\bklassifi\w*|\bclasific\w*|\bclasser\b"
    ),
    "extraction": re.compile(
        r"\bextract\w*|\bread (invoices|receipts)\b|\bextrahier\w*|\bextra(er|ire)\b|\bauslesen\b"
    ),
}


def understand(text: str) -> Need:
    """The need that ``text`` states. Never raises: what is not understood is left for the words themselves to match."""
    text = text[:4_000]
    plain, words = fold(text), tokens(text)
    language = written_in(words) or subjects().language_of(words)
    tasks = tuple(task for task, pattern in _TASKS.items() if pattern.search(plain))
    memory, disk = _sizes(plain)
    known = languages.names()
    found = subjects().found(["" if word in known else word for word in words], language)
    named = [subject for subject, sure in found.items() if sure >= SURE]
    translates = "translation" in tasks
    return Need(
        text=text,
        written_in=language,
        languages=languages.wanted(words, translates=translates),
        domains=tuple(
            sorted(named, key=lambda subject: -found[subject])
        ),  # the surest first, then as they came
        tasks=tasks,
        use=_use(plain),
        memory=memory,
        disk=disk,
        license=_license(plain, text),
        private=bool(_PRIVATE.search(plain)),
        prefers=_preference(plain),
    )


def _sizes(plain: str) -> tuple[int | None, int | None]:
    """Memory and disk: a size is memory unless a disk is named beside it."""
    memory = disk = None
    for size, begin, end in sizes(plain):
        around = plain[max(0, begin - 20) : end + 20]
        if _DISK.search(around):
            disk = disk or size
        else:
            memory = memory or size
    return memory, disk


def _use(plain: str) -> Use:
    return "train" if _TRAIN.search(plain) else "run"


def _preference(plain: str) -> Literal["quality", "speed"] | None:
    fast, good = bool(_FAST.search(plain)), bool(_QUALITY.search(plain))
    return None if fast == good else ("speed" if fast else "quality")


def _license(plain: str, text: str) -> str | None:
    """A license by name (German "mit" is a license only in capitals or beside the word), else ``commercial``."""
    for found in _LICENSE.finditer(plain):
        if found[1] == "mit" and not (
            re.search(r"\bMIT\b", text) and ("licen" in plain or "lizen" in plain or "MIT" in text)
        ):
            continue
        if found[1] == "cc" and not found[2]:
            continue
        return found[1] + (f"-{found[2].lstrip('v')}" if found[2] else "")
    commercial = _COMMERCIAL.search(plain)
    return "commercial" if commercial and not commercial[1] else None
