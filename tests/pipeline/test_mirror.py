"""The report's results as MLflow runs: what is shown is what the report holds now."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from modeling.tracking.results import Result
from pipeline.reporting import mirror


def test_a_stage_without_a_result_has_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a completeness that has become refused: its run would show figures that nobody may read."""
    logged, forgotten = [], []
    kept = SimpleNamespace(
        log_result=lambda root, name, result: logged.append((name, result.stage)),
        forget_runs=lambda root, name, stage: forgotten.append((name, stage)),
        log_headline=lambda root, name, result: logged.append((name, result.stage)),
    )
    monkeypatch.setattr(mirror, "results", kept)
    monkeypatch.setattr(mirror.models, "trained", lambda *_: True)
    monkeypatch.setattr(mirror, "_results", lambda *_: iter([Result("evaluate", {}), Result("diagnose", {})]))
    for name in ("_pictures", "_radii"):
        monkeypatch.setattr(mirror, name, lambda *_: {})
    item: Any = SimpleNamespace(name="demo2", injections=pd.DataFrame())
    nothing: Any = None
    mirror._log(nothing, item, {}, nothing)
    assert logged == [("demo2", "evaluate"), ("demo2", "diagnose"), ("demo2", "generation")]
    assert sorted(forgotten) == [("demo2", "calibrate"), ("demo2", "completeness")]
