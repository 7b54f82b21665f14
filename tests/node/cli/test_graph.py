"""The DAG of releases in lanes, newest first."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from banyan.node.cli.graph import draw, newest_first


def page(branch, height, time, *counted):
    """A release named ``branch@height`` that counted those of the given names."""
    children = [dict(zip(("branch", "height"), place(name), strict=True), release=name) for name in counted]
    return {
        "branch": branch,
        "height": height,
        "release": f"{branch}@{height}",
        "time": time,
        "counted": children,
    }


def place(name):
    branch, height = name.rsplit("@", 1)
    return branch, int(height)


def drawn(pages):
    return [f"{row.first} {row.page['release']}".rstrip() for row in draw(pages)]


def test_one_branch_is_one_lane():
    assert drawn([page("/en", height, height) for height in range(3)]) == ["● /en@2", "● /en@1", "● /en@0"]
    assert [row.rest for row in draw([page("/en", 0, 0), page("/en", 1, 1)])] == ["│", " "]


def test_a_line_leads_to_the_release_that_was_counted():
    pages = [
        page("/", 0, 0),
        page("/en", 0, 1),
        page("/en", 1, 2),
        page("/", 1, 3, "/en@1"),
        page("/en", 2, 4),
        page("/", 2, 6, "/en@2"),
        page(
            "/en", 3, 5
        ),  # not counted yet, though it is older than the release that counted the one before it
    ]
    assert drawn(pages) == [
        "  ● /en@3",
        "●─┤ /@2",
        "│ ● /en@2",
        "●─┤ /@1",
        "│ ● /en@1",
        "│ ● /en@0",
        "●   /@0",
    ]


def test_a_line_crosses_the_lanes_between():
    pages = [
        page("/", 0, 0),
        page("/de", 0, 1),
        page("/de", 1, 7),
        page("/en", 1, 2),
        page("/", 1, 5, "/en@1"),
    ]
    assert drawn(pages) == ["  ●   /de@1", "●─┼─╮ /@1", "│ │ ● /en@1", "│ ●   /de@0", "●     /@0"]


def test_what_is_not_shown_is_not_joined():
    assert drawn([page("/", 4, 9, "/en@7"), page("/", 3, 8)]) == ["● /@4", "● /@3"]
    assert drawn([]) == []


def test_a_circle_which_only_liars_could_make_is_drawn_all_the_same():
    pages = [page("/a", 1, 1, "/b@1"), page("/b", 1, 1, "/a@1")]
    assert {row.page["release"] for row in draw(pages)} == {"/a@1", "/b@1"}


@given(st.integers(0, 10_000))
def test_every_release_is_drawn_once_before_all_that_it_follows_or_counted(seed):
    rng = random.Random(seed)
    heights, counted, pages = {"/": 0, "/en": 0, "/en/medical": 0, "/de": 0}, {}, []
    for time in range(rng.randrange(1, 40)):
        branch = rng.choice(list(heights))
        children = [
            path
            for path in heights
            if path != branch and path.rsplit("/", 1)[0] in (branch, branch.strip("/"))
        ]
        fresh = [path for path in children if heights[path] > counted.get(path, 0) and rng.random() < 0.5]
        heights[branch] += 1
        pages.append(page(branch, heights[branch], time, *(f"{path}@{heights[path]}" for path in fresh)))
        counted.update({path: heights[path] for path in fresh})
    shown = [each for each in pages if rng.random() < 0.8]
    rng.shuffle(shown)
    order = [each["release"] for each in newest_first(shown)]
    assert sorted(order) == sorted(each["release"] for each in shown)
    at = {name: number for number, name in enumerate(order)}
    for each in shown:
        for name in (
            f"{each['branch']}@{each['height'] - 1}",
            *(child["release"] for child in each["counted"]),
        ):
            assert at.get(name, len(order)) > at[each["release"]]
    rows = draw(shown)
    assert len({len(row.first) for row in rows} | {len(row.rest) for row in rows}) <= 1
    lane = {row.page["release"]: row.first.index("●") for row in rows}
    for number, row in enumerate(rows):
        for child in row.page["counted"]:
            if child["release"] in lane:  # straight below the line's end comes the counted release
                column = lane[child["release"]]
                assert re.fullmatch("[┤╮┼┬]", row.first[column])
                below = (other for other in rows[number + 1 :] if other.page["branch"] == child["branch"])
                assert next(below).page["release"] == child["release"]
