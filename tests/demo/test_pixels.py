"""What is in the images: light, noise, PSF, lenses, against independent computations."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util.util import make_grid
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from demo import lensing
from demo.conditions import MOFFAT_BETA
from demo.lensing import System, lensed_light, observed, transfers
from demo.mixtures import moffat, psf_of_psfsize, sersic
from demo.painting import Ellipse, Light, covariance, paint, sersic_light
from etl.cutouts.coadds import BrickReader
from lake.sky.photometry import depth_mag_from_psfdepth
from lake.sky.survey import BANDS, PIXEL_SCALE_ARCSEC
from tests.demo.conftest import Made

SYSTEM = System(
    theta_e_arcsec=1.3,
    lens_q=0.8,
    lens_angle_rad=0.4,
    lens_x_arcsec=0.02,
    lens_y_arcsec=-0.01,
    shear=0.03,
    shear_angle_rad=1.0,
    src_x_arcsec=0.2,
    src_y_arcsec=0.1,
    src_radius_arcsec=0.12,
    src_index=1.5,
    src_q=0.6,
    src_angle_rad=2.0,
    src_g_minus_r=0.2,
    src_r_minus_z=0.1,
)


def painted(ellipse: Ellipse, position: NDArray[np.float64], fwhm_px: float, size: int) -> NDArray[np.float64]:
    images = np.zeros((1, size, size))
    paint(images, sersic_light(position, ellipse, np.ones(1)), (moffat(2.8).scaled(fwhm_px),))
    return images[0]


@pytest.mark.parametrize("beta", [*MOFFAT_BETA.values(), 3.5])
def test_psf_is_a_moffat_of_the_stated_width(beta: float) -> None:
    radius = np.linspace(0, 1.5, 40)
    alpha = 0.5 / np.sqrt(2 ** (1 / beta) - 1)
    wanted = (beta - 1) / (np.pi * alpha**2) * (1 + (radius / alpha) ** 2) ** -beta
    mixture = moffat(beta)
    value = np.exp(-0.5 * radius[:, None] ** 2 / mixture.variance) @ (mixture.weight / (2 * np.pi * mixture.variance))
    np.testing.assert_allclose(value, wanted, rtol=0.01)


@pytest.mark.parametrize("index", [0.5, 1.0, 2.5, 4.0, 6.0])
def test_half_of_a_sersic_profiles_light_lies_within_its_radius(index: float) -> None:
    mixture = sersic(index)
    assert mixture.weight.sum() == pytest.approx(1)
    assert mixture.weight @ np.exp(-0.5 / mixture.variance) == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("index", [1.0, 4.0])
def test_painted_galaxies_agree_with_lenstronomy(index: float) -> None:
    """A Gaussian PSF of sigma 2 pixels; lenstronomy samples 9 x 9 points per pixel and scipy blurs."""
    size, fine = 61, 9
    ellipse = Ellipse(1.2, 0.6, 0.5, index)
    offset = np.array([0.3, -0.2])
    x, y = make_grid(size * fine, PIXEL_SCALE_ARCSEC / fine)
    e1, e2 = 0.25 * np.cos(2 * 0.5), 0.25 * np.sin(2 * 0.5)
    centre = {"center_x": offset[0] * PIXEL_SCALE_ARCSEC, "center_y": offset[1] * PIXEL_SCALE_ARCSEC}
    shape = {"R_sersic": 1.2 * np.sqrt(0.6), "n_sersic": index, "e1": e1, "e2": e2, **centre}
    dense = LightModel(["SERSIC_ELLIPSE"]).surface_brightness(x, y, [{"amp": 1.0, **shape}])
    dense = gaussian_filter(dense.reshape(size * fine, size * fine), 2.0 * fine, mode="constant")
    wanted = dense[fine // 2 :: fine, fine // 2 :: fine]
    images = np.zeros((1, size, size))
    gaussian = dataclasses.replace(moffat(2.8), weight=np.ones(1), variance=np.full(1, 4.0))
    paint(images, sersic_light(30 + offset, ellipse, np.ones(1)), (gaussian,))
    core = np.s_[15:46, 15:46]
    wanted = wanted[core] / wanted[core].sum() * images[0][core].sum()
    assert np.abs(images[0][core] - wanted).max() < 0.02 * wanted.max()


def test_painting_keeps_flux_and_centre() -> None:
    position = np.array([60.37, 58.81])
    image = painted(Ellipse(0.8, 0.5, 1.0, 1.0), position, 5.0, 121)
    rows, columns = np.indices(image.shape)
    assert image.sum() == pytest.approx(1, abs=2e-3)
    centre = [(image * columns).sum() / image.sum(), (image * rows).sum() / image.sum()]
    np.testing.assert_allclose(centre, position, atol=0.01)


def test_covariance_turns_with_the_angle() -> None:
    xx, xy, yy = covariance(np.array([3.0]), 0.5, np.pi / 2)[0]
    np.testing.assert_allclose([xx, xy, yy], [2.25, 0.0, 9.0], atol=1e-12)


def test_lensed_flux_is_sampled_finely_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    sub_pixel = np.array([0.2, -0.4])
    light, magnification = lensed_light(SYSTEM, sub_pixel)
    monkeypatch.setattr(lensing, "REFINEMENT", 12)
    monkeypatch.setattr(lensing, "SOURCE_REACH", 8.0)
    dense, dense_magnification = lensed_light(SYSTEM, sub_pixel)
    transfer = transfers((moffat(2.8).scaled(4.0),))
    difference = observed(light, transfer) - observed(dense, transfer)
    assert magnification == pytest.approx(dense_magnification, rel=2e-3)
    assert np.abs(difference).max() < 5e-3 * observed(dense, transfer).max()


def test_lensed_images_are_convolved_and_centred_like_painted_light() -> None:
    """Without mass the lensed source is an ordinary galaxy at the source's position."""
    system = dataclasses.replace(SYSTEM, theta_e_arcsec=1e-9, shear=0.0, src_radius_arcsec=0.4, src_index=1.0)
    sub_pixel = np.array([0.3, -0.1])
    light, magnification = lensed_light(system, sub_pixel)
    image = observed(light, transfers((moffat(2.8).scaled(4.5),)))[0]
    place = lensing.CENTRE + sub_pixel + np.array([system.src_x_arcsec, system.src_y_arcsec]) / PIXEL_SCALE_ARCSEC
    ellipse = Ellipse(0.4 / np.sqrt(system.src_q), system.src_q, system.src_angle_rad, 1.0)
    wanted = painted(ellipse, place, 4.5, lensing.STAMP)
    assert magnification == pytest.approx(1, abs=5e-3)
    assert np.abs(image - wanted).max() < 0.01 * wanted.max()


