"""Branch paths as the reach of a right: ``/`` covers all, ``/en`` covers ``/en`` and ``/en/medical``."""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeAlias

from banyan.security.schema import Matches

MAX_DEPTH: Final = 8
_SEGMENT: Final = "[a-z0-9][a-z0-9_-]{0,31}"
_PATH: Final = re.compile(rf"/|(/{_SEGMENT}){{1,{MAX_DEPTH}}}")


def is_path(text: object) -> bool:
    """Whether ``text`` is a branch path: ``/``, or up to 8 segments of ``a-z 0-9 _ -``."""
    return isinstance(text, str) and _PATH.fullmatch(text) is not None


def covers(scope: str, path: str) -> bool:
    """Whether a right over the branch ``scope`` reaches ``path``."""
    return scope in ("/", path) or path.startswith(scope + "/")


Path: TypeAlias = Annotated[str, Matches(is_path, "a branch path such as /en/medical")]
