"""The clinician's walk: as its README prints it, cut short, and its parts."""

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from banyan.node.learning.dataset import load_dataset
from examples.clinician import notes
from examples.clinician.leaks import Traces
from examples.clinician.terminal import Terminal, WalkFailed

ROOT = Path(__file__).resolve().parents[2]


def command(*more):
    """The command that the README prints, of this very Python."""
    readme = (ROOT / "examples" / "clinician" / "README.md").read_text("utf-8")
    first, *line = shlex.split(re.search(r"```\n(\S+python -m examples\.clinician.*)\n```", readme)[1])
    assert first == ".venv/bin/python"
    return [sys.executable, *line, *map(str, more)]


def left_in(folder):
    """The processes that work in ``folder``."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()) or process.cwd().startswith(str(folder)):
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


@pytest.mark.network
def test_the_walk_in_the_readme_shows_what_it_says(tmp_path):
    keep = tmp_path / "walk"
    done = subprocess.run(
        command("--json", "--keep", keep), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    summary = json.loads(done.stdout)
    assert all(each["holds"] for each in summary["checks"])
    losses = summary["losses"]
    assert losses["peer after"] < losses["peer before"]
    assert losses["domain after"] < losses["domain before"]
    assert summary["lesson"]["after"] < summary["lesson"]["before"]
    assert summary["search"] == summary["search"] | {"found": 0}
    assert "$ banyan ask --text" in done.stderr
    assert (keep / "models" / "domain" / "adapter_model.safetensors").is_file()
    assert left_in(keep) == []


@pytest.mark.network
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_walk_that_is_cut_short_leaves_no_process(tmp_path, number, code):
    keep = tmp_path / "walk"
    walk = subprocess.Popen(
        command("--keep", keep), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while not (keep / "north" / "node.sqlite").exists():  # its node is up
            assert walk.poll() is None, walk.stderr.read().decode()
            time.sleep(0.05)
        walk.send_signal(number)
        assert walk.wait(60) == code
        assert left_in(keep) == []
    finally:
        walk.kill()
        walk.communicate()


def test_a_folder_that_is_not_empty_and_one_without_notes_are_refused_with_a_sentence(tmp_path):
    (tmp_path / "mine").write_text("x")
    for more, complaint in (
        (("--keep", tmp_path), "is not empty. Choose another"),
        (("--corpus", tmp_path), "has no heart_lung.jsonl. Give a folder"),
        (("--base", tmp_path / "nowhere"), "is no folder"),
    ):
        done = subprocess.run(command(*more), cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert complaint in done.stderr


def test_a_command_that_fails_ends_the_walk_with_its_own_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Terminal(Console(file=open("story", "w")), (1,)) as terminal:
        with pytest.raises(WalkFailed, match=r"`banyan status --home nobody` failed \(.*No node is running"):
            terminal.run("nobody", "status")
        with pytest.raises(WalkFailed, match="does not show what it should: The sky is green"):
            terminal.check(False, "The sky is green.")
    assert "$ banyan status --home nobody" in (tmp_path / "story").read_text()


def test_a_clinic_s_notes_are_read_from_every_kind_of_file_and_what_is_kept_aside_stays_so(tmp_path):
    corpus = notes.make_up(tmp_path / "corpus", 0)
    clinic = notes.dealt(corpus, notes.HEART, 2)[1]
    notes.keep_as_a_clinic_does(clinic, tmp_path / "notes")
    read = load_dataset([tmp_path / "notes"])
    assert len(read.held_out) == len(clinic.held_out) == 10
    said = "\n".join(content for row in read.training for _, content in row.turns)
    assert all(row["response"] in said for row in clinic.training)
    assert not any(row["response"] in said for row in clinic.held_out)
    again = notes.make_up(tmp_path / "again", 0)
    assert (again / "heart_lung.jsonl").read_bytes() == (corpus / "heart_lung.jsonl").read_bytes()


def ids(text):
    """One id a word."""
    return [sum(word.encode()) for word in text.split()]


MINE = "The patient in bed four has a cough since the first of May and sleeps badly at night"


@pytest.mark.parametrize(
    "leak",
    [
        MINE.encode(),
        b"\x00" * 7 + MINE[5:70].encode() + b"\x01",
        b"".join(each.to_bytes(4, "little") for each in ids(MINE)),
        b"head" + b"".join(each.to_bytes(8, "little") for each in ids(MINE)),
    ],
)
def test_notes_are_found_as_text_and_as_ids_wherever_they_lie(tmp_path, leak):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "blob").write_bytes(leak)
    assert [*Traces([MINE], [], ids).found_in([tmp_path])] == [tmp_path / "deep" / "blob"]


def test_what_others_wrote_as_well_is_no_trace(tmp_path):
    (tmp_path / "theirs").write_text(MINE)
    assert [*Traces([MINE], [MINE], ids).found_in([tmp_path])] == []
    (tmp_path / "theirs").write_text("Another patient, in another bed, who has something else altogether")
    assert [*Traces([MINE], [], ids).found_in([tmp_path])] == []
