import hashlib
import re
from pathlib import Path

import healpy
import numpy as np
import pytest
import yaml

from injection.config import GridParams
from lake.config import SplitParams
from lake.errors import ParameterError
from lake.sky.healpix import pixel
from lake.sky.photometry import depth_mag_from_psfdepth, flux_from_magnitude, magnitude_from_flux
from lake.sky.split import negative_uses, pixel_uniform, split_of

PARAMS = SplitParams(seed=42, train_below=0.70, val_below=0.85, threshold_share=0.5, negatives_nside=4096)


def test_pixel_is_healpy_nested_and_marks_bad_coordinates() -> None:
    ra, dec = np.array([10.0, 359.99, np.nan, 5.0]), np.array([-5.0, 31.0, 0.0, 91.0])
    found = pixel(ra, dec)
    assert found[:2].tolist() == healpy.ang2pix(128, ra[:2], dec[:2], nest=True, lonlat=True).tolist()
    assert found[2:].tolist() == [-1, -1]


def test_split_is_the_documented_hash() -> None:
    number = int.from_bytes(hashlib.sha256(b"12345_42").digest()[:4], "big") / 2**32
    assert pixel_uniform(12345, 42) == number
    expected = "train" if number < 0.7 else "val" if number < 0.85 else "test"
    assert split_of([12345], PARAMS)[0] == expected


def test_split_proportions_of_many_pixels() -> None:
    names, counts = np.unique(split_of(np.arange(40000), PARAMS), return_counts=True)
    share = dict(zip(names, counts / 40000, strict=True))
    assert share == pytest.approx({"train": 0.70, "val": 0.15, "test": 0.15}, abs=0.01)


def test_no_test_split_where_val_reaches_one() -> None:
    params = SplitParams(seed=42, train_below=0.70, val_below=1.0, threshold_share=0.5, negatives_nside=4096)
    assert set(split_of(np.arange(1000), params)) == {"train", "val"}


def test_magnitudes() -> None:
    assert magnitude_from_flux([1.0, 100.0]) == pytest.approx([22.5, 17.5])
    assert np.isnan(magnitude_from_flux([0.0, -1.0])).all()
    assert magnitude_from_flux(flux_from_magnitude(20.3)) == pytest.approx(20.3)


def test_depth_is_five_sigma_in_nanomaggies() -> None:
    sigma = 0.05
    assert depth_mag_from_psfdepth(1 / sigma**2) == pytest.approx(22.5 - 2.5 * np.log10(5 * sigma))
    assert np.isnan(depth_mag_from_psfdepth(0.0))


def test_negatives_have_one_use_and_whole_pixels() -> None:
    """Thresholds, hosts and tests share neither a galaxy nor a pixel; pixels by healpy."""
    import healpy

    rng = np.random.default_rng(4)
    ra, dec = rng.uniform(10.0, 14.0, 6000), rng.uniform(-2.0, 2.0, 6000)
    split = split_of(pixel(ra, dec), PARAMS)
    label = (rng.random(6000) < 0.2).astype(int)
    uses = negative_uses(ra, dec, split, label, PARAMS)
    assert set(uses[(label == 1) | (split == "train")]) == {None}
    assert set(uses[(label == 0) & (split == "test")]) == {"test"}
    held = (label == 0) & (split == "val")
    assert set(uses[held]) == {"threshold", "host"}
    assert (uses[held] == "threshold").mean() == pytest.approx(0.5, abs=0.08)
    fine = healpy.ang2pix(4096, ra, dec, nest=True, lonlat=True)
    pixels = [set(fine[uses == use]) for use in ("threshold", "host", "test")]
    assert sum(len(one) for one in pixels) == len(set.union(*pixels))
    alone = [
        negative_uses(ra[i : i + 1], dec[i : i + 1], split[i : i + 1], label[i : i + 1], PARAMS)[0] for i in (5, 9)
    ]
    assert alone == list(uses[[5, 9]]), "a use does not depend on the company"


def test_parameters_are_strict_and_teach() -> None:
    with pytest.raises(ParameterError, match=r"'pool.split.sead' must be one of the known parameters"):
        SplitParams.load({**PARAMS.model_dump(), "sead": 1}, "pool.split")
    with pytest.raises(ParameterError, match=r"^'pool.split.seed' must be a valid integer, got 'x'$"):
        SplitParams.load({**PARAMS.model_dump(), "seed": "x"}, "pool.split")
    with pytest.raises(ParameterError, match=r"^'s.threshold_share' must be less than 1, got 2$"):
        SplitParams.load({**PARAMS.model_dump(), "threshold_share": 2}, "s")
    with pytest.raises(ParameterError, match=r"^'s.negatives_nside' must be 128, 256, .* or 4096, got 100$"):
        SplitParams.load({**PARAMS.model_dump(), "negatives_nside": 100}, "s")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("theta_e_arcsec", [], "a list with at least 1 item"),
        ("theta_e_arcsec", None, "a list"),
        ("quadrature", 1, "a valid dictionary"),
        ("source_model", "", r"a string of the form '\^\[\^:\]\+:\[\^:\]\+\$'"),
        ("psf_includes_pixel", -1, "a valid boolean"),
    ],
)
def test_what_a_parameter_must_be_is_one_sentence(key: str, value: object, allowed: str) -> None:
    values = yaml.safe_load(Path("params.yaml").read_text())["grid"]
    with pytest.raises(ParameterError, match=f"^'grid.{key}' must be {allowed}, got {re.escape(repr(value))}$"):
        GridParams.load({**values, key: value}, "grid")
