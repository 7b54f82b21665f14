"""The notes of the walk: made up from ``cases.csv``, or real text from a folder; dealt out, and kept as clinics do."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Final

from banyan.node.demo.shares import Leaf, Row, Share, deal, write
from banyan.security.errors import BanyanError

HEART, GUT = "heart_lung", "digestive_kidney"
#: The specialties of the walk: a file of rows each, and a branch each below the domain.
SPECIALTIES: Final = (HEART, GUT)

#: Made-up notes of each case, and how many of them are held out.
NOTES, HELD_OUT = 12, 2


class NoNotes(BanyanError):
    """A folder that the walk cannot take its notes from."""


def make_up(folder: Path, seed: int) -> Path:
    """Write a corpus of made-up notes into ``folder``, a file for each specialty."""
    with open(Path(__file__).with_name("cases.csv"), newline="", encoding="utf-8") as file:
        cases = list(csv.DictReader(file))
    for specialty in SPECIALTIES:
        chance = random.Random(f"{specialty} {seed}")
        rows = [list(_visits(case, chance)) for case in cases if case["specialty"] == specialty]
        held_out = [row for each in rows for row in each[:HELD_OUT]]
        write(folder / f"{specialty}.jsonl", [row for each in rows for row in each[HELD_OUT:]], held_out)
    return folder


def _visits(case: dict[str, str], chance: random.Random) -> Iterator[dict[str, str]]:
    for days in chance.sample(range(2, 2 + NOTES), NOTES):  # no two notes of a case are the same
        pressure = f"{chance.randrange(95, 175, 5)} over {chance.randrange(55, 100, 5)}"
        age = chance.randrange(19, 94)
        yield {
            "prompt": f"{case['complaint']}, {age} years, {pressure}",
            "response": f"Likely {case['assessment']}. Plan: {case['plan']}. Back in {days} days, sooner if "
            f"{case['alarm']}.",
            "client": case["assessment"],
        }


def dealt(corpus: Path, specialty: str, people: int) -> list[Share]:
    """The notes of one specialty in so many hands, each with cases of its own. Raises :class:`NoNotes`, and the data's
    own errors."""
    file = corpus / f"{specialty}.jsonl"
    if not file.is_file():
        raise NoNotes(
            f"{corpus} has no {file.name}",
            f"Give a folder with {' and '.join(f'{s}.jsonl' for s in SPECIALTIES)}",
        )
    shares = deal(Leaf(file, specialty), people)
    if any(not {"prompt", "response"} <= row.keys() for row in _rows(shares)):
        raise NoNotes(f"{file} has rows without prompt and response", "The walk asks the model for answers")
    return shares


def texts(shares: Sequence[Share]) -> list[str]:
    """Every note of these hands, as it is written down."""
    return [f"{row['prompt']}\n{row['response']}" for row in _rows(shares)]


def _rows(shares: Sequence[Share]) -> Iterator[Row]:
    return (row for share in shares for row in (*share.training, *share.held_out))


def keep_as_a_clinic_does(share: Share, folder: Path) -> None:
    """Write a hand's notes as four kinds of files, and what only measures as a fifth."""
    pairs = [(str(row["prompt"]), str(row["response"])) for row in share.training]
    kinds: dict[str, list[tuple[str, str]]] = {"visits": [], "letters": [], "rounds": [], "handover": []}
    for pair, kind in zip(pairs, cycle(("visits", "letters", "visits", "rounds", "letters", "handover"))):
        kinds[kind].append(pair)
    write(folder / "visits.jsonl", [{"prompt": ask, "response": say} for ask, say in kinds["visits"]], ())
    with open(folder / "letters.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *kinds["letters"]])
    rounds = (f"## {ask}\n\n{say}\n" for ask, say in kinds["rounds"])
    (folder / "rounds.md").write_text("\n".join(rounds), "utf-8")
    (folder / "handover.txt").write_text(
        "\n\n".join(f"{a}\n{b}" for a, b in kinds["handover"]) + "\n", "utf-8"
    )
    write(folder / "kept-aside.jsonl", (), share.held_out)
