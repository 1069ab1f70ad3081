"""Progress on a terminal and in a log."""

from __future__ import annotations

import logging
import sys
import time

import pytest

from lake import progress


def test_a_log_gets_a_line_at_its_intervals(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    monkeypatch.setattr(progress, "_LINE_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO):
        assert list(progress.track(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    assert [record.message for record in caplog.records] == [f"letters: {n} of 3" for n in (1, 2, 3)]


def test_a_log_is_not_filled_by_short_work(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(progress.track(range(1000), "numbers")) == list(range(1000))
    assert not caplog.records


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(progress.track(["a", "b"], "letters")) == ["a", "b"]
    assert "letters: 100%" in capsys.readouterr().err


def test_work_elsewhere_is_watched(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "_LOOK_EVERY_S", 0.01)
    done: list[int] = []
    with progress.watch(lambda: len(done), "bricks", 2):
        done.append(1)
        time.sleep(0.1)
        done.append(2)
    seen = capsys.readouterr().err
    assert "| 1/2" in seen
    assert "| 2/2" in seen
