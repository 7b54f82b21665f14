"""The conversation: a state and a turn give a state and an answer. Pure: no I/O, no clock, no randomness, no model.

What is asked is decided in :mod:`~banyan.node.assistant.questions`, what is offered by the recommender. Nothing is
brought here, trained or served before somebody has agreed to it in a turn that says nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from banyan.node.assistant import edits, explaining
from banyan.node.assistant.chips import chips
from banyan.node.assistant.edits import EditRefused
from banyan.node.assistant.following import followed, says_purpose
from banyan.node.assistant.hearing import LONGEST, Heard, clean, hear
from banyan.node.assistant.questions import Known, Worth, worth_asking
from banyan.node.assistant.sentences import TONGUES, language_name, listed, said, sentence, subject_name
from banyan.node.assistant.state import (
    Action,
    Answer,
    Chip,
    Choice,
    Dialogue,
    Edited,
    Line,
    Proposal,
    Question,
    Said,
    Topic,
    Turn,
)
from banyan.node.catalog.hardware import Device
from banyan.node.catalog.listing import Listing
from banyan.node.catalog.need import Need
from banyan.node.catalog.recommender import Offer, Recommendation, Recommender

#: A file or folder in a turn: in quotes, from a slash, tilde or dot on, or a word that ends as files of rows do.
_FILE: Final = re.compile(
    r"[\"'“„«]([^\"'”“»]{1,4000})[\"'”“»]|((?:~|\.{1,2})?/.*|~|\.|[A-Za-z]:\\.*)|(\S+\.(?:jsonl?|csv|tsv|txt|md|parquet))\b"
)

#: The match from which on a card is about what somebody asks in words of no known subject.
KNOWN: Final = 0.35

#: What is still open after a model has been taken.
_AFTER: Final[tuple[Topic, ...]] = ("data", "serve")


@dataclass(slots=True)
class _Step:
    """One turn while it is being taken: the state so far, and what is to be said and done."""

    now: Dialogue
    lines: list[Line] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    briefly: bool = False
    waits: bool = False

    def say(self, key: str, *, briefly: bool = False, **facts: str) -> None:
        self.lines.append(Line(key=key, facts=facts))
        self.briefly = self.briefly or briefly

    def change(self, **changes: object) -> None:
        self.now = self.now.model_copy(update=changes)


class Assistant:
    """Speaks about ``listings``, which ``recommender`` chooses from, to somebody at ``device``."""

    def __init__(self, listings: Sequence[Listing], recommender: Recommender, device: Device) -> None:
        self._known = Known(tuple(listings), recommender.about)
        self._recommender = recommender
        self._device = device

    def turn(self, before: Dialogue, turn: Turn) -> tuple[Dialogue, Answer]:
        """The state after ``turn`` and the answer to it. ``None`` is a look at where things stand. Never raises."""
        step = _Step(before)
        match turn:
            case Said(text=text):
                self._said(step, text)
            case Edited(edit=edit):
                self._edited(step, edit)
            case _ if before == Dialogue():
                step.say("greeting")
        return self._answered(step, before)

    # --------------------------------------------------------------------------------------- what was said

    def _said(self, step: _Step, text: str) -> None:
        plain, now = clean(text), step.now
        if len(text) > LONGEST:
            step.say("cut", most=str(LONGEST))
        if edits.is_edit(plain):
            self._edited(step, plain)
            return
        heard = hear(plain, now.offered)
        if now.pending == "data" and heard.kind in ("statement", "question", "nothing"):
            found = _FILE.search(plain)
            if found is not None:
                self._train(step, next(filter(None, found.groups())).strip())
                return
        match heard.kind:
            case "nothing":
                step.say("nothing-said", briefly=True)
            case "restart" | "skip":
                self._edited(step, heard.kind)
            case "help":
                step.say("help", briefly=True, count=str(len(self._known.listings)))
            case "greeting":
                step.say("greeting", briefly=True)
            case "thanks":
                step.say("thanks", briefly=True)
            case "why":
                self._why(step, heard.place)
            case "yes":
                self._yes(step)
            case "no":
                self._no(step)
            case "place":
                self._place(step, heard.place)
            case "path":
                self._take(step, heard.path)
            case _:
                self._followed(step, plain, heard)

    def _followed(self, step: _Step, text: str, heard: Heard) -> None:
        before = step.now
        new = followed(before.need, text, before.pending, anew=before.accepted is not None)
        matters = new.found or self._matters(before.need, new.need)
        if heard.kind == "question":
            if not matters:
                step.say("off-topic", briefly=True)
                return
            if text.endswith("?"):
                step.say("model-answers")
        if new.written_in in TONGUES:
            step.change(tongue=new.written_in)
        if (not matters and says_purpose(before.need)) or (new.need == before.need and not new.topics):
            known = says_purpose(before.need)
            step.say("same" if known else "understood-nothing", briefly=True)
            return
        settled = tuple(dict.fromkeys((*before.settled, *new.topics)))
        step.change(need=new.need, settled=settled, accepted=None)

    def _matters(self, before: Need, after: Need) -> bool:
        """Whether words of no known subject are in somebody's card: they bring forward what is not for everything."""
        first = self._recommender.recommend(after, self._device).offers[:1]
        then = self._recommender.recommend(before, self._device).offers[:1]
        return any(
            offer.shares["match"] >= KNOWN and not offer.is_general and offer.listing.path != earlier
            for offer in first
            for earlier in ([each.listing.path for each in then] if says_purpose(before) else [""]) or [""]
        )

    def _yes(self, step: _Step) -> None:
        now = step.now
        real = [choice for choice in now.choices if choice.edit != "skip"]
        match now.pending:
            case "confirm" if now.offered:
                self._take(step, now.offered[0])
            case "data":
                step.say("where", briefly=True)
            case "serve":
                self._serve(step)
            case "use":
                self._edited(step, "use=train")
            case _ if len(real) == 1:
                self._edited(step, real[0].edit)
            case _:
                step.say("unclear", briefly=True)

    def _no(self, step: _Step) -> None:
        match step.now.pending:
            case "confirm" | "change":
                step.say("no-then", briefly=True)
                step.waits = True
            case "use":
                self._edited(step, "use=run")
            case None:
                step.say("unclear", briefly=True)
            case _:
                self._edited(step, "skip")

    def _place(self, step: _Step, place: int) -> None:
        now = step.now
        if now.pending not in ("confirm", None) and now.choices:
            if place <= len(now.choices):
                self._edited(step, now.choices[place - 1].edit)
                return
        elif place <= len(now.offered):
            self._take(step, now.offered[place - 1])
            return
        step.say("no-place", briefly=True, place=str(place))

    def _why(self, step: _Step, place: int) -> None:
        answer = self._recommend(step.now.need)
        chosen = (
            answer.offers[max(0, place - 1) :][:1] if says_purpose(step.now.need) or step.now.offered else ()
        )
        if not chosen:
            step.say("why-nothing", briefly=True)
        for offer in chosen:
            step.lines += explaining.shares(offer)
        step.lines += explaining.why_left_out(answer)
        step.briefly = True

    # --------------------------------------------------------------------------------------- what was edited

    def _edited(self, step: _Step, text: str) -> None:
        try:
            edit = edits.parse(text)
            if edit.verb == "restart":
                step.now = Dialogue(tongue=step.now.tongue)
                step.say("restarted")
            elif edit.verb == "skip":
                self._skip(step)
            elif edit.verb == "take":
                self._take(step, edit.name)
            elif edit.verb == "data":
                self._train(step, edit.value)
            else:
                self._applied(step, edit)
        except EditRefused as refused:
            step.lines.append(refused.line)
            step.briefly = True

    def _applied(self, step: _Step, edit: edits.Edit) -> None:
        now = step.now
        need = edits.apply(now.need, edit)
        answered = edits.ANSWERS.get(edit.name, ())
        if edit.verb == "drop" and now.pending != "change":
            settled = tuple(each for each in now.settled if each not in answered)
            asked = tuple(each for each in now.asked if each not in answered)
        else:
            settled = tuple(dict.fromkeys((*now.settled, *answered)))
            asked = now.asked
        step.change(need=need, settled=settled, asked=asked, accepted=None)

    def _skip(self, step: _Step) -> None:
        pending, now = step.now.pending, step.now
        if pending == "data":
            step.say("later-train", briefly=True)
            step.change(pending="serve")
        elif pending == "serve":
            step.say("later-serve", briefly=True, path=now.accepted or "")
            step.change(pending=None)
        elif pending in ("confirm", "change"):
            self._no(step)
        elif pending is not None:
            step.change(settled=(*now.settled, pending))
        else:
            step.say("unclear", briefly=True)

    # --------------------------------------------------------------------------------------- what was agreed to

    def _take(self, step: _Step, what: str) -> None:
        now = step.now
        if what.isdecimal() and len(what) < 4 and 0 < int(what) <= len(now.offered):
            what = now.offered[int(what) - 1]
        if what not in now.offered:
            key, name = ("no-place", "place") if what.isdecimal() else ("no-path", "path")
            step.say(key, briefly=True, **{name: what[:60]})
            return
        step.say("clone", path=what)
        step.actions.append(Action(do="clone", branch=what))
        only_run = now.need.use == "run" and "use" in now.settled
        step.change(accepted=what, pending="serve" if only_run else "data")

    def _train(self, step: _Step, data: str) -> None:
        path = step.now.accepted
        if path is None:
            step.say("edit-early", briefly=True)
            return
        step.say("train", path=path, data=data)
        step.actions.append(Action(do="train", branch=path, data=data, private=step.now.need.private))
        step.change(pending="serve")

    def _serve(self, step: _Step) -> None:
        path = step.now.accepted
        if path is None:
            return
        step.say("serve", path=path)
        step.actions.append(Action(do="serve", branch=path))
        step.change(pending=None)

    # --------------------------------------------------------------------------------------- the answer

    def _answered(self, step: _Step, before: Dialogue) -> tuple[Dialogue, Answer]:
        understood = chips(step.now)
        if understood != chips(before) and not step.now.accepted:
            shown = ", ".join(chip.label for chip in understood)
            step.say("understood", chips=shown) if shown else step.say("understood-nothing")
        found = self._recommend(step.now.need)
        if step.now.accepted is not None:
            question = self._next_step(step)
            step.change(choices=question.choices if question else ())
        else:
            question = self._ask(step, before, found, understood)
        shown_offers = found.offers if step.now.need != Need() or step.now.pending == "confirm" else ()
        if step.now.accepted is None:
            step.change(offered=tuple(offer.listing.path for offer in shown_offers))
        tongue = step.now.tongue
        return step.now, Answer(
            language=tongue,
            lines=tuple(step.lines),
            reply=said(step.lines, tongue),
            chips=understood,
            question=question,
            offers=tuple(_proposal(offer) for offer in shown_offers),
            left_out=found.left_out if shown_offers or step.now.need != Need() else (),
            changes=found.changes,
            actions=tuple(step.actions),
        )

    def _next_step(self, step: _Step) -> Question | None:
        """What comes after a model has been taken: data to train on, then serving."""
        now = step.now
        if now.pending == "data":
            step.say("ask-data-private" if now.need.private else "ask-data")
        elif now.pending == "serve":
            step.say("ask-serve")
        elif not step.actions and not step.briefly:
            step.say("done")
        if now.pending not in _AFTER:
            return None
        no = Choice(label=sentence("choice-no", now.tongue), edit="skip")
        return Question(topic=now.pending, choices=(no,))

    def _ask(
        self, step: _Step, before: Dialogue, found: Recommendation, understood: Sequence[Chip]
    ) -> Question | None:
        """The question that is worth asking, else the offers and whether to take the first, else what would help."""
        if step.waits:
            step.change(pending=None, choices=())
            return None
        stays = before.pending if step.briefly else None
        worth = worth_asking(step.now, self._first, self._known, stays)
        if worth is not None:
            again = worth.topic == before.pending and step.now.need == before.need
            asked = step.now.asked if again else (*step.now.asked, worth.topic)
            question = self._asked(step, worth)
            step.change(asked=asked)
        elif found.offers:
            if not (step.briefly and before.pending == "confirm"):
                step.lines += explaining.offers(found, step.now, self._device)
            many = "ask-confirm-many" if len(found.offers) > 1 else "ask-confirm"
            step.say(many, path=found.offers[0].listing.path)
            question = Question(topic="confirm", choices=_takes(found))
        else:
            repeats = step.briefly and step.now.need == before.need
            question = self._nothing(step, found, understood, repeats)
        step.change(
            pending=question.topic if question else None, choices=question.choices if question else ()
        )
        return question

    def _asked(self, step: _Step, worth: Worth) -> Question:
        tongue = step.now.tongue
        labels = [self._label(edit, step.now) for edit in worth.answers]
        key, facts = f"ask-{worth.topic}", {}
        if worth.topic == "language" and len(labels) == 1:
            key, facts = "ask-language-one", {"language": labels[0]}
        elif worth.topic in ("language", "detail"):
            facts = {"choices": listed(labels, tongue, "or")}
        step.say(key, **facts)
        if worth.topic == "purpose":
            step.say("examples", examples=listed(labels, tongue, "or"))
        else:
            paths = [path or sentence("nothing-else", tongue) for path in worth.outcomes]
            step.say("depends", paths=listed(paths, tongue))
        any_of = "choice-general" if worth.topic == "detail" else "choice-any"
        choices = [Choice(label=label, edit=edit) for label, edit in zip(labels, worth.answers, strict=True)]
        return Question(
            topic=worth.topic, choices=(*choices, Choice(label=sentence(any_of, tongue), edit="skip"))
        )

    def _nothing(
        self, step: _Step, found: Recommendation, understood: Iterable[Chip], repeats: bool
    ) -> Question | None:
        """That nothing fits, and what would have to change: by trying what would fit without each chip."""
        if not self._known.listings:
            step.lines += explaining.changes(found)
            return None
        step.say("nothing")
        tongue, choices = step.now.tongue, []
        step.lines += [] if repeats else explaining.left_out(found, tongue)
        for chip in understood:
            if chip.name in ("subject", "task", "private", "words"):
                continue
            edit = f"drop {chip.id}"
            path = self._first(edits.apply(step.now.need, edits.parse(edit)))
            if path is not None:
                step.say("without", chip=chip.label, path=path)
                choices.append(Choice(label=sentence("choice-without", tongue, chip=chip.label), edit=edit))
        step.lines += [] if repeats else explaining.changes(found)
        step.say("ask-change" if choices else "no-then")
        if not choices:
            return None
        return Question(topic="change", choices=tuple(choices))

    def _label(self, edit: str, now: Dialogue) -> str:
        """An edit in words, as an answer to a question."""
        found = edits.parse(edit)
        if found.name == "subject":
            return subject_name(found.value, now.tongue)
        if found.name == "language":
            return language_name(found.value, now.tongue)
        return sentence(f"choice-{found.value}", now.tongue)

    def _recommend(self, need: Need) -> Recommendation:
        return self._recommender.recommend(need, self._device)

    def _first(self, need: Need) -> str | None:
        offers = self._recommender.recommend(need, self._device, top=1).offers
        return offers[0].listing.path if offers else None


def _takes(found: Recommendation) -> tuple[Choice, ...]:
    return tuple(
        Choice(label=offer.listing.path, edit=f"take {offer.listing.path}") for offer in found.offers
    )


def _proposal(offer: Offer) -> Proposal:
    return Proposal(
        path=offer.listing.path,
        title=offer.listing.title,
        score=offer.score,
        memory=offer.memory,
        precision=offer.precision,
        tokens_per_second=offer.tokens_per_second,
        reasons=offer.reasons,
        cautions=offer.cautions,
    )
