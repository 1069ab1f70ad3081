"""Real and injected arcs in the same hosts, on made-up answers of a finder."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.diagnostics.transplants import KINDS, Params, Transplants, compared, diagnose
from tests.analysis.outcomes import fixed, measure, status


@pytest.fixture(scope="module")
def params(diagnose):
    return Params.model_construct(
        **{**diagnose.model_dump(), "transplant_threshold": "p0.3", "transplant_replicates": 400}
    )


POINTS = [fixed(np.linspace(0.0, 0.5, 400))]


def rows(shares, lenses=150, hosts=2, truth=True):
    """Each kind is detected in a share of the hosts, in the same ones for equal shares."""
    rng = np.random.default_rng(3)
    depth = np.repeat(rng.random(lenses), hosts)
    kinds = list(KINDS) if truth else list(KINDS)[:-1]
    columns = {kind: np.where(depth < shares.get(kind, 0.0), 0.9, 0.1) for kind in kinds}
    ids = np.repeat([f"l{i}" for i in range(lenses)], hosts)
    return pd.DataFrame({"lens": ids, "host": [f"h{i}" for i in range(lenses * hosts)], **columns})


def made(params, shares, **how):
    return compared(Transplants(rows(shares, **how), 3, 2, (0.9,) * 9), POINTS, params, np.random.default_rng(1))


ALIKE = {"real_arc": 0.6, "moved_injection": 0.6, "same_injection": 0.6, "same_lens": 0.6, "residual": 0.1}


def test_equal_detection_passes(params):
    outcome = made(params, ALIKE)
    assert status(outcome, "transplants/injected_arcs") == "PASS"
    difference = measure(outcome, "transplants/change/p0.3")
    assert difference.value == 0.0
    assert difference.low < 0.0 < difference.high, "no changed decision does not mean that none can change"
    assert measure(outcome, "transplants/flux_kept").value == pytest.approx(0.9)
    assert (measure(outcome, "transplants/without_arc").value, measure(outcome, "transplants/unmatched").value) == (
        3,
        2,
    )
    assert [point.label for point in outcome.points] == list(KINDS)


def test_injections_that_are_found_less_often_are_warned_of(params):
    outcome = made(params, {**ALIKE, "moved_injection": 0.3, "same_injection": 0.3})
    assert status(outcome, "transplants/injected_arcs") == "WARN"
    difference = measure(outcome, "transplants/change/p0.3")
    assert difference.value == pytest.approx(30.0, abs=8.0)
    assert difference.low > 10.0
    assert abs(measure(outcome, "transplants/moving/p0.3").value) < 1e-9
    assert "a difference of +" in outcome.findings[0].text


def test_what_moving_changes_is_told_apart(params):
    outcome = made(params, {**ALIKE, "same_injection": 0.4, "same_lens": 0.4})
    assert status(outcome, "transplants/injected_arcs") == "PASS"
    assert measure(outcome, "transplants/moving/p0.3").low > 5.0
    assert measure(outcome, "transplants/moving_real_arcs/p0.3").low > 5.0


def test_a_difference_that_parameters_make_is_not_told_as_morphology_alone(params):
    """Profiles of other parameters, found more often when rendered alike: the finding says how much of it they are."""
    outcome = made(params, {**ALIKE, "moved_injection": 0.3, "same_injection": 0.3})
    left = measure(outcome, "transplants/unmatched_parameters/p0.3")
    assert left.value == pytest.approx(measure(outcome, "transplants/change/p0.3").value)
    assert f"differ by {left.value:+.1f} [{left.low:+.1f}, {left.high:+.1f}], which is no morphology" in (
        outcome.findings[0].text
    )
    unknown = made(params, ALIKE, truth=False)
    assert "morphology" not in unknown.findings[0].text


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_arcs_that_change_no_answer_are_not_judged(params, share):
    """A finder that finds everything, or nothing, finds both kinds of arcs equally often."""
    outcome = made(params, dict.fromkeys(KINDS, share))
    assert status(outcome, "transplants/injected_arcs") == "NOT MEASURED"
    assert f"This is not judged, because {100 * share:.0f} % of the hosts are detected without an arc" in (
        outcome.findings[0].text
    )


def test_a_finder_without_scores_is_not_measured(params):
    none = rows(ALIKE).assign(**dict.fromkeys(KINDS, np.nan))
    outcome = compared(Transplants(none, 0, 0), POINTS, params, np.random.default_rng(1))
    assert status(outcome, "transplants/injected_arcs") == "NOT MEASURED"
    assert "the finder scored no pair of moved arcs" in outcome.findings[0].text


def test_hosts_of_one_lens_count_as_one(params):
    """The same answers in four hosts of each lens are no more evidence than in one."""
    halves = {**ALIKE, "moved_injection": 0.5}
    one, four = (measure(made(params, halves, hosts=n), "transplants/change/p0.3") for n in (1, 4))
    assert four.high - four.low == pytest.approx(one.high - one.low, rel=0.25)


def test_lenses_without_a_truth_are_left_out_of_that_contrast_alone(params):
    assert not any("same_lens" in m.name or "moving_real" in m.name for m in made(params, ALIKE, truth=False).measures)
    partly = rows(ALIKE)
    partly.loc[partly["lens"] < "l2", "same_lens"] = np.nan
    outcome = compared(Transplants(partly, 0, 0), POINTS, params, np.random.default_rng(1))
    assert measure(outcome, "transplants/moving_real_arcs/p0.3").n < measure(outcome, "transplants/moving/p0.3").n


def test_too_few_lenses_and_thresholds_that_are_missing_are_not_measured(params):
    outcome = made(params, ALIKE, lenses=5)
    assert status(outcome, "transplants/injected_arcs") == "NOT MEASURED"
    assert outcome.measures[0].method == "not measurable: 5 lenses have an arc to move, fewer than 20"
    other = params.model_copy(update={"transplant_threshold": "p0.9"})
    assert status(made(other, ALIKE), "transplants/injected_arcs") == "NOT MEASURED"

    class Without:
        @staticmethod
        def transplants(own):
            return "the test split has no negative that the finder is new to"

    assert status(diagnose(Without(), params), "transplants/injected_arcs") == "NOT MEASURED"
