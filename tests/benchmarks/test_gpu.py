"""The GPU benchmark, tiny on the CPU: what it measures, what it checks, and its limits."""

from __future__ import annotations

import json
from pathlib import Path
from timeit import timeit
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.gpu import injecting, parts, scoring, training
from injection.engine import render
from injection.experiment import stream
from modeling.networks import inference


class OfItsBatch:
    """A scorer whose logits depend on the rest of the batch."""

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return stamps.mean(axis=(1, 2, 3)) - stamps.mean()


def test_scoring_has_a_rate_per_batch_size_and_finds_logits_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "seconds", lambda work: timeit(work, number=1))  # once, where rates do not matter
    found = list(scoring.records())
    rates = [record["stamps_per_s"] for record in found if "stamps_per_s" in record]
    assert len(rates) == len(scoring.BATCHES)
    assert all(value > 0 for rate in rates for value in rate.values())
    assert not [record for record in found if "failed" in record]


def test_a_scorer_that_looks_at_its_batch_fails() -> None:
    host = np.random.default_rng(0).normal(size=(9, 3, 5, 5)).astype(np.float32)
    scorer: Any = OfItsBatch()
    assert scoring.independent(scorer, host, 4, scorer.score(host))["failed"]


def test_injecting_has_rates_and_shares_of_both_engines_which_agree(
    whole_system: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(inference.BATCH, "cpu", 4)
    for module in (render, stream):
        monkeypatch.setattr(module, "accelerator", lambda device: None if device == "cpu" else torch.device("cpu"))
    monkeypatch.setattr(injecting, "PROCESSOR", (("cpu", 1, 4),))
    monkeypatch.setattr(injecting, "TORCH", (("cuda", 1, 4),))
    found = list(injecting.records())
    engines = [record for record in found if "shares" in record]
    assert [record["engine"] for record in engines] == ["processor", "torch"]
    for record in engines:
        assert sum(record["shares"].values()) == pytest.approx(1.0)
        assert min(record["shares"].values()) > 0
    largest = next(record for record in found if "largest_difference" in record)
    assert 0 < largest["largest_difference"] < injecting.LARGEST_DIFFERENCE
    assert "failed" not in largest


def test_training_has_steps_per_second_by_micro_batch() -> None:
    found = [record for record in training.records() if "micro_batch" in record]
    assert [record["micro_batch"] for record in found] == list(training.MICRO_BATCHES)
    assert all(record["ratio"] > 0 for record in found)


def test_a_part_is_stopped_at_its_limit() -> None:
    (record,) = parts.run_part("training", 0.0)
    assert record["failed"] == "stopped at its limit of 0 s"


def test_results_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gpu.json"

    def fake(part: str, limit_s: float) -> Any:
        yield {"part": part, "what": "one"}
        assert json.loads(path.read_text())[-1] == {"part": part, "what": "one"}
        yield {"part": part, "what": "two"} | ({"failed": "two"} if part == "scoring" else {})

    monkeypatch.setattr(parts, "run_part", fake)
    assert parts.main(["--json", str(path), "--part", "training"]) == 0
    assert parts.main(["--json", str(path)]) == 1
    assert len(json.loads(path.read_text())) == 2 * len(parts.LIMITS_S)
