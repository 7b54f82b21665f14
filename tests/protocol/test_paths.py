"""Branch paths are checked before anything hangs on them."""

from __future__ import annotations

import pytest

from banyan.protocol.paths import PathRefused, check_path, parent_of, path_to


@pytest.mark.parametrize("path", ["/", "/en", "/en/medical", "/a/b/c/d/e/f/g/h", "/en/heart_lung-2"])
def test_a_well_formed_path_passes_unchanged(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path", ["", "en", "/en/", "//", "/EN", "/a b", "/..", "/a/b/c/d/e/f/g/h/i", "/" + "a" * 40]
)
def test_anything_else_is_refused_with_an_example(path: str) -> None:
    with pytest.raises(PathRefused, match="/en/medical"):
        check_path(path)


def test_the_way_to_a_branch_leads_from_the_root_through_its_parents() -> None:
    assert path_to("/en/medical") == ("/", "/en", "/en/medical")
    assert path_to("/") == ("/",)
    assert parent_of("/en") == "/"
    assert parent_of("/") is None
