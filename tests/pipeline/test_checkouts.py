"""Copies of the project in which tests run commands."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.pipeline import checkout


def test_what_runs_have_left_in_the_project_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    for name in (
        "dvc.yaml",
        "dvc.lock",
        "params/demo/dvc.yaml",
        "params/demo/dvc.lock",
        "data/cards/scores.demo1.json",
    ):
        place = project / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}")
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    monkeypatch.setattr(checkout, "PROJECT", project)
    copy = checkout.Checkout.make(tmp_path / "copy").folder
    held = {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file() and ".git" not in path.parts}
    assert held == {"dvc.yaml", "params/demo/dvc.yaml"}
