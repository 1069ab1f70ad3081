"""The GPU benchmark, tiny on the CPU: what it measures, what it checks, and its limits."""

from __future__ import annotations

import json
from pathlib import Path
from timeit import timeit
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.gpu import again, bars, injecting, parts, scoring, training
from modeling.networks import inference, recorded


class OfItsBatch:
    """A scorer whose logits depend on the rest of the batch."""

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        return stamps.mean(axis=(1, 2, 3)) - stamps.mean()


@pytest.fixture(scope="module")
def scored(whole_stage: None) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "seconds", lambda work: timeit(work, number=1))  # once, where rates do not matter
        return list(scoring.records())


@pytest.fixture(scope="module")
def trained(whole_stage: None) -> list[dict[str, Any]]:
    return list(training.records())


def test_scoring_has_a_rate_per_batch_size_and_finds_logits_independent(scored: list[dict[str, Any]]) -> None:
    found = scored
    rates = [record["stamps_per_s"] for record in found if "stamps_per_s" in record]
    assert len(rates) == len(scoring.BATCHES)
    assert all(value > 0 for rate in rates for value in rate.values())
    assert sum("bitwise those of plain passes" in record["what"] for record in found) == len(scoring.BATCHES)
    assert not [record for record in found if "failed" in record]


def test_a_scorer_that_looks_at_its_batch_fails() -> None:
    host = np.random.default_rng(0).normal(size=(9, 3, 5, 5)).astype(np.float32)
    scorer: Any = OfItsBatch()
    assert scoring.independent(scorer, host, 4, scorer.score(host))["failed"]


def test_injecting_has_rates_and_shares_by_number_of_threads(
    whole_stage: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(inference.BATCH, "cpu", 4)
    found = [record for record in injecting.records() if "shares" in record]
    assert [record["threads"] for record in found] == list(injecting.THREADS)
    for record in found:
        assert sum(record["shares"].values()) == pytest.approx(1.0)
        assert record["injections"] > 0
        assert 0 < record["scoring_busy"] < 1, "threads take turns, and no call counts twice"
        assert min(record["shares"].values()) > 0
    best = max(record["injections_per_s"] for record in found)
    on_gpu = [{"part": "injecting", "device": "cuda"}, *({"part": "injecting", **record} for record in found)]
    assert judged(on_gpu)[bars.BARS[3].what]["value"] == bars.GRID / best


def test_training_has_rates_by_micro_batch_loading_and_the_agreement_of_graphs(trained: list[dict[str, Any]]) -> None:
    found = trained
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


def measured(epoch: float = 20.0, again: float = 5.0) -> list[dict[str, Any]]:
    """Records of a GPU, with the keys that the parts give theirs."""
    return [
        {"part": "scoring", "device": "cuda", "imports_s": 9.0},
        {"part": "scoring", "batch": 64, "stamps_per_s": {"host": 9e4, "device": 2e4}},
        {"part": "scoring", "batch": 2048, "stamps_per_s": {"host": 4e4, "device": 6e4}},
        {"part": "injecting", "threads": 1, "injections_per_s": 1_000.0},
        {"part": "injecting", "threads": 16, "injections_per_s": 11_000.0},
        {"part": "training", "whole_s": 50.0},
        {"part": "training", "micro_batch": 512, "train_s": epoch, "validation_s": 3.0},
        {"part": "training", "micro_batch": 64, "train_s": 80.0, "validation_s": 3.0},
        {"part": "compiling", "device": "cuda", "imports_s": 9.0},
        {"part": "compiling", "compiled_micro_batch": 512, "train_s": 30.0, "first_step_s": 100.0},
        {"part": "again", "device": "cuda", "imports_s": 9.0},
        {"part": "again", "first_step_s": again},
    ]


def judged(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["bar"]: each for each in bars.verdicts(records)}


def test_every_bar_is_judged() -> None:
    found = judged(measured())
    assert list(found) == [bar.what for bar in bars.BARS]
    assert [each["value"] for each in found.values() if "value" in each] == [23.0, 83.0, 6e4, 10.0, 50.0, 14.0]
    assert [each["what"].split(":")[0].split("  ")[0] for each in found.values()] == [
        "GOAL REACHED", "MISSED", "REACHED", "GOAL REACHED", "REACHED", "REACHED",
    ]  # fmt: skip
    epoch, *_, again = found.values()
    assert "bar 40, goal 25" in epoch["what"]
    slow = judged(measured(epoch=90.0, again=12.0))
    assert slow[epoch["bar"]]["value"] == 33.0, "compiled is faster"
    assert not slow[again["bar"]]["reached"]


def test_what_was_not_measured_is_not_judged() -> None:
    only = [record for record in measured() if record["part"] in {"scoring", "again"} and "first_step_s" not in record]
    found = judged(only)
    assert [each["what"][:12] for each in found.values()].count("NOT MEASURED") == len(bars.BARS) - 1
    assert [each["what"] for each in bars.verdicts([{"device": "cpu"}])] == ["no bar was judged: there is no GPU"]


def test_verdicts_read_what_the_parts_record(scored: list[dict[str, Any]], trained: list[dict[str, Any]]) -> None:
    """The keys of real records, taken as those of a GPU."""
    named = [{"part": part, **each} for part, of in (("scoring", scored), ("training", trained)) for each in of]
    on_gpu = {training.MICRO_BATCHES[0]: 64, training.MICRO_BATCHES[1]: 512}
    named = [{**each, "micro_batch": on_gpu.get(each.get("micro_batch", 0))} for each in named]
    found = judged([*named, {"part": "again", "device": "cuda"}])
    missing = [bar for bar, each in found.items() if each.get("value") is None]
    assert missing == [bars.BARS[3].what, bars.BARS[5].what]


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
    assert len(json.loads(path.read_text())) == 2 * len(parts.LIMITS_S) + 1, "the last says what it means"
