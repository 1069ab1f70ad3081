"""Real arcs against injected ones: matching, effect sizes, and what cannot be measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.comparisons.arcs import (
    COLOUR,
    DEPTH,
    INJECTED,
    PAINTED,
    RADIUS,
    REAL,
    RENDERED,
    SEEING,
    SNR,
    ArcStamps,
    matched,
)
from analysis.diagnostics.arc_morphology import Params, compared, diagnose
from lake.sky.survey import PIXEL_SCALE_ARCSEC, SURVEY
from tests.analysis.outcomes import measure, status

ANNULUS = (32.5, 45.0)
Y, X = (np.mgrid[:101, :101] - 50) * PIXEL_SCALE_ARCSEC
RADIUS_ARCSEC, ANGLE = np.hypot(X, Y), np.arctan2(Y, X)


def stamps(count, rng, clumpy=0.0):
    """Round galaxies with arcs around them, smooth or in knots."""
    made = []
    for _ in range(count):
        turned = np.angle(np.exp(1j * (ANGLE - rng.uniform(0, 2 * np.pi))))
        light = 0.3 * np.exp(-0.5 * ((RADIUS_ARCSEC - 2.0) / 0.45) ** 2 - 0.5 * (turned / 0.8) ** 2)
        light = light * (1.0 + clumpy * np.sin(14.0 * turned))
        galaxy = 2.0 * (1.0 + RADIUS_ARCSEC**2 / 0.5) ** -2
        made.append(galaxy + light + rng.normal(0, 0.02, (3, 101, 101)))
    return np.array(made, dtype=np.float32)


@pytest.fixture(scope="module")
def params(diagnose):
    return Params.model_construct(**{**diagnose.model_dump(), "morphology_least": 10})


def made(params, real, injected, **more):
    on = {name: alike(len(images)) for name, images in ((REAL, real), (INJECTED, injected))}
    return compared(ArcStamps({REAL: real, INJECTED: injected, **more}, on, ANNULUS), SURVEY, params)


def alike(count):
    """Stamps of one seeing and depth."""
    return pd.DataFrame({SEEING: np.full(count, 1.2), DEPTH: np.full(count, 23.5)})


def test_arcs_of_one_kind_do_not_differ(params):
    rng = np.random.default_rng(1)
    outcome = made(params, stamps(30, rng), stamps(40, rng))
    tested = [m.value for m in outcome.measures if m.name.endswith("/delta_p_holm")]
    assert len(tested) == 12
    assert min(tested) > 0.05
    assert "0 differ between real and injected ones" in outcome.findings[0].text


def test_knots_are_found(params):
    rng = np.random.default_rng(1)
    outcome = made(params, stamps(30, rng, clumpy=0.9), stamps(40, rng))
    assert status(outcome, "arc_morphology/largest") == "WARN"
    assert measure(outcome, "arc_morphology/local_variance/delta").low > 0.3
    labels = {point.label for point in outcome.points}
    assert {"local_variance", "gabor_3px", "anisotropy"} <= labels


def test_the_renderer_alone_is_measured_where_the_truth_is_known(params):
    rng = np.random.default_rng(1)
    painted = stamps(20, rng)
    again = painted + rng.normal(0, 1e-4, painted.shape).astype(np.float32)
    outcome = made(params, stamps(12, rng), stamps(15, rng), **{PAINTED: painted, RENDERED: again})
    deltas = [m.value for m in outcome.measures if m.name.endswith("/renderer_delta")]
    assert np.abs(deltas).max() < 0.1
    assert "the renderer alone changes none by more than 0.0" in outcome.findings[0].text


def test_pairs_have_the_same_snr_and_radius_and_every_arc_is_used_once():
    rng = np.random.default_rng(0)
    first, second = (pd.DataFrame({SNR: rng.lognormal(3, 0.5, n), RADIUS: rng.uniform(1.3, 2.5, n)}) for n in (30, 50))
    pairs = matched(first, second, {SNR: 1.5}, {RADIUS: 0.3})
    assert len(pairs) > 20
    assert all(len(np.unique(side)) == len(pairs) for side in pairs.T)
    one, other = first.iloc[pairs[:, 0]].to_numpy(), second.iloc[pairs[:, 1]].to_numpy()
    assert (np.abs(np.log(one[:, 0] / other[:, 0])) <= np.log(1.5)).all()
    assert (np.abs(one[:, 1] - other[:, 1]) <= 0.3).all()
    far = second.assign(**{RADIUS: 9.0})
    assert matched(first, far, {SNR: 1.5}, {RADIUS: 0.3}).shape == (0, 2)


def test_what_is_not_known_of_an_arc_matches_nothing():
    one = pd.DataFrame({SNR: [20.0, 40.0], COLOUR: [0.4, np.nan]})
    assert matched(one, one, {SNR: 1.3}, {COLOUR: 0.2}).tolist() == [[0, 0]]
    assert matched(one, one, {SNR: 1.3}, {}).tolist() == [[0, 0], [1, 1]]


def test_arcs_on_other_stamps_are_no_pairs(params):
    """The same arcs, injected where the seeing is worse: none is compared."""
    rng = np.random.default_rng(1)
    held = {REAL: stamps(12, rng), INJECTED: stamps(15, rng)}
    worse = {REAL: alike(12), INJECTED: alike(15).assign(**{SEEING: 1.5})}
    outcome = compared(ArcStamps(held, worse, ANNULUS), SURVEY, params)
    assert "0 pairs are alike in SNR, radius, area, colour, seeing and depth" in outcome.gates[0].rule


@pytest.mark.parametrize(
    ("real", "injected", "why"),
    [(4, 12, "4 real arcs are found, fewer than 10"), (0, 12, "0 real arcs"), (12, 3, "3 injected arcs are found")],
)
def test_too_few_arcs_are_not_measured(params, real, injected, why):
    rng = np.random.default_rng(1)
    outcome = made(params, stamps(real, rng), stamps(injected, rng))
    assert status(outcome, "arc_morphology/largest") == "NOT MEASURED"
    assert measure(outcome, "arc_morphology/pairs").method.startswith(f"not measurable: {why}")


def test_a_survey_without_arcs_says_why(params):
    class Without:
        @staticmethod
        def arcs(own):
            return "no injection has a visible arc"

    outcome = diagnose(Without(), params)
    assert outcome.findings[0].text == "The morphology of arcs is not measured: no injection has a visible arc."
