"""``dhs emr submit`` hands the stage, its parameters and its cards to the submission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from lake.errors import ParameterError
from pipeline.cli import dhs
from pipeline.project import params
from pipeline.wiring import cards

REPOSITORY = Path(__file__).resolve().parents[2]


def test_cards_come_from_the_wiring() -> None:
    assert "tractor_pool" in cards(REPOSITORY, "pool", None)
    assert "injections.gen1" in cards(REPOSITORY, "ingest", "gen1")
    assert cards(REPOSITORY, "manifest", "mine") == ["manifest.mine", "quarantine.manifest.mine"]
    assert not [name for name in cards(REPOSITORY, "pool", None) if "pin" in name]
    with pytest.raises(ParameterError, match=r"'stage' must be one of demo, code, listing, pool, .*, got 'pol'"):
        cards(REPOSITORY, "pol", None)


def test_limits_reach_the_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from etl.emr import submission

    seen: list[Any] = []
    monkeypatch.setattr(submission, "submit", lambda *arguments: seen.append(arguments) or ["tractor_pool.json"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text((REPOSITORY / "dvc.yaml").read_text())
    (tmp_path / "params").symlink_to(REPOSITORY / "params")
    (tmp_path / "emr.yaml").write_text((REPOSITORY / "docs/emr.md").read_text().split("```yaml\n")[1].split("```")[0])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.resolve(REPOSITORY, "test")))
    result = CliRunner().invoke(dhs, ["emr", "submit", "pool", "--cluster", "emr.yaml", "--limit-files", "2"])
    assert result.exit_code == 0, result.output
    work = seen[0][0]
    assert work.arguments == ("run", "pool")
    assert yaml.safe_load(work.parameters)["pool"]["limit_files"] == 2
    assert "tractor_pool" in work.outputs
