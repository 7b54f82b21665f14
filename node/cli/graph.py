"""Draws the DAG of releases beside their lines, as ``git log --graph`` does: one lane a branch, newest first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any, TypeAlias

#: A release as the node's log gives it.
Page: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A release with what is drawn left of its first line and of the lines below it."""

    page: Page
    first: str
    rest: str


def draw(pages: Sequence[Page]) -> list[Row]:
    """The rows of these releases, newest first, in lanes from the root on the left to the leaves on the right.

    A line across leads from a release to the child's release that it counted, which is the next one of that lane.
    """
    order = newest_first(pages)
    lanes = sorted(
        {page["branch"] for page in order}, key=lambda path: (path.count("/") if path != "/" else 0, path)
    )
    last = {page["branch"]: number for number, page in enumerate(order)}
    here = {page["release"] for page in order}
    begun: set[str] = set()
    rows = []
    for number, page in enumerate(order):
        joined = {each["branch"] for each in page["counted"] if each["release"] in here}
        before = set(begun)
        begun |= joined | {page["branch"]}
        cells = [_cell(path, page["branch"], joined, before, last[path] > number) for path in lanes]
        open_ = {path for path in begun if last[path] > number}
        rows.append(
            Row(
                page,
                _across(cells, lanes, page["branch"], joined),
                " ".join("│" if p in open_ else " " for p in lanes),
            )
        )
    return rows


def _cell(path: str, own: str, joined: set[str], before: set[str], goes_on: bool) -> str:
    if path == own:
        return "●"
    if path in joined:
        return "┤" if path in before else "╮"
    return "│" if path in before and goes_on else " "


def _across(cells: list[str], lanes: list[str], own: str, joined: set[str]) -> str:
    """The cells with a line from the release's own lane to the last one that it joins."""
    start = lanes.index(own)
    end = max((lanes.index(path) for path in joined), default=start)
    crossed = [
        {"│": "┼", " ": "─", "╮": "┬", "┤": "┼"}.get(cell, cell) if start < place < end else cell
        for place, cell in enumerate(cells)
    ]
    return "".join(cell + ("─" if start <= place < end else " ") for place, cell in enumerate(crossed))[:-1]


def newest_first(pages: Sequence[Page]) -> list[Page]:
    """Each release before those that it follows or counted; where that leaves a choice, by time.

    A child's release that was not counted yet comes before the parent's release that counted the one before it, so that
    in the child's lane the counted release is the next.
    """
    by_name = {page["release"]: page for page in pages}
    newer = {below["release"]: page["release"] for page, below in _pairs(by_name.values())}
    below: dict[str, set[str]] = {name: set() for name in by_name}
    for name, above in newer.items():
        below[above].add(name)
    for name, page in by_name.items():
        for each in page["counted"]:
            if each["release"] in by_name:
                below[name].add(each["release"])
                if each["release"] in newer:
                    below[newer[each["release"]]].add(name)
    return [by_name[name] for name in _sorted(below, {name: page["time"] for name, page in by_name.items()})]


def _pairs(pages: Iterable[Page]) -> Iterator[tuple[Page, Page]]:
    """Each release with the one before it of those that are shown of its branch."""
    ordered = sorted(pages, key=lambda page: (page["branch"], -page["height"]))
    return ((page, below) for page, below in pairwise(ordered) if page["branch"] == below["branch"])


def _sorted(below: Mapping[str, set[str]], times: Mapping[str, int]) -> Iterator[str]:
    """Names, each before those ``below`` it, the newest of those that are free first."""
    waits = Counter(name for names in below.values() for name in names)
    free = [(-times[name], name) for name in below if not waits[name]]
    heapify(free)
    left = set(below)
    while left:
        if not free:  # a circle, which no honest network makes
            free.append(min((-times[name], name) for name in left))
        name = heappop(free)[1]
        if name not in left:
            continue
        left.remove(name)
        yield name
        for each in below[name]:
            waits[each] -= 1
            if not waits[each]:
                heappush(free, (-times[each], each))
