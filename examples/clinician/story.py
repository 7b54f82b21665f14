"""The walk: a clinician asks for a model, teaches it, uses it and shares; a peer and the branch above gain by it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from banyan.node.demo.shares import Share, pool, write
from banyan.node.demo.summary import machine
from banyan.node.home import Home
from banyan.node.membership import load_charter
from examples.clinician import notes
from examples.clinician.leaks import Traces
from examples.clinician.losses import losses
from examples.clinician.terminal import Terminal, WalkFailed

DOMAIN: Final = "/en/medical"
HEART: Final = f"{DOMAIN}/{notes.HEART}"
GUT: Final = f"{DOMAIN}/{notes.GUT}"

WISH: Final = "a model for heart and lung notes, in English, on a laptop with 4 GB"
ROOM: Final = 4 * 10**9

#: Held-out notes that a loss is measured on, at most.
MEASURED: Final = 60

#: By how much a lift may change a child's model: rounding.
ROUNDING: Final = 1e-4

#: About how long each chapter takes.
CHAPTERS: Final = (1, 8, 14, 12, 4, 14, 9, 14, 16, 12)

NORTH, SOUTH, CLINIC = "north", "south", "clinic"


@dataclass(frozen=True, slots=True)
class Choices:
    """``base``: a model's folder (None: the embedded one); ``corpus``: a folder of real notes (None: made up);
    ``steps`` of ``batch`` rows at ``learning_rate`` are a lesson."""

    base: Path | None
    corpus: Path | None
    steps: int
    batch: int
    learning_rate: float
    seed: int

    @property
    def training(self) -> tuple[object, ...]:
        """How everybody trains."""
        return ("--steps", self.steps, "--batch", self.batch, "--learning-rate", self.learning_rate)


class Walk:
    """One walk in the working directory, which is empty. Each method is a chapter; :meth:`run` goes through them."""

    def __init__(self, choices: Choices, terminal: Terminal) -> None:
        self._choices = choices
        self._at = terminal
        self._hands: dict[str, Share] = {}
        self._facts: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """The summary, JSON-ready. Raises :class:`WalkFailed`, and what the data raises."""
        began, choices = time.monotonic(), self._choices
        self.deal()
        self.found()
        self.join()
        self.ask()
        self.clone()
        self.learn()
        self.serve()
        self.share()
        self.rise()
        self.measure()
        return {
            **self._facts,
            "base": choices.base.name if choices.base else "embedded",
            "data": choices.corpus.name if choices.corpus else "made up",
            "settings": {
                "steps": choices.steps,
                "batch": choices.batch,
                "learning_rate": choices.learning_rate,
            },
            "seed": choices.seed,
            "wall_seconds": round(time.monotonic() - began, 1),
            "machine": machine(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "checks": [{"holds": each.holds, "sentence": each.sentence} for each in self._at.checks],
        }

    # ----------------------------------------------------------------------------------------- chapters

    def deal(self) -> None:
        """Everybody's notes on everybody's own disk."""
        at = self._at
        at.chapter("Three houses, each with notes that must not leave it")
        corpus = self._choices.corpus or notes.make_up(Path("corpus"), self._choices.seed)
        south, clinic = notes.dealt(corpus, notes.HEART, 2)
        (north,) = notes.dealt(corpus, notes.GUT, 1)
        self._hands = {NORTH: north, SOUTH: south, CLINIC: clinic}
        for who in (NORTH, SOUTH):
            write(Path(f"{who}-notes.jsonl"), self._hands[who].training, self._hands[who].held_out)
        notes.keep_as_a_clinic_does(clinic, Path("clinic-notes"))
        write(Path("measured-clinic.jsonl"), (), pool([clinic], MEASURED))
        write(Path("measured-all.jsonl"), (), pool([*self._hands.values()], MEASURED))
        at.say(f"North Hospital: {len(north.training)} notes on {notes.GUT.replace('_', ' and ')}")
        at.say(f"South Hospital: {len(south.training)} notes on {notes.HEART.replace('_', ' and ')}")
        files = ", ".join(sorted(file.name for file in Path("clinic-notes").iterdir()))
        at.say(f"A clinic: {len(clinic.training)} notes on the same, of other cases, as {files}")
        self._facts["notes"] = {who: len(hand.training) for who, hand in self._hands.items()}

    def found(self) -> None:
        """North's engineer founds the network."""
        at = self._at
        at.chapter("North Hospital founds a network by invitation")
        base = () if self._choices.base is None else ("--base", self._choices.base)
        small = ("--preset", "local", "--rule", "mean", "--f", 0, "--min-updates", 1)
        at.run(NORTH, "found", "clinics", "--branch", HEART, "--branch", GUT, *small, *base)
        at.up(NORTH)
        at.run(NORTH, "card", "--title", "Stomach, bowel and kidney notes", "--language", "en",
               "--domain", "digestion", "--domain", "kidney", "--task", "writing")  # fmt: skip

    def join(self) -> None:
        """South joins and gives the heart and lung branch its first release."""
        at = self._at
        at.chapter("South Hospital joins and teaches the branch for heart and lung")
        self._invite = at.run(NORTH, "invite", "--branch", DOMAIN, "--uses", 2, quiet=True).strip()
        at.run(SOUTH, "join", self._invite, "--branch", HEART)
        at.up(SOUTH)
        at.run(
            SOUTH, "train", "--data", f"{SOUTH}-notes.jsonl", "--rounds", 1, *self._choices.training, "--yes"
        )
        at.run(SOUTH, "card", "--title", "Heart and lung notes", "--language", "en",
               "--domain", "heart", "--domain", "lung", "--task", "writing")  # fmt: skip

    def ask(self) -> None:
        """The clinician says what they need."""
        at = self._at
        at.chapter("A clinician asks for a model")
        at.run(CLINIC, "join", self._invite)
        at.up(CLINIC)
        at.wait(lambda: len(at.ask(CLINIC, "/cards").get("cards", ())) == 2, "the catalog to arrive")
        answer = at.json(CLINIC, "ask", "--text", WISH)
        for line in answer["reply"].splitlines():
            at.say(f"  {line}")
        best = answer["offers"][0]
        at.check(best["path"] == HEART, f"The first offer is {best['path']}.")
        at.check(
            all(offer["memory"] <= ROOM for offer in answer["offers"]),
            f"Every offer fits into 4 GB; the first takes {best['memory'] / 1e9:.2f} GB.",
        )
        tight = at.json(CLINIC, "recommend", "heart and lung notes", "--memory", "300MB", fails=True)
        at.check(not tight["offers"], "On a device with 300 MB nothing is offered, and it says so.")
        self._facts["offer"] = {"path": best["path"], "memory": best["memory"], "stated": ROOM}

    def clone(self) -> None:
        """The model comes to the laptop, base weights and all."""
        at = self._at
        at.chapter("The model comes to the laptop")
        at.run(CLINIC, "clone", HEART)
        here = at.ask(CLINIC, "/clone")
        at.check(
            here["phase"] == "done",
            f"{here['total'] / 1e6:.1f} MB of {here['base']} and its adapters are here.",
        )

    def learn(self) -> None:
        """It learns from local notes, for this device alone."""
        at = self._at
        at.chapter("It learns from the clinic's own notes, for this laptop alone")
        before = at.ask(CLINIC, "/status")["bytes_sent"]
        at.run(CLINIC, "train", "--data", "clinic-notes", "--private", *self._choices.training)
        status = at.ask(CLINIC, "/status")
        kept = status["private"]["kept"]
        at.check(
            kept["loss_after"] < kept["loss_before"],
            f"Held-out loss on the clinic's own notes: {kept['loss_before']:.3f} → {kept['loss_after']:.3f}.",
        )
        told = at.ask(CLINIC, "/events", kind="update-published")["events"]
        at.check(
            not told,
            f"Nobody was told ({(status['bytes_sent'] - before) / 1e3:.0f} kB of signs of life left).",
        )
        self._facts["lesson"] = {"before": kept["loss_before"], "after": kept["loss_after"]}

    def serve(self) -> None:
        """The tools that the clinic has speak with it."""
        from openai import OpenAI

        at = self._at
        at.chapter("The clinic's own tools use it")
        server = at.start(CLINIC, "serve", "--private", "--port", 0, "--json", piped=True)
        line = server.stdout.readline()
        if not line:
            raise WalkFailed(f"The server ended ({server.last_words()})", f"Look at {server.log}")
        served = json.loads(line)
        question = str(self._hands[CLINIC].held_out[0].get("prompt") or "A cough that stays")
        at.say(f"  openai: {question}")
        with OpenAI(base_url=served["url"], api_key=Path(served["key_file"]).read_text().strip()) as client:
            answer = client.chat.completions.create(
                model=HEART, messages=[{"role": "user", "content": question}], temperature=0, max_tokens=60
            )
        said = (answer.choices[0].message.content or "").strip()
        at.say(f"  model:  {said}")
        at.end(server)
        at.check(
            bool(said) and served.get("private") is True,
            f"{answer.usage.completion_tokens if answer.usage else 0} tokens came over OpenAI's API, of the model "
            "with the clinic's lesson.",
        )
        self._facts["answer"] = {"question": question, "answer": said}

    def share(self) -> None:
        """The clinic gives what was learnt, not the notes; South has it a round later."""
        at = self._at
        at.chapter("The clinic shares what was learnt; South Hospital gets it")
        clinic = at.ask(CLINIC, "/status")["node"]
        at.run(CLINIC, "share", "--yes", "--no-wait")
        at.wait(lambda: clinic in _updates(at.ask(SOUTH, "/status")), "the update to reach South")
        at.run(SOUTH, "train", "--rounds", 1)
        at.wait(lambda: len(_releases(at, CLINIC, HEART)) == 3, "the release at the clinic")
        at.run(SOUTH, "audit")
        there, here = _releases(at, SOUTH, HEART)[2], _releases(at, CLINIC, HEART)[2]
        at.check(clinic in there["used"], f"South holds {HEART}@2, and the clinic's update is in it.")
        at.check(there["release"] == here["release"], f"Both hold the same release: {here['release'][:16]}….")
        at.run(SOUTH, "export", "--release", f"{HEART}@1", "--to", "models/heart-before")
        at.run(SOUTH, "export", "--release", f"{HEART}@2", "--to", "models/heart-after")
        self._facts["release"] = {
            "branch": HEART,
            "height": 2,
            "digest": here["release"],
            "used": len(there["used"]),
        }

    def rise(self) -> None:
        """What the two specialties share moves up into the domain."""
        at = self._at
        at.chapter("What the specialties share rises into the branch above")
        at.run(
            NORTH, "train", "--data", f"{NORTH}-notes.jsonl", "--rounds", 1, *self._choices.training, "--yes"
        )
        at.wait(
            lambda: any(each["lifted"] for each in _releases(at, NORTH, DOMAIN)), f"{DOMAIN} to be lifted"
        )
        lift = next(each for each in _releases(at, NORTH, DOMAIN) if each["lifted"])
        children = [each["branch"] for each in lift["lifted"]["children"]]
        at.check(
            sorted(children) == [GUT, HEART],
            f"{DOMAIN}@{lift['height']} has lifted what {' and '.join(sorted(children))} share.",
        )
        at.wait(lambda: len(_releases(at, SOUTH, DOMAIN)) > lift["height"], "the lift to reach South")
        at.run(NORTH, "export", "--branch", DOMAIN, "--to", "models/domain")
        at.run(SOUTH, "export", "--branch", HEART, "--to", "models/heart-lifted")
        self._facts["lift"] = {"branch": DOMAIN, "height": lift["height"], "children": children}

    def measure(self) -> None:
        """Everything once more, from outside: the files that anybody could export, and what is on the others' disks."""
        at = self._at
        at.chapter("Measured from outside: exported models, and every byte that the others hold")
        charter = load_charter(Home(Path(NORTH)))
        assert charter is not None
        base = next(Home(Path(CLINIC)).base.iterdir())
        clinic, everybody = Path("measured-clinic.jsonl"), Path("measured-all.jsonl")
        models = Path("models")
        found = losses(
            base,
            {
                "peer before": (models / "heart-before", clinic),
                "peer after": (models / "heart-after", clinic),
                "peer lifted": (models / "heart-lifted", clinic),
                "domain before": (None, everybody),
                "domain after": (models / "domain", everybody),
            },
        )
        at.check(
            found["peer after"] < found["peer before"],
            f"South's model on the clinic's held-out notes, which it never saw: {found['peer before']:.3f} → "
            f"{found['peer after']:.3f}.",
        )
        at.check(
            found["domain after"] < found["domain before"],
            f"{DOMAIN}, where nobody trains, on everybody's held-out notes: {found['domain before']:.3f} → "
            f"{found['domain after']:.3f}.",
        )
        moved = abs(found["peer lifted"] - found["peer after"])
        at.check(moved < ROUNDING, f"The lift changed the loss of {HEART} by {moved:.6f}.")
        self._facts["losses"] = found
        self._search(base)

    def _search(self, base: Path) -> None:
        from tokenizers import Tokenizer

        at, hands = self._at, self._hands
        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        traces = Traces(
            notes.texts([hands[CLINIC]]),
            notes.texts([hands[NORTH], hands[SOUTH]]),
            lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        )
        charter = load_charter(Home(Path(CLINIC)))
        assert charter is not None
        public = {entry.digest.hex() for entry in charter.base.files} | {charter.adapter.a_digest.hex()}
        here = [*traces.found_in([Path("clinic-notes")])]
        others = [file for who in (NORTH, SOUTH) for file in Path(who).iterdir() if file.name != "base"]
        sent = [Home(Path(CLINIC)).blobs, *Path(CLINIC).glob("node.sqlite*")]
        leaks = [*traces.found_in([*others, *sent], but=public)]
        count = sum(file.is_file() for place in (*others, *sent) for file in (place, *place.rglob("*")))
        at.check(
            len(here) == len([*Path("clinic-notes").iterdir()]),
            f"{len(traces):,} pieces of the clinic's notes are looked for, and found in each of its files.",
        )
        at.check(
            not leaks,
            f"None of them is in any of {count} files that North and South hold or the clinic gives away."
            if not leaks
            else f"Notes were found in {', '.join(map(str, leaks))}.",
        )
        self._facts["search"] = {"pieces": len(traces), "files": count, "found": len(leaks)}


def _updates(status: Mapping[str, Any]) -> Mapping[str, str]:
    """The updates of the running round of the heart branch, by node, as a status tells them."""
    branch = status.get("core", {}).get("branches", {}).get(HEART, {})
    return (branch.get("round") or {}).get("updates", {})


def _releases(at: Terminal, who: str, branch: str) -> list[dict[str, Any]]:
    """The releases of a branch that somebody's node holds, by height."""
    return list(at.ask(who, "/log", branch=branch).get("releases", ()))
