"""Engines of two workers, and runs that they can import."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def importable_runs():
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(Path(__file__).parent))
    yield
    patch.undo()
