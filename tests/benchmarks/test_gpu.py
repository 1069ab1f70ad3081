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

from benchmarks.gpu import again, injecting, parts, scoring, training
from injection.engine import render
from injection.experiment import stream
from modeling.networks import inference, recorded


class OfItsBatch:
    """A scorer whose logits depend on the rest of the batch."""

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return stamps.mean(axis=(1, 2, 3)) - stamps.mean()


@pytest.mark.usefixtures("whole_system")
def test_scoring_has_a_rate_per_batch_size_and_finds_logits_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "seconds", lambda work: timeit(work, number=1))  # once, where rates do not matter
    found = list(scoring.records())
    rates = [record["stamps_per_s"] for record in found if "stamps_per_s" in record]
    assert len(rates) == len(scoring.BATCHES)
    assert all(value > 0 for rate in rates for value in rate.values())
    assert sum("bitwise those of plain passes" in record["what"] for record in found) == len(scoring.BATCHES)
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
        assert record["injections"] > 0
        assert 0 < record["scoring_busy"] < 1, "threads take turns, and no call counts twice"
        assert min(record["shares"].values()) > 0
    largest = next(record for record in found if "largest_difference" in record)
    assert 0 < largest["largest_difference"] < injecting.LARGEST_DIFFERENCE
    assert "failed" not in largest


@pytest.mark.usefixtures("whole_system")
def test_training_has_rates_by_micro_batch_loading_and_the_agreement_of_graphs() -> None:
    found = list(training.records())
    rates = [record for record in found if "micro_batch" in record]
    assert [record["micro_batch"] for record in rates] == list(reversed(training.MICRO_BATCHES))
    assert all(record["ratio"] > 0 and 0 < record["loader_share"] < 1 and record["epoch_s"] > 0 for record in rates)
    assert {record["mode"] for record in rates} == {recorded.EAGER}
    assert [record["device"] for record in found if "loading" in record["what"]] == ["cpu"]
    assert [record["loss_difference"] for record in found if "loss_difference" in record] == [0.0]
    assert not [record for record in found if "failed" in record]


def test_what_was_not_run_is_named() -> None:
    assert [record["what"] for record in again.records()][-1] == "a compiled network was not trained: no GPU"


def test_all_parts_end_in_five_minutes_and_the_last_has_its_time() -> None:
    wanted, spent = list(parts.LIMITS_S), 0.0
    for part in wanted:
        spent += parts.limit_s(part, wanted, spent)
    assert spent <= parts.AT_MOST_S < 300
    assert parts.limit_s("again", wanted, spent - 30) == 30
    assert parts.limit_s("compiling", wanted, 290.0) == 0
    assert parts.limit_s("training", ["training"], 0.0) == parts.LIMITS_S["training"]


def test_the_torch_engine_stays_only_where_it_reaches_what_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(injecting, "PROCESSOR", (("cpu", 1, 4),))
    monkeypatch.setattr(injecting, "TORCH", (("cuda", 1, 4), ("cuda", 2, 4)))
    assert injecting._decision([12_000.0, 20_000.0, 30_000.0])["torch_stays"] is False
    assert injecting._decision([12_000.0, 20_000.0, 101_000.0])["torch_stays"] is True


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