def isolated(survey: Made) -> list[dict[str, Any]]:
    """Well exposed sources far from others, from lenses and from the edge, that are not stars."""
    found = []
    truth = survey.table("sources")
    for record in truth:
        place = np.array([record["x_px"], record["y_px"]])
        near = [other for other in truth if other["brickname"] == record["brickname"] and other is not record]
        gap = min(np.hypot(*(place - (other["x_px"], other["y_px"]))) for other in near)
        inside = place.min() > 30 and place.max() < survey.params.brick_pixels - 30
        if (
            gap > 32
            and inside
            and record["kind"] == "early"
            and record["role"] == "field"
            and record["radius_arcsec"] < 1.5
        ):
            found.append(record)
    return found


def test_aperture_fluxes_agree_with_the_catalogue(survey: Made) -> None:
    rows = {(row["BRICKNAME"].decode(), row["OBJID"]): row for row in survey.rows()}
    checked = 0
    for record in isolated(survey):
        row, (image, _) = rows[record["brickname"], record["objid"]], survey.plane(record["brickname"], "image", "r")
        y, x = np.indices(image.shape)
        aperture = np.hypot(x - record["x_px"], y - record["y_px"]) < 25
        noise = np.sqrt(aperture.sum()) * sigma(survey, record["brickname"], 1)
        if (image[aperture] == 0).any() or record["flux_r_nmgy"] < 20 * noise:
            continue
        checked += 1
        assert row["FLUX_R"] == pytest.approx(record["flux_r_nmgy"], abs=6 / float(row["FLUX_IVAR_R"]) ** 0.5)
        assert image[aperture].sum() == pytest.approx(record["flux_r_nmgy"], rel=0.15, abs=5 * noise)
    assert checked >= 3


def sigma(survey: Made, brick: str, band: int) -> float:
    record = next(record for record in survey.table("bricks") if record["brickname"] == brick)
    return float(record[f"pixel_sigma_nmgy_{BANDS[band]}"])


def star(psfsize_arcsec: float, band: str) -> NDArray[np.float64]:
    """A painted star of unit flux, off its pixel's centre: the effective PSF as pixels sample it."""
    images = np.zeros((1, 121, 121))
    light = Light(np.array([[60.2, 59.7]]), np.zeros((1, 3)), np.ones((1, 1)))
    paint(images, light, (psf_of_psfsize(psfsize_arcsec / PIXEL_SCALE_ARCSEC, MOFFAT_BETA[band]),))
    return np.asarray(images[0])


