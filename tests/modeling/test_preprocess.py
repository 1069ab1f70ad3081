"""Preprocessing against straightforward NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lake.errors import ParameterError
from modeling.networks.preprocess import annulus_radii, azimuthal_median, centre_crop, normalise, resolved
from modeling.sections import PreprocessingParams

RAW = PreprocessingParams(kind="raw_robust", annulus="auto", clip_range=10.0, crop_pixels=0, stretch="linear")


def reference(stamps: np.ndarray, r_in: float, r_out: float, clip: float) -> np.ndarray:
    stamps = stamps.astype(np.float64)
    n = stamps.shape[-1]
    y, x = np.mgrid[:n, :n] - n // 2
    inside = (np.hypot(y, x) >= r_in) & (np.hypot(y, x) < r_out)
    out = np.empty_like(stamps)
    for row, stamp in enumerate(stamps):
        for band, image in enumerate(stamp):
            known = image[inside][np.isfinite(image[inside])]
            median = np.median(known)
            mad = np.median(np.abs(known - median))
            out[row, band] = np.clip((np.nan_to_num(image, nan=0.0) - median) / (mad + 1e-8), -clip, clip)
    return out


@pytest.mark.parametrize("pixels", [101, 64, 91])
@pytest.mark.parametrize("rows", [3, 70])
def test_equals_numpy(pixels: int, rows: int) -> None:
    stamps = np.random.default_rng(1).normal(0.1, 1, (rows, 3, pixels, pixels)).astype(np.float32)
    stamps[0, 1, :3] = np.nan
    r_in, r_out = 0.65 * (pixels // 2), 0.9 * (pixels // 2)
    got = normalise(torch.from_numpy(stamps), RAW).numpy()
    np.testing.assert_allclose(got, reference(stamps, r_in, r_out, 10.0), atol=2e-5)


def test_holes_are_left_out_of_the_statistics() -> None:
    """A hole over half of the annulus of a stamp on bright sky changes median and MAD no more than fewer pixels do."""
    stamps = torch.from_numpy(np.random.default_rng(3).normal(5, 1, (2, 3, 101, 101)).astype(np.float32))
    holed = stamps.clone()
    holed[1, :, :45] = float("nan")
    whole, partial = normalise(stamps, RAW), normalise(holed, RAW)
    assert torch.equal(partial[0], whole[0])
    assert float((partial[1, :, 45:] - whole[1, :, 45:]).abs().max()) < 0.6
    assert torch.equal(partial[1, :, 45:].median() < 0.1, torch.tensor(True))
    residual = RAW.model_copy(update={"kind": "residual"})
    rings = normalise(holed, residual) - normalise(stamps, residual)
    assert float(rings[1, :, 46:].abs().max()) < 2.0


def test_auto_annulus_scales_with_the_stamp() -> None:
    assert annulus_radii(RAW, 101, 101) == pytest.approx((32.5, 45.0))
    assert resolved(RAW, 64).annulus == pytest.approx((20.8, 28.8))


def test_radii_do_not_shrink_with_the_crop() -> None:
    stamps = torch.randn(2, 3, 101, 101)
    cropped = normalise(stamps, RAW.model_copy(update={"crop_pixels": 64}))
    assert torch.equal(cropped, centre_crop(normalise(stamps, RAW), 64))
    assert torch.equal(cropped[..., 32, 32], normalise(stamps, RAW)[..., 50, 50])


def test_flat_and_nan_stamps_stay_finite() -> None:
    stamps = torch.stack([torch.full((3, 101, 101), float("nan")), torch.ones(3, 101, 101)])
    assert torch.equal(normalise(stamps, RAW), torch.zeros(2, 3, 101, 101))


def test_full_uses_every_pixel() -> None:
    stamps = np.random.default_rng(2).normal(0, 1, (2, 3, 32, 32)).astype(np.float32)
    got = normalise(torch.from_numpy(stamps), RAW.model_copy(update={"kind": "full"})).numpy()
    np.testing.assert_allclose(got, reference(stamps, 0, 99, 10.0), atol=2e-5)


def test_residual_removes_round_light() -> None:
    y, x = np.mgrid[:65, :65] - 32
    profile = torch.from_numpy(np.exp(-np.round(np.hypot(y, x)) / 5).astype(np.float32)).expand(1, 3, 65, 65)
    assert float((profile - azimuthal_median(profile)).abs().max()) < 1e-6


def test_asinh_is_applied_after_the_clip() -> None:
    stamps = torch.randn(2, 3, 101, 101)
    asinh = normalise(stamps, RAW.model_copy(update={"stretch": "asinh"}))
    assert torch.equal(asinh, torch.asinh(normalise(stamps, RAW)))


def test_bad_annulus_is_refused() -> None:
    with pytest.raises(ParameterError, match="annulus"):
        PreprocessingParams.load({**RAW.model_dump(), "annulus": [45.0, 20.0]}, "preprocessing")
    with pytest.raises(ParameterError, match="inside a 33 x 33 stamp"):
        normalise(torch.zeros(1, 3, 33, 33), RAW.model_copy(update={"annulus": (40.0, 45.0)}))
    with pytest.raises(ParameterError, match="inside a 33 x 33 stamp"):
        resolved(RAW.model_copy(update={"annulus": (40.0, 45.0)}), 33)
    assert resolved(RAW.model_copy(update={"annulus": (40.0, 45.0), "kind": "full"}), 33).kind == "full"
