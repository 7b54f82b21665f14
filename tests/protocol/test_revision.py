"""A release is named as in git: by place, by steps back, by the beginning of its id."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from banyan.protocol.chain import Chain
from banyan.protocol.release import Release, Seat, opening
from banyan.protocol.revision import RevisionRefused, resolve
from banyan.security.charter import CommitteePolicy


@dataclass
class Followed:
    chain: Chain


def chain(path: str, length: int) -> Chain:
    """A history of ``length`` releases after the opening; nobody needs to have signed it here."""
    made = Chain(path, CommitteePolicy(), lambda data: pytest.fail("nothing to read"))
    release = opening(path, [Seat("a", 0, path)], 1_000)
    for height in range(length + 1):
        made._append(release)
        release = replace(release, height=height + 1, parent=release.digest, time=1_000 + 100 * (height + 1))
    return made


@pytest.fixture(scope="module")
def branches() -> dict[str, Followed]:
    lengths = {"/": 3, "/en": 5, "/en/medical": 120, "/new": -1}
    return {path: Followed(chain(path, length)) for path, length in lengths.items()}


def named(text: str, branches: dict[str, Followed]) -> tuple[str, int]:
    release = resolve(text, "/en", branches)
    return release.branch, release.height


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/en@2", ("/en", 2)),
        ("/en", ("/en", 5)),
        ("/en~2", ("/en", 3)),
        ("/en~", ("/en", 4)),
        ("/en@4~3", ("/en", 1)),
        ("/@0", ("/", 0)),
        ("/", ("/", 3)),
        ("@2", ("/en", 2)),
        ("@", ("/en", 5)),
        ("@~2", ("/en", 3)),
        ("~1", ("/en", 4)),
        (" /EN@2 ", ("/en", 2)),
    ],
)
def test_a_release_is_found_by_its_place(
    branches: dict[str, Followed], text: str, place: tuple[str, int]
) -> None:
    assert named(text, branches) == place


def test_a_release_is_found_by_the_beginning_of_its_id(branches: dict[str, Followed]) -> None:
    for path, followed in branches.items():
        for release in followed.chain.releases():
            name = release.digest.hex()
            assert named(name, branches) == named(name[:16].upper(), branches) == (path, release.height)
    third: Release | None = branches["/en"].chain.at(3)
    assert third is not None
    assert named(f"{third.digest.hex()[:16]}~2", branches) == ("/en", 1)


@pytest.mark.parametrize(
    ("text", "reason", "complaint"),
    [
        ("", "bad-revision", "at least 4 digits"),
        ("12", "bad-revision", "does not name a release"),
        ("/en@x", "bad-revision", "does not name a release"),
        ("/en@2@3", "bad-revision", "does not name a release"),
        ("9" * 65, "bad-revision", "does not name a release"),
        ("/de", "unknown-branch", "It follows /, /en, /en/medical, /new"),
        ("/../etc", "unknown-branch", "does not follow /../etc"),
        ("/new", "unknown-release", "no release yet"),
        ("/en@6", "unknown-release", "It has 0 to 5"),
        ("/en~6", "unknown-release", "The oldest is /en@0"),
        ("@999999999999", "unknown-release", "no release 999999999999"),
        ("ffffffffffff", "unknown-release", "begins with ffffffffffff"),
    ],
)
def test_what_names_no_release_is_refused_and_says_what_would(
    branches: dict[str, Followed], text: str, reason: str, complaint: str
) -> None:
    with pytest.raises(RevisionRefused) as caught:
        resolve(text, "/en", branches)
    assert caught.value.reason == reason
    assert complaint in str(caught.value)


def test_a_prefix_of_two_ids_is_refused_and_names_both(branches: dict[str, Followed]) -> None:
    many = {"/long": Followed(chain("/long", 1_500))}
    names: dict[str, list[int]] = {}
    for release in many["/long"].chain.releases():
        names.setdefault(release.digest.hex()[:4], []).append(release.height)
    prefix, heights = next((prefix, heights) for prefix, heights in names.items() if len(heights) == 2)
    with pytest.raises(RevisionRefused) as caught:
        resolve(prefix, "/long", many)
    assert caught.value.reason == "ambiguous-release"
    for height in heights:
        assert f"/long@{height} ({prefix}" in str(caught.value)


def test_a_branch_is_found_as_it_was_at_a_time(branches: dict[str, Followed]) -> None:
    history = branches["/en"].chain
    heights = [
        release.height if (release := history.at_time(time)) else None for time in (999, 1_000, 1_250, 9_000)
    ]
    assert heights == [None, 0, 2, 5]
