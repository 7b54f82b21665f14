"""Why an offer is made: its match, how it fits this device, how far it can be trusted, and what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from banyan.node.assistant.sentences import language_name, listed, sentence, subject_name
from banyan.node.assistant.state import Dialogue, Line, Tongue
from banyan.node.catalog.constraints import memory_of
from banyan.node.catalog.hardware import Device
from banyan.node.catalog.need import Need
from banyan.node.catalog.recommender import READING, Offer, Recommendation
from banyan.node.catalog.sizes import in_words

#: The share of the memory from which on little is left for anything else.
TIGHT: Final = 0.8

#: Models left out that are named, and changes.
NAMED: Final = 3


def offers(found: Recommendation, dialogue: Dialogue, device: Device) -> Iterator[Line]:
    """The first offer and why, the others by number, what was left out, and what would bring something better."""
    first, *others = found.offers
    tongue, listing = dialogue.tongue, first.listing
    title = f" ({listing.title})" if listing.title else ""
    yield Line(key="offer", facts={"path": listing.path, "title": title})
    yield from _match(first, found.need, tongue)
    yield from _fit(first, found.need, device)
    yield _trust(first)
    if found.need.private:
        yield Line(key="private")
    if others:
        numbered = [f"{number}. {_other(each, found.need, tongue)}" for number, each in enumerate(others, 2)]
        yield Line(key="others", facts={"others": ", ".join(numbered)})
    yield from left_out(found, tongue)
    yield from changes(found)


def _other(offer: Offer, need: Need, tongue: Tongue) -> str:
    """Its path, and what it speaks where that is not the language of the request."""
    spoken = offer.listing.languages
    if need.languages or need.written_in is None or need.written_in in spoken or not spoken:
        return offer.listing.path
    return f"{offer.listing.path} ({', '.join(language_name(tag, tongue) for tag in spoken)})"


def left_out(found: Recommendation, tongue: Tongue) -> Iterator[Line]:
    """What would match and was left out, each with its causes."""
    if found.left_out:
        named = [
            f"{each.path} ({', '.join(sentence(f'cause-{cause}', tongue) for cause in each.causes)})"
            for each in found.left_out[:NAMED]
        ]
        more = ["…"] if len(found.left_out) > NAMED else []
        yield Line(key="left-out", facts={"left": ", ".join(named + more)})


def changes(found: Recommendation) -> Iterator[Line]:
    """What would have to change for something better, in the recommender's words."""
    for change in found.changes[:NAMED]:
        yield Line(key="change", facts={"change": change})


def shares(offer: Offer) -> Iterator[Line]:
    """How an offer was weighed, and the recommender's own reasons."""
    weighed = {name: f"{100 * share:.0f}" for name, share in offer.shares.items()}
    yield Line(key="shares", facts={"path": offer.listing.path, **weighed})
    reasons = "; ".join((*offer.reasons, *offer.cautions))
    yield Line(key="why-out", facts={"path": offer.listing.path, "reasons": reasons})


def why_left_out(found: Recommendation) -> Iterator[Line]:
    """What was left out, with every reason."""
    for each in found.left_out[:NAMED]:
        yield Line(key="why-out", facts={"path": each.path, "reasons": "; ".join(each.reasons)})


def _match(offer: Offer, need: Need, tongue: Tongue) -> Iterator[Line]:
    if offer.about:
        yield Line(key="about", facts={"subjects": listed(_names(offer.about, tongue), tongue)})
    elif offer.is_general and need.domains:
        yield Line(key="general-only", facts={"subjects": listed(_names(need.domains, tongue), tongue)})
    elif offer.is_general:
        yield Line(key="general")
    elif need.domains:
        yield Line(key="near-only", facts={"subjects": listed(_names(need.domains, tongue), tongue)})
    else:
        yield Line(key="by-words" if need.text else "unsaid")
    if need.languages:
        spoken = [language_name(tag, tongue) for tag in need.languages]
        yield Line(key="knows", facts={"languages": listed(spoken, tongue)})
    elif need.written_in and need.written_in not in offer.listing.languages:
        yield Line(key="foreign", facts={"language": language_name(need.written_in, tongue)})
    if need.license is not None:
        yield Line(key="licensed", facts={"license": ", ".join(offer.listing.licenses)})


def _names(subjects: tuple[str, ...], tongue: Tongue) -> list[str]:
    return [subject_name(each, tongue) for each in subjects]


def _fit(offer: Offer, need: Need, device: Device) -> Iterator[Line]:
    room = memory_of(need, device)
    key = "fit-train" if need.use == "train" else "fit-tight" if offer.memory > TIGHT * room else "fit"
    yield Line(key=key, facts={"memory": in_words(offer.memory), "room": in_words(room)})
    rate = offer.tokens_per_second
    if rate is not None:
        key = "learns" if need.use == "train" else "reads-fast" if rate >= READING else "reads-slow"
        yield Line(key=key, facts={"rate": f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}"})


def _trust(offer: Offer) -> Line:
    if offer.listing.standing == "unreleased":
        return Line(key="unreleased")
    one = "-one" if offer.listing.contributors == 1 else ""
    return Line(key=offer.listing.standing + one, facts={"count": str(offer.listing.contributors)})
