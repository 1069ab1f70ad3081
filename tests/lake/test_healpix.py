"""Our HEALPix indices against healpy's."""

from __future__ import annotations

import healpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.errors import ParameterError
from lake.sky.healpix import pixel


@pytest.mark.parametrize("nside", [1, 2, 64, 128, 8192, 1 << 29])
def test_equals_healpy_all_over_the_sky(nside: int) -> None:
    rng = np.random.default_rng(nside)
    ra, dec = rng.uniform(0, 360, 200_000), np.rad2deg(np.arcsin(rng.uniform(-1, 1, 200_000)))
    dec[:2000] = rng.choice([-1, 1], 2000) * (90 - 10 ** rng.uniform(-8, 0.5, 2000))
    ra[:6] = [0, 90, 180, 270, 360, 359.9999999999]
    dec[:6] = [0, 90, -90, 41.810314895778596, -41.810314895778596, 0]
    np.testing.assert_array_equal(pixel(ra, dec, nside), healpy.ang2pix(nside, ra, dec, nest=True, lonlat=True))


@given(ra=st.floats(0, 360), dec=st.floats(-90, 90), order=st.integers(0, 29))
def test_equals_healpy_anywhere(ra: float, dec: float, order: int) -> None:
    theirs = healpy.ang2pix(1 << order, ra, dec, nest=True, lonlat=True)
    assert pixel(ra, dec, 1 << order)[0] == theirs


def test_bad_positions_have_no_pixel_and_bad_nsides_no_sky() -> None:
    assert pixel([np.nan, 0.0, 0.0, np.inf], [0.0, np.nan, 90.5, 0.0]).tolist() == [-1] * 4
    with pytest.raises(ParameterError, match="'nside' must be a power of two"):
        pixel(0.0, 0.0, 100)
