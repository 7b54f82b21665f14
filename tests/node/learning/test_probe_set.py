"""A probe set is a stranger's file: whatever is wrong with it has a name, and what is right is measured row by row."""

import hashlib
import json
from dataclasses import replace

import pytest

from banyan.node.learning.dataset import load_dataset, read_rows
from banyan.node.learning.errors import DataError
from banyan.node.learning.evaluate_job import evaluate
from banyan.node.learning.memory_blobs import MemoryBlobs
from banyan.node.learning.probe_set import PROBE_ROWS, ProbeError, made_of, opened
from banyan.node.learning.settings import TrainingSettings
from banyan.node.learning.workplace import Workplace
from banyan.protocol.effects import Evaluate
from banyan.security.charter import PROBE_BYTES, AdapterSpec, TensorSpec

SPEC = AdapterSpec(rank=2, scale=2.0, seed=0, tensors=(TensorSpec("q", 4, 3),), a_digest=bytes(32), a_size=24)


def line(**row):
    return json.dumps(row).encode() + b"\n"


GOOD = line(text="peas", split="test") + line(prompt="Beans?", response="May.", split="test")

HOSTILE = {
    "probe-too-long": [b" " * (PROBE_BYTES + 1)],
    "probe-too-many-rows": [b"".join(line(text=str(n), split="test") for n in range(PROBE_ROWS + 1))],
    "probe-not-held-out": [line(text="peas"), GOOD + line(text="beans", split="train")],
    "probe-empty": [b"", b"\n\n"],
    "probe-malformed": [
        b"\xff\xfe",
        b"[1, 2]\n",
        b"[" * 20_000,
        b'{"text": "cut o',
        line(text="", split="test"),
        line(text=7, split="test"),
        line(messages=[], split="test"),
        line(messages=[{"role": "root", "content": "hi"}], split="test"),
        b'{"text": "\\ud800", "split": "test"}\n',
    ],
}


@pytest.mark.parametrize(("reason", "data"), [(why, data) for why, all_ in HOSTILE.items() for data in all_])
def test_a_hostile_file_is_refused_by_name_before_anything_is_measured(reason, data):
    with pytest.raises(ProbeError) as caught, opened(data):
        pytest.fail("it was let in")
    assert caught.value.reason == reason


def test_a_file_of_any_kind_becomes_rows_that_are_measured_and_never_learnt(tmp_path):
    file = tmp_path / "questions.csv"
    file.write_text("prompt,response\nPeas?,March.\nBeans?,May.\n")
    data = made_of(file)
    assert made_of(file) == data
    with opened(data) as probe:
        found = load_dataset([probe], measured=True)
        assert not found.training and len(found.held_out) == 2
        assert {row.turns for row in found.held_out} == {row.turns for row in read_rows(file)}
        place = probe
    assert not place.exists()


def test_a_founders_file_that_makes_no_probe_set_is_refused_with_what_to_do(tmp_path):
    for name, text, reason in (
        ("none.jsonl", "", "probe-empty"),
        ("many.jsonl", '{"text": "x"}\n' * (PROBE_ROWS + 1), "probe-too-many-rows"),
        ("long.jsonl", json.dumps({"text": "x" * PROBE_BYTES}), "probe-too-long"),
    ):
        file = tmp_path / name
        file.write_text(text)
        with pytest.raises(ProbeError) as caught:
            made_of(file)
        assert caught.value.reason == reason
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "x"}\n{"answer": 1}\n')
    with pytest.raises(DataError, match="line 2"):
        made_of(bad)


class Reader:
    """A client that answers with the number of rows that it was given, and remembers their files."""

    def __init__(self):
        self.asked = []

    def ask(self, kind, lesson):
        held_out = load_dataset(lesson.data, measured=True).held_out[: lesson.settings.eval_rows]
        self.asked.append(len(held_out))
        if not held_out:
            raise DataError("data", None, "no row is held out to measure on")
        return None, {"loss": float(len(held_out)), "rows": float(len(held_out))}


@pytest.fixture
def place():
    return Workplace(SPEC, "int8", b"n" * 32, "a node", None, MemoryBlobs())


def measured(place, data, own, rows=64):
    probe = place.blobs.put(data)
    assert probe == hashlib.sha256(data).digest()
    job = Evaluate("/en", 3, b"j" * 32, ((), ()), rows, probe)
    return evaluate(job, place, Reader(), data=own, settings=replace(TrainingSettings(), eval_rows=1))


def test_own_rows_and_probe_set_are_measured_apart_and_the_probe_set_whole(place, tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_bytes(line(text="one") + line(text="two") + line(text="three"))
    done = measured(place, GOOD, [own])
    assert (done.losses, done.rows, done.probed, done.probe_refusal) == ((1.0, 1.0), 1, (2.0, 2.0), "")


def test_without_own_rows_the_probe_set_is_measured_alone(place, tmp_path):
    assert measured(place, GOOD, [], rows=0).losses == ()
    nothing = tmp_path / "one.jsonl"
    nothing.write_bytes(line(text="one"))  # a single row is never held out
    done = measured(place, GOOD, [nothing])
    assert (done.losses, done.rows, done.probed) == ((), 0, (2.0, 2.0))
    with pytest.raises(DataError):
        measured(place, b"junk", [nothing])


def test_a_probe_set_that_is_none_spoils_nothing_but_itself(place, tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_bytes(line(text="one") + line(text="two"))
    done = measured(place, b"junk", [own])
    assert (done.losses, done.probed, done.probe_refusal) == ((1.0, 1.0), (), "probe-malformed")
