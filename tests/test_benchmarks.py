"""``python -m benchmarks``: one benchmark after the other, whatever becomes of each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as benchmarks


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``slow`` exceeds a limit, ``fine`` says which options it has."""
    (tmp_path / "exceeding_measure.py").write_text("import sys\nsys.exit('A limit is exceeded.')\n")
    (tmp_path / "modest_measure.py").write_text("import sys\nprint('fine', sys.argv[1:])\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    known = {"slow": ("exceeding_measure", "too slow"), "fine": ("modest_measure", "fine")}
    monkeypatch.setattr(benchmarks, "BENCHMARKS", known)


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    benchmarks.main()


@pytest.mark.usefixtures("two")
def test_one_that_exceeds_a_limit_does_not_keep_the_next_from_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="Failed: slow"):
        _run(monkeypatch, "slow", "fine")
    shown = capsys.readouterr()
    assert "A limit is exceeded." in shown.err
    assert "fine []" in shown.out


@pytest.mark.usefixtures("two")
def test_options_after_a_single_name_are_that_benchmarks_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(monkeypatch, "fine", "--seeds", "5")
    assert "fine ['--seeds', '5']" in capsys.readouterr().out


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("arguments", [("neither",), ("fine", "slow", "--seeds")])
def test_what_cannot_be_asked_for_is_refused_before_anything_runs(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _run(monkeypatch, *arguments)
    assert ended.value.code == 2
    assert "==" not in capsys.readouterr().out