def test_noise_is_that_of_psfdepth(survey: Made) -> None:
    """psfdepth = sum(psf^2) / sigma^2 with sigma of the darkest half of the pixels; psfsize is of the same sum."""
    rows = survey.rows()
    for record in survey.table("bricks"):
        if record["short_strip"]:
            continue
        image, _ = survey.plane(record["brickname"], "image", "r")
        invvar, _ = survey.plane(record["brickname"], "invvar", "r")
        row = rows[(rows["BRICKNAME"].astype(str) == record["brickname"]) & (rows["PSFDEPTH_R"] > 0)][0]
        kernel = star(record["psfsize_arcsec_r"], "r")
        norm = np.sqrt((kernel**2).sum())
        light = uniform_filter(np.nan_to_num(image), 15)[1:]
        sky = light < np.quantile(light, 0.3)  # away from sources, whose light differs from pixel to pixel too
        measured = np.nanmedian(np.abs(np.diff(image, axis=0))[sky]) / 0.6745 / np.sqrt(2)
        assert row["PSFSIZE_R"] == pytest.approx(2.3548 / (2 * np.sqrt(np.pi)) / norm * PIXEL_SCALE_ARCSEC, rel=2e-3)
        assert measured**2 * row["PSFDEPTH_R"] == pytest.approx(norm**2, rel=0.08)
        assert np.median(invvar) * measured**2 == pytest.approx(1, rel=0.08)
        assert depth_mag_from_psfdepth(row["PSFDEPTH_R"]) == pytest.approx(record["depth_mag_r"], abs=1e-3)


def test_lenses_shine_where_the_truth_says(survey: Made) -> None:
    """Removing the host, the light left within the ring's reach is the arc's flux of the truth."""
    hosts = {(record["brickname"], record["objid"]): record for record in survey.table("sources")}
    checked = 0
    for lens in survey.table("lenses"):
        host = hosts[lens["brickname"], lens["objid"]]
        image, _ = survey.plane(lens["brickname"], "image", "r")
        position = np.array([lens["x_px"], lens["y_px"]])
        record = next(record for record in survey.table("bricks") if record["brickname"] == lens["brickname"])
        images = np.zeros((1, *image.shape))
        ellipse = Ellipse(host["radius_arcsec"], host["axis_ratio"], host["angle_rad"], host["sersic"])
        kernel = psf_of_psfsize(record["psfsize_arcsec_r"] / PIXEL_SCALE_ARCSEC, MOFFAT_BETA["r"])
        paint(images, sersic_light(position, ellipse, np.array([host["flux_r_nmgy"]])), (kernel,))
        y, x = np.indices(image.shape)
        aperture = np.hypot(x - position[0], y - position[1]) < 2.0 * lens["theta_e_arcsec"] / PIXEL_SCALE_ARCSEC
        if (image[aperture] == 0).any() or lens["arc_snr_r"] < 40:
            continue
        checked += 1
        excess = (image - images[0])[aperture].sum()
        assert 0.7 < excess / lens["arc_flux_r_nmgy"] < 1.2
    assert checked >= 2


def test_seeing_and_depth_of_the_coadds_are_the_catalogues(survey: Made) -> None:
    """What is measured on psfsize and invvar maps where a catalogue has none agrees with one that has."""
    rows, checked = survey.rows(), 0
    for record in survey.table("bricks"):
        if record["short_strip"]:
            continue
        mine = rows[(rows["BRICKNAME"].astype(str) == record["brickname"]) & np.isfinite(rows["RA"])]
        places = mine["RA"].astype(float), mine["DEC"].astype(float)
        found = BrickReader().stamps(str(survey.folder), record["brickname"], *places, 41, (), np.ones(len(mine), bool))
        held = mine[found.inside]
        for place, band in enumerate("GRZ"):
            np.testing.assert_allclose(found.psfsize[:, place], held[f"PSFSIZE_{band}"], rtol=1e-3)
            known = np.isfinite(found.psfdepth[:, place])
            depth = found.psfdepth[known, place] / held[f"PSFDEPTH_{band}"][known]
            np.testing.assert_allclose(depth, 1.0, rtol=0.02)
            checked += int(known.sum())
    assert checked > 60


def test_flaws_are_there(survey: Made) -> None:
    bricks = survey.table("bricks")
    spoilt = [record["brickname"] for record in bricks if record["bad_pixels"]]
    starry = [record["brickname"] for record in bricks if record["bright_star"]]
    assert spoilt
    assert starry
    for brick in spoilt:
        image, invvar = survey.plane(brick, "image", "g")[0], survey.plane(brick, "invvar", "g")[0]
        assert np.isfinite(image).all()
        assert (image == 0).sum() >= (image.shape[0] // 15) ** 2
        assert np.all(invvar[image == 0] == 0)
    path = survey.folder / "coadds" / starry[0][:3] / starry[0] / f"legacysurvey-{starry[0]}-maskbits.fits.fz"
    assert np.any(fits.getdata(path) & (1 << 11))
