"""What a set of stamps declares about itself."""

from __future__ import annotations

from typing import Any

import pytest

from lake.errors import ParameterError
from lake.sky.imaging import Imaging
from lake.sky.survey import SURVEY

_VALUES: dict[str, Any] = {
    "name": "made up",
    "bands": ("g", "i"),
    "reference_band": "i",
    "pixel_scale_arcsec": 0.168,
    "zero_point_mag": 27.0,
    "psf": (
        {"kind": "image", "includes_pixel": True},
        {"kind": "fwhm", "profile": "moffat", "beta": 2.7, "includes_pixel": False},
    ),
    "width_ratios": None,
    "noise": "pixel_sigma",
    "picture_weights": (1.0, 1.0),
}


def test_the_reference_band_has_a_place_and_the_pixels_a_unit() -> None:
    imaging = Imaging.load(_VALUES, "imaging")
    assert (imaging.reference, [psf.kind for psf in imaging.psf]) == (1, ["image", "fwhm"])
    assert imaging.nanomaggies_per_unit == pytest.approx(10 ** (-0.4 * 4.5))
    assert SURVEY.nanomaggies_per_unit == 1.0
    assert SURVEY.bands[SURVEY.reference] == "r"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference_band": "r"}, "'reference_band' must be one of g, i, got 'r'"),
        ({"psf": ({"kind": "fwhm_nea"},)}, r"'psf' must be one per band \(g, i\)"),
        ({"width_ratios": (1.0,)}, r"'width_ratios' must be one per band"),
        ({"picture_weights": (1.0,) * 3}, "'picture_weights' must be one per band"),
        ({"bands": ("g", "g")}, "'imaging.bands' must be .*different"),
        ({"pixel_scale_arcsec": 0.0}, "'imaging.pixel_scale_arcsec' must be"),
        (
            {"psf": ({"kind": "fwhm_nea"}, {"kind": "width"})},
            "'imaging.psf.1.kind' must be one of image, fwhm_nea, fwhm, got 'width'",
        ),
        (
            {"psf": [{"kind": "fwhm", "profile": "moffat", "beta": None, "includes_pixel": True}] * 2},
            "'beta' must be given for a moffat and null for a gaussian",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Imaging.load({**_VALUES, **changes}, "imaging")
