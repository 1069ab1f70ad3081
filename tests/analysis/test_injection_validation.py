"""Judging injections: each gate passes what it should and catches what it should."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import ks_2samp

from analysis.comparisons.validation import BARE, INJECTIONS, LENSES, REFERENCE, Evidence, arc_colour, broken, judge
from analysis.figures.validation import validation_sheet
from analysis.records import Gate, Outcome
from injection.experiment.arc_finder import FoundArcs
from lake.errors import DataError
from lake.sky.survey import SURVEY
from tests.analysis.outcomes import measure
from tests.injection.scenes import planned, run

COUNT = 200
RNG = np.random.default_rng(0)


def logit(probability: Any) -> Any:
    return np.log(probability) - np.log1p(-np.asarray(probability))


def table(probability: Any, host_probability: Any = 0.01, ratio: float = 1.05, failed: int = 0) -> pa.Table:
    """Batch rows with the columns that are judged; two injections in each host."""
    status = np.where(np.arange(COUNT) < failed, "failed", "scored")
    return pa.table(
        {
            "status": status,
            "galaxy_id": [f"h{index // 2:03d}" for index in range(COUNT)],
            "score": logit(np.broadcast_to(probability, COUNT)),
            "host_score": logit(np.broadcast_to(host_probability, COUNT)),
            "sky_sigma_psfdepth_nmgy": np.full(COUNT, 0.01),
            "sky_sigma_mad_nmgy": np.full(COUNT, 0.01 * ratio),
            "arc_snr": np.full(COUNT, 20.0),
            **{f"arc_flux_{band}_nmgy": np.full(COUNT, 1.0) for band in "grz"},
            "reason": pa.array([None if one == "scored" else "no PSF" for one in status], pa.string()),
        }
    )


def arcs(colour: float = 0.2, snr: float = 20.0, count: int = 100) -> FoundArcs:
    rng = np.random.default_rng(7)
    return FoundArcs(rng.normal(snr, 2.0, count), rng.normal(colour, 0.2, count))


GOOD = Evidence(
    table(np.linspace(0.02, 0.98, COUNT)),
    table(np.linspace(0.02, 0.9, COUNT)),
    {INJECTIONS: arcs(), BARE: arcs(snr=5.0), LENSES: arcs()},
    SURVEY,
    RNG.normal(0, 2e-4, 100),
    RNG.normal(0, 1e-3, 10),
)


def gate(outcome: Outcome, name: str) -> Gate:
    return next(one for one in outcome.gates if one.name == name)


def test_good_injections_pass_every_gate() -> None:
    outcome = judge(GOOD, (0.3, 0.7))
    assert {one.name: one.status for one in outcome.gates if one.status != "PASS"} == {}
    assert broken(outcome) == []
    assert measure(outcome, "detected/p0.7").value == pytest.approx((np.linspace(0.02, 0.98, COUNT) > 0.7).mean())
    assert measure(outcome, "detected_core_suppressed/p0.7").value < measure(outcome, "detected/p0.7").value
    assert measure(outcome, "probability/percentile_50").value == pytest.approx(0.5)
    assert measure(outcome, "arcs_found/bare_hosts").value < 0.1
    assert measure(outcome, "detected/p0.5").low < 0.5 < measure(outcome, "detected/p0.5").high


@pytest.mark.parametrize(
    ("name", "status", "changes"),
    [
        ("saturation", "FAIL", {"rows": table(np.where(np.arange(COUNT) < 182, 0.05, 0.5))}),
        ("saturation", "PASS", {"rows": table(np.where(np.arange(COUNT) < 178, 0.05, 0.5))}),
        ("saturation", "FAIL", {"rows": table(0.95)}),
        ("failed_injections", "WARN", {"rows": table(np.linspace(0.02, 0.98, COUNT), failed=12)}),
        ("arcs_raise_scores", "WARN", {"rows": table(np.linspace(0.02, 0.98, COUNT), host_probability=0.9)}),
        ("arc_snr_against_real", "WARN", {"arcs": {INJECTIONS: arcs(snr=30.0), BARE: arcs(), LENSES: arcs()}}),
        ("arc_g_minus_r_against_real", "WARN", {"arcs": {INJECTIONS: arcs(0.6), BARE: arcs(), LENSES: arcs()}}),
        ("arc_snr_against_real", "NOT MEASURED", {"arcs": {INJECTIONS: arcs(), BARE: arcs()}}),
        ("arc_snr_against_real", "NOT MEASURED", {"arcs": {INJECTIONS: arcs(), LENSES: arcs(count=5)}}),
        ("noise_against_depth", "WARN", {"rows": table(np.linspace(0.02, 0.98, COUNT), ratio=1.4)}),
        ("flux_accuracy", "FAIL", {"flux_errors": np.full(50, 2e-3)}),
        ("flux_accuracy", "FAIL", {"flux_errors": np.r_[np.zeros(99), 0.02]}),
        ("lenstronomy", "FAIL", {"lenstronomy": np.full(10, 0.01)}),
    ],
)
def test_each_gate_catches_what_it_is_for(name: str, status: str, changes: dict[str, Any]) -> None:
    outcome = judge(replace(GOOD, **changes), (0.5,))
    assert gate(outcome, name).status == status
    assert [text for text in broken(outcome) if text.startswith(name)] == broken(outcome)
    assert bool(broken(outcome)) == (status == "FAIL")


def test_a_host_counts_once_however_many_injections_it_took() -> None:
    host = np.where(np.arange(COUNT) < 50, 0.9, 0.1)
    rows = table(0.5, host_probability=host)
    names = [f"h{index:03d}" if index < 50 else "other" for index in range(COUNT)]
    rows = rows.set_column(rows.column_names.index("galaxy_id"), "galaxy_id", pa.array(names))
    found = measure(judge(replace(GOOD, rows=rows), (0.5,)), "host_false_positives/p0.5")
    assert found.value == pytest.approx(50 / 51)
    assert found.n == 51


@pytest.mark.usefixtures("whole_stage")
def test_the_sheet_repeats_and_shows_stamps() -> None:
    stamps = np.random.default_rng(0).normal(0, 0.01, (3, 3, 21, 21)).astype(np.float32)
    pictures = [
        validation_sheet(GOOD, judge(GOOD, (0.5,)), [("lowest", stamps, ["a", "b", "c\nd"])], "title") for _ in range(2)
    ]
    assert pictures[0].content == pictures[1].content
    assert pictures[0].content.startswith(b"\x89PNG")


def test_figures_of_the_reference_are_not_exchanged() -> None:
    """Core suppression raised its detections: 4.0 % as made, 5.0 % suppressed; no bare host was above."""
    names = ("detected/p0.5", "detected_core_suppressed/p0.5", "host_false_positives/p0.5")
    assert [REFERENCE[name] for name in names] == ["4.0 %", "5.0 %", "0.0 %"]
    assert set(names) <= {measure.name for measure in judge(GOOD, (0.5,)).measures}


def test_scores_that_rise_are_told_by_pairs() -> None:
    """Hosts differ far more than an arc adds: unpaired scores overlap, each host's own score rises."""
    rng = np.random.default_rng(5)
    hosts = np.repeat(rng.normal(0.0, 3.0, COUNT // 2), 2)
    raised = table(1 / (1 + np.exp(-hosts - 0.3)), host_probability=1 / (1 + np.exp(-hosts)))
    assert ks_2samp(raised["score"].to_numpy(), raised["host_score"].to_numpy()).pvalue > 0.05
    assert gate(judge(replace(GOOD, rows=raised), (0.5,)), "arcs_raise_scores").status == "PASS"
    one = np.where(np.arange(COUNT) == 0, 0.9, 0.1)
    lucky = gate(judge(replace(GOOD, rows=table(one, host_probability=0.1)), (0.5,)), "arcs_raise_scores")
    assert (lucky.status, lucky.value > 0) == ("WARN", True), "one arc found of two hundred raises nothing"


def test_measures_of_a_drawn_grid() -> None:
    out = run(planned())
    status = ["failed"] * 3 + out["status"].to_pylist()[3:]
    out = out.set_column(out.column_names.index("status"), "status", pa.array(status))
    outcome = judge(replace(GOOD, rows=out), (0.3, 0.999))
    probability = 1 / (1 + np.exp(-out["score"].to_numpy()[3:]))
    assert gate(outcome, "failed_injections").value == pytest.approx(3 / out.num_rows)
    assert measure(outcome, "detected/p0.3").n == out.num_rows - 3
    assert measure(outcome, "detected/p0.3").value == pytest.approx((probability > 0.3).mean())
    assert measure(outcome, "probability/percentile_50").value == pytest.approx(np.percentile(probability, 50))
    assert 0.5 < measure(outcome, "noise_ratio/percentile_50").value < 10.0


def test_a_score_at_the_threshold_is_not_above_it() -> None:
    """As everywhere: a finder that gives one value to everything finds nothing at that value."""
    outcome = judge(replace(GOOD, rows=table(0.5, host_probability=0.5)), (0.5, 0.4999))
    for name in ("detected", "host_false_positives"):
        assert [measure(outcome, f"{name}/p{at}").value for at in (0.5, 0.4999)] == [0.0, 1.0]


def test_the_colour_of_arcs_is_that_of_their_sources() -> None:
    out = run(planned())
    np.testing.assert_allclose(arc_colour(out, SURVEY), out["src_g_minus_r"].to_numpy(), atol=0.02)


def test_nothing_scored_is_an_error() -> None:
    with pytest.raises(DataError, match="none of 200 injections was scored: no PSF"):
        judge(replace(GOOD, rows=table(0.5, failed=COUNT)), (0.3,))
