"""The files of a report, and the page as a reader meets it."""

import csv
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from banyan.simulations.record import ReleaseFigures, ScoreFigures, ViolationFigures
from banyan.simulations.report import write
from banyan.simulations.report.page import page
from banyan.simulations.report.plots import Plots
from banyan.simulations.report.story import Arms
from banyan.simulations.report.tables import read_records

VOID = {"meta", "br", "hr"}
#: Loads something, or may: none of them belongs on a page that needs nothing.
LOADING = {"src", "srcset", "poster", "data", "action", "formaction", "ping", "background"}
HOSTILE = """</td><script>alert("x")</script>&'$\\frac$<b>"""


class Reading(HTMLParser):
    """Words, images and their descriptions, ids, tables; and what would be loaded from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.ids, self.loads, self.images, self.headless = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        self.handle_attributes(tag, found)

    def handle_startendtag(self, tag, attributes):
        self.handle_attributes(tag, dict(attributes))

    def handle_attributes(self, tag, found):
        self.ids += [found["id"]] if "id" in found else []
        self.loads += [(tag, name) for name in found if name in LOADING]
        self.loads += [
            (tag, value)
            for name, value in found.items()
            if name.endswith("href") and not value.startswith("#")
        ]
        self.loads += [
            (tag, "") for _ in [0] if tag in {"script", "link", "iframe", "object", "embed", "img"}
        ]
        if tag == "svg" and found.get("aria-hidden") != "true":
            self.images.append(found.get("aria-label"))
        if tag == "th" and "scope" not in found:
            self.headless.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def page_of(*records, replay="banyan simulate again"):
    arms = Arms(records)
    return page(arms, Plots.of(arms), replay)


@pytest.fixture(scope="module")
def flat(arms_of, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat")
    records = arms_of(faults=6)
    return records, folder, write(records, folder)


@pytest.fixture(scope="module")
def text(flat):
    return (flat[1] / "index.html").read_text("utf-8")


def test_the_page_says_how_it_ended_and_how_to_see_it_again(text):
    words = Reading(text).words
    assert "16 honest devices learned together, and 4 attackers got nowhere" in words
    assert "It reached its goal after" in words and "Every invariant held." in words
    assert "banyan simulate flat-20 --seed 7" in words
    assert "No attacker’s update came to the rule." in words


def test_the_page_shows_what_the_records_say(flat, text):
    main = flat[0][0]
    words = Reading(text).words
    for record in flat[0]:
        assert record.trace in words
    for _, what in main.faults:
        assert what in words
    for reason in {reason for release in main.releases for _, reason in release.left_out}:
        assert f"{reason} ×" in words
    slowest = max(main.releases, key=lambda release: release.latency)
    assert f"release {slowest.height} of {slowest.branch}, led by {slowest.leader}" in words
    assert "Ed25519" in words and '"nnm+multi-krum"' in words and "link.latency" in words


def test_the_page_needs_nothing_but_itself(text):
    assert Reading(text).loads == []
    assert not re.search(r"@import|url\((?!#)", text)
    assert "prefers-color-scheme: dark" in text


def test_every_drawing_is_described_and_every_header_says_what_it_heads(text):
    found = Reading(text)
    assert len(found.images) >= 6 and all(found.images)
    assert found.headless == []


def test_ids_are_used_once(text):
    ids = Reading(text).ids
    assert len(ids) == len(set(ids))


def test_the_same_records_give_the_same_bytes(flat, tmp_path):
    again = write(flat[0], tmp_path)
    assert [path.name for path in again] == [path.name for path in flat[2]]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in flat[2]]


def test_plots_are_pictures(flat):
    pictures = [path for path in flat[2] if path.suffix == ".png"]
    assert {path.stem for path in pictures} == {"loss", "latency", "traffic", "left_out", "timeline"}
    for path in pictures:
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 4_000


def test_records_come_back_from_their_file(flat):
    assert read_records(flat[1] / "run.json") == flat[0]


def test_tables_hold_every_field_of_every_record(flat):
    records, folder, _ = flat
    for name in ("nodes", "releases", "scores"):
        with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        expected = [(record.arm, each) for record in records for each in getattr(record, name)]
        assert len(rows) == len(expected)
        for row, (arm, each) in zip(rows, expected, strict=True):
            assert row.pop("arm") == arm
            for column, cell in row.items():
                value = getattr(each, column)
                if isinstance(value, tuple):
                    assert json.dumps(value) == json.dumps(json.loads(cell))
                elif isinstance(value, float):
                    assert float(cell) == value
                else:
                    assert cell == ("" if value is None else str(value))


def test_hostile_names_are_text(record_of):
    record = record_of(rounds=2, faults=1)
    first = record.releases[0]
    bad = ReleaseFigures("/", 3, 9_000_000, 99_999, HOSTILE, (HOSTILE,), ((HOSTILE, HOSTILE),))
    record = replace(
        record,
        scenario="evil",
        about=HOSTILE,
        goal=HOSTILE,
        trace=HOSTILE,
        signatures=HOSTILE,
        settings={HOSTILE: {HOSTILE: HOSTILE}},
        nodes=(*record.nodes, replace(record.nodes[-1], name=HOSTILE, attack=HOSTILE, branch=f"/{HOSTILE}")),
        releases=(first, bad),
        violations=(ViolationFigures(HOSTILE, 1, HOSTILE, HOSTILE),),
        faults=((1, HOSTILE),),
    )
    text = page_of(record, replay=HOSTILE)
    found = Reading(text)
    assert "<script" not in text and found.loads == []
    assert found.words.count('<script>alert("x")</script>') > 8


def test_a_broken_invariant_is_the_headline(record_of):
    seen = ViolationFigures("one-release-a-height", 12_300, "/#3", "two releases at height 4")
    words = Reading(page_of(record_of(rounds=2, violations=(seen,)))).words
    assert "An invariant broke: one-release-a-height" in words
    assert "first after 12.3 s at /#3: two releases at height 4" in words
    assert "Every invariant held" not in words


def test_losses_that_are_no_numbers_are_drawn_and_written_as_strict_json(arms_of, tmp_path):
    asis, calm, mean = arms_of(rounds=4)
    ruined = tuple(
        score if score.height < 2 else replace(score, loss=math.nan, worst=math.inf) for score in mean.scores
    )
    write([asis, calm, replace(mean, scores=ruined)], tmp_path)

    def refuse(word):
        raise AssertionError(word)

    json.loads((tmp_path / "run.json").read_text(), parse_constant=refuse)
    back = read_records(tmp_path / "run.json")[2]
    assert math.isnan(back.scores[-1].loss) and back.scores[0] == mean.scores[0]
    assert "not a number" in Reading((tmp_path / "index.html").read_text()).words


@pytest.mark.parametrize("missing", ["scores", "releases"])
def test_a_run_in_which_little_happened_has_a_page_too(record_of, missing):
    Reading(page_of(replace(record_of(rounds=2), **{missing: ()})))


def test_a_run_in_which_nothing_happened_has_a_report_too(record_of, tmp_path):
    record = record_of(rounds=1)
    nothing = {"scores": (), "releases": (), "alone": {}, "settings": {}, "finished": False, "virtual_ms": 0}
    write([replace(record, nodes=record.nodes[:1], **nothing)], tmp_path)
    assert "It did not reach its goal" in Reading((tmp_path / "index.html").read_text()).words


def test_a_single_release_and_score_can_be_drawn(record_of):
    record = record_of(rounds=1)
    Reading(page_of(replace(record, scores=(ScoreFigures("/", 1, 5_000, 0.0, 0.0),), alone={"/": 0.0})))


def test_ten_thousand_devices_fit_on_a_small_page(record_of, shapes):
    text = page_of(record_of(shapes["large"], rounds=2))
    assert len(text) < 1_000_000
    words = Reading(text).words
    assert "10,000 devices on 111 branches" in words and "stands for 20 devices" in words
    assert "This run says nothing about forging" in words


@pytest.mark.parametrize(
    ("wrong", "why"), [("none", "at least one"), ("twice", "each arm once"), ("mixed", "one seed")]
)
def test_what_is_no_single_run_is_refused(record_of, tmp_path, wrong, why):
    records = {
        "none": [],
        "twice": [record_of(rounds=1), record_of(rounds=1)],
        "mixed": [record_of(rounds=1), record_of(rounds=1, arm="no-attack", seed=8)],
    }[wrong]
    with pytest.raises(ValueError, match=why):
        write(records, tmp_path)
