"""The noise of a host in its annulus, against numpy's medians."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from injection.experiment.measure import MAD_TO_SIGMA, sigma_from_annulus

INNER, OUTER = 12.0, 20.0
HALF = 20
Y, X = np.mgrid[-HALF : HALF + 1, -HALF : HALF + 1]
RING = (np.hypot(X, Y) >= INNER) & (np.hypot(X, Y) < OUTER)


def by_numpy(image: NDArray[np.float32], usable: NDArray[np.bool_]) -> float:
    values = image[RING & usable].astype(np.float64)
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))


def hosts(rounded: bool) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Noise with masked pixels, of as many kinds as there are stamps; rounded, many values are the same."""
    random = np.random.default_rng(5)
    images = random.normal(0.0, 0.02, (8, 41, 41)).astype(np.float32)
    images = np.round(images, 2) if rounded else images
    usable = random.uniform(size=images.shape) < np.linspace(0.2, 1.0, 8)[:, None, None]
    return images, usable


@pytest.mark.parametrize("rounded", [False, True])
def test_noise_is_that_of_numpys_medians_bit_for_bit(rounded: bool) -> None:
    images, usable = hosts(rounded)
    images[~usable] = np.nan
    found = sigma_from_annulus(images, usable, INNER, OUTER)
    assert found.tolist() == [by_numpy(*each) for each in zip(images, usable, strict=True)]


def test_pixels_outside_the_ring_or_unusable_count_for_nothing() -> None:
    images, usable = hosts(rounded=False)
    spoilt = np.where(RING & usable, images, np.float32(1e9))
    np.testing.assert_array_equal(
        sigma_from_annulus(spoilt, usable, INNER, OUTER), sigma_from_annulus(images, usable, INNER, OUTER)
    )


def test_a_tenth_of_the_ring_must_be_usable() -> None:
    images, usable = hosts(rounded=False)
    places = np.argwhere(RING)
    tenth = len(places) // 10
    usable[:] = False
    for row, count in enumerate((0, 1, tenth, tenth + 1)):
        usable[row][tuple(places[:count].T)] = True
    known = np.isfinite(sigma_from_annulus(images, usable, INNER, OUTER))
    assert known.tolist() == [False, False, False, True, False, False, False, False]
    images[3][tuple(places[0])] = np.nan
    assert np.isnan(sigma_from_annulus(images, usable, INNER, OUTER)[3]), "a pixel without a value is not usable"


@settings(max_examples=30)
@given(st.lists(st.integers(-3, 3) | st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(200, 240))
def test_medians_are_numpys(values: list[float], count: int) -> None:
    image, usable = np.zeros(RING.shape, np.float32), np.zeros(RING.shape, np.bool_)
    places = tuple(np.argwhere(RING)[:count].T)
    image[places], usable[places] = np.resize(np.array(values, np.float32), count), True
    assert sigma_from_annulus(image[None], usable[None], INNER, OUTER).tolist() == [by_numpy(image, usable)]
