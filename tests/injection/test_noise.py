"""Noise: its moments, its independence of the batch, the reference system's clamp bug."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from injection.engine import render
from injection.optics import noise
from injection.optics.psf import Psf
from lake.errors import ParameterError
from lake.sky.survey import SURVEY
from tests.injection.scenes import drawn, ids, rows


@pytest.mark.parametrize("expected", [0.02, 1.5, 20.0, 63.0, 65.0, 400.0, 1e5])
def test_counts_follow_the_poisson_distribution(expected: float) -> None:
    gain = 150.0
    arcs = np.full((4, 3, 101, 101), expected / gain, np.float32)
    counts = np.rint(noise.add_poisson(arcs, gain, 1, ids(4)).astype(float) * gain).ravel()
    tolerance = 5 * np.sqrt(expected / counts.size)
    np.testing.assert_allclose(counts.mean(), expected, atol=tolerance + 1e-6 * expected)
    np.testing.assert_allclose(
        counts.var(), expected, rtol=5 * np.sqrt(2 / counts.size) + 5 / np.sqrt(expected * counts.size)
    )
    values = np.unique(counts)
    found = np.searchsorted(np.sort(counts), values, side="right") / counts.size
    assert np.abs(found - stats.poisson.cdf(values, expected)).max() < 1e-3 + 2 / np.sqrt(counts.size)


@pytest.mark.parametrize("expected", [noise.EXACT_BELOW, 65.5, 150.0, 1e4, 1e6])
def test_the_expansion_for_many_counts_keeps_its_bound(expected: float) -> None:
    share = (np.arange(50_000) + 0.5) / 50_000
    z = np.concatenate([stats.norm.ppf(share), np.linspace(-7, -4, 500), np.linspace(4, 7, 500)])
    ours = np.array([noise._many_counts(expected, value) for value in z])
    near = np.arange(max(0.0, expected - 9 * expected**0.5) // 1, expected + 12 * expected**0.5)
    exact = near[np.searchsorted(-stats.poisson.sf(near, expected), -stats.norm.sf(z))]  # as its isf, which is slow
    assert np.abs(ours - exact).max() <= 1
    assert (ours != exact)[: len(share)].mean() <= 0.005
    counts = np.unique(exact[: len(share)])
    below = np.searchsorted(ours[: len(share)], counts, side="right") / len(share)
    assert np.abs(below - stats.poisson.cdf(counts, expected)).max() < 2e-4


def test_empty_pixels_stay_empty() -> None:
    arcs = np.zeros((1, 3, 101, 101), np.float32)
    arcs[0, :, :3] = -1e-6
    np.testing.assert_array_equal(noise.add_poisson(arcs, 150.0, 1, ids(1)), arcs)


def test_noise_variance_is_flux_over_gain() -> None:
    arcs = np.full((8, 3, 101, 101), 0.2, np.float32)
    for gain in (50.0, 150.0):
        noisy = noise.add_poisson(arcs, gain, 5, ids(8)).astype(float)
        np.testing.assert_allclose(noisy.var(), 0.2 / gain, rtol=0.02)


def test_infinite_gain_gives_the_noiseless_arc() -> None:
    arcs = render.render_arcs(
        drawn("v1", 2), Psf.gaussian(np.ones((2, 3)), includes_pixel=True, imaging=SURVEY), 101
    ).images
    np.testing.assert_allclose(noise.add_poisson(arcs, 1e12, 3, ids(2)), arcs, atol=1e-6)


def test_noise_of_a_row_does_not_depend_on_its_batch() -> None:
    arcs = np.full((5, 3, 51, 51), 0.3, np.float32)
    whole = noise.add_poisson(arcs, 150.0, 9, ids(5))
    alone = noise.add_poisson(arcs[3:4], 150.0, 9, ids(5).slice(3, 1))
    np.testing.assert_array_equal(alone[0], whole[3])
    assert not np.array_equal(whole[0], whole[1])
    assert not np.array_equal(whole[0, 0], whole[0, 1])
    other = noise.add_poisson(arcs, 150.0, 10, ids(5))
    assert not np.array_equal(other, whole)


def test_sky_noise_has_its_sigma_and_no_correlation() -> None:
    sigma = np.array([[0.01, 0.02, 0.05]] * 6)
    sky = noise.add_sky(np.zeros((6, 3, 101, 101), np.float32), sigma, 2, ids(6)).astype(float)
    np.testing.assert_allclose(sky.std(axis=(0, 2, 3)), sigma[0], rtol=0.01)
    assert abs(np.corrcoef(sky[:, 1, :, :-1].ravel(), sky[:, 1, :, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(sky[:, 0].ravel(), sky[:, 1].ravel())[0, 1]) < 0.01


def test_inverse_variance_gains_the_arc_and_keeps_masks() -> None:
    arcs = np.array([0.0, 0.3, 0.3, -0.1], np.float32)
    before = np.array([400.0, 400.0, 0.0, 400.0])
    updated = noise.updated_inverse_variance(before, arcs, 150.0)
    np.testing.assert_allclose(updated, [400.0, 1 / (1 / 400 + 0.3 / 150), 0.0, 400.0], rtol=1e-6)
    for bad in (before[:2], np.where(before > 0, before, np.nan), -before):
        with pytest.raises(ParameterError, match="'inverse_variance' must be"):
            noise.updated_inverse_variance(bad, arcs, 150.0)


def test_the_inverse_variance_is_that_of_the_noise_added_to_arcs() -> None:
    table = rows(*[{"src_mag_r": mag} for mag in (19.0, 20.0, 21.0)])
    psf = Psf.gaussian(np.ones((3, 3)), includes_pixel=True, imaging=SURVEY)
    arcs = render.render_arcs(table, psf, 61).images
    after = noise.updated_inverse_variance(np.full(arcs.shape, 2500.0), arcs, 150.0)
    bright = arcs > 0.05
    added = noise.add_poisson(arcs, 150.0, 4, table["injection_id"].combine_chunks()) - arcs
    pulls = added[bright] / np.sqrt(1 / after[bright] - 1 / 2500)
    np.testing.assert_allclose([pulls.mean(), pulls.std()], [0, 1], atol=5 / np.sqrt(bright.sum()))


def test_bad_noise_is_refused() -> None:
    arcs = np.zeros((1, 3, 5, 5), np.float32)
    with pytest.raises(ParameterError, match="'poisson_gain_e_per_nmgy' must be positive"):
        noise.add_poisson(arcs, 0.0, 1, ids(1))
    with pytest.raises(ParameterError, match="'sigma_nmgy' must be"):
        noise.add_sky(arcs, [[1.0, np.nan, 1.0]], 1, ids(1))
