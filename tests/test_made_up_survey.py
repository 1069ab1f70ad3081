"""The whole path of an audit on a survey that nobody has: bands g and i, 0.168" pixels, stamps of 64, units of 27 mag.

Plan, draw, render, observe, measure, preprocess, score with a network and with a user's finder, completeness; what is
measured is compared with sums and convolutions that owe the engine nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from astropy.modeling.models import Gaussian2D, Moffat2D
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from scipy.special import expit

from analysis.comparisons.validation import arc_colour
from analysis.config import DiagnosticParams
from analysis.figures.stamps import colour_composite, contact_sheet
from analysis.results.features import stamp_features
from analysis.results.injection_views import along
from analysis.statistics.uncertain import joint_intervals
from injection.config import IM1, GridParams
from injection.experiment.arc_finder import find_arcs
from injection.experiment.grid import Plan, plan
from injection.experiment.hostset import HostSet
from injection.experiment.schema import batch_schema
from injection.experiment.setting import Setting
from injection.scene.lens import Lens
from injection.scene.sources import components
from lake.errors import ParameterError
from lake.sky.imaging import Imaging
from lake.sky.survey import SURVEY
from modeling.config import resolve_generation
from modeling.scoring.checkpoint import Manifest, publish
from modeling.scoring.finder import ExternalScorer, FinderParams
from modeling.scoring.scorer import CheckpointScorer, load_scorer
from modeling.training.data import TrainingArrays
from modeling.training.train import train
from tests.injection.scenes import converged, params, run

pytestmark = pytest.mark.usefixtures("whole_stage")

SIDE, SCALE, HOSTS, FINE = 64, 0.168, 12, 3
SIGMA = {"g": 0.004, "i": 0.010}
UNIT = 10 ** (-0.4 * (27.0 - 22.5))
"""Nanomaggies of one unit of the stored pixels."""
IMAGE = {"kind": "image", "includes_pixel": False}
NEA = {"kind": "fwhm_nea"}
MOFFAT = {"kind": "fwhm", "profile": "moffat", "beta": 2.9, "includes_pixel": False}
GAUSSIAN = {"kind": "fwhm", "profile": "gaussian", "beta": None, "includes_pixel": True}
KINDS = {"image": (IMAGE, IMAGE), "fwhm_nea": (NEA, NEA), "fwhm": (MOFFAT, GAUSSIAN), "mixed": (NEA, IMAGE)}
PRIOR = """
base: v1
meaning: sources of a survey in g and i
src_mag_i: {kind: uniform, low: 22.0, high: 24.0}
src_g_minus_i: {kind: normal, mean: 0.4, sigma: 0.2}
src_re_arcsec: {kind: uniform, low: 0.25, high: 0.5}
src_n: {kind: uniform, low: 0.7, high: 1.2}
clump_probability: 0.0
"""
"""Sources that the pixels sample well: light that varies within a pixel would alias under an effective PSF."""


def imaging(kind: str) -> Imaging:
    values = {
        "name": "made-up survey", "bands": ("g", "i"), "reference_band": "i", "pixel_scale_arcsec": SCALE,
        "zero_point_mag": 27.0, "psf": KINDS[kind], "width_ratios": None, "noise": "pixel_sigma",
        "picture_weights": (5.0, 2.5),
    }  # fmt: skip
    return Imaging.load(values, "imaging")


def fwhm_arcsec(host: int, band: str) -> float:
    """True FWHM of a host's PSF; of kind ``fwhm_nea``, its psfsize."""
    return 0.66 + 0.01 * host + (0.1 if band == "g" else 0.0)


def kernel(declared: dict[str, Any], fwhm: float, fine: int) -> NDArray[np.float64]:
    """A PSF by astropy's profiles, per pixel of a ``fine``-th of the survey's, centred; of unit sum."""
    y, x = np.mgrid[-45 * fine : 45 * fine + 1, -45 * fine : 45 * fine + 1] * (SCALE / fine)
    if declared.get("profile") == "moffat" or declared["kind"] == "image":
        beta = declared.get("beta", 3.2)
        values = Moffat2D(gamma=fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1)), alpha=beta)(x, y)
    else:
        sigma = fwhm / np.sqrt(8 * np.log(2))
        values = Gaussian2D(x_stddev=sigma, y_stddev=sigma)(x, y)
    return np.asarray(values / values.sum())


def host_table(kind: str) -> pa.Table:
    columns: dict[str, Any] = {"galaxy_id": [f"made-up:{host:02d}" for host in range(HOSTS)]}
    for band, declared in zip("gi", KINDS[kind], strict=True):
        widths = [fwhm_arcsec(host, band) for host in range(HOSTS)]
        columns |= {
            "fwhm_nea": {f"psfsize_{band}": widths},
            "fwhm": {f"psf_fwhm_{band}_arcsec": widths},
            "image": {f"psf_image_{band}": [kernel(declared, width, 1).ravel() for width in widths]},
        }[declared["kind"]]
        columns[f"sky_sigma_{band}_nmgy"] = np.full(HOSTS, SIGMA[band])
    return pa.table(columns)


def stored(host: int) -> NDArray[np.float32]:
    """A round galaxy and noise, in the survey's own units."""
    rng, half = np.random.default_rng(host), (SIDE - 1) / 2
    y, x = (np.mgrid[:SIDE, :SIDE] - half) * SCALE
    galaxy = np.exp(-np.hypot(x, y) / 0.4)
    bands = [0.02 * galaxy + rng.normal(0, SIGMA["g"], galaxy.shape), 0.1 * galaxy + rng.normal(0, SIGMA["i"], y.shape)]
    return (np.array(bands) / UNIT).astype(np.float32)


def made_up(kind: str, folder: Path) -> Plan:
    declared = imaging(kind)

    def load(galaxy_ids: Sequence[str]) -> NDArray[np.float32]:
        stamps = np.stack([stored(int(galaxy_id[-2:])) for galaxy_id in galaxy_ids])
        return (stamps * declared.nanomaggies_per_unit).astype(np.float32)

    (folder / "mine.yaml").write_text(PRIOR)
    changes: dict[str, Any] = {
        "prior": str(folder / "mine.yaml"), "theta_e_arcsec": [1.0, 1.6], "per_cell": 10,
        "sky_annulus_px": [22.0, 31.0], "psf_fwhm_nea_edges_arcsec": [0.5, 1.3], "depth_edges_mag": [20.0, 27.0],
        "psf_moffat_beta": [2.9], "psf_model": "gaussian",
    }  # fmt: skip
    grid: GridParams = params(**changes)
    hosts = HostSet("made-up galaxies", host_table(kind), load, SIDE, grid.host_model, declared)
    return plan(Setting.of(grid, hosts, 5))


class BlueSum:
    """A user's finder that declares its bands: the light in g of the middle 40 pixels."""

    bands, stamp_pixels, version = ("g", "i"), 40, "1"

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float64]:
        assert stamps.shape[1:] == (2, 40, 40)
        return stamps[:, 0].sum(axis=(1, 2), dtype=float)


def finder() -> ExternalScorer:
    return ExternalScorer(FinderParams(finder=f"{__name__}:BlueSum"))


def expected(row: dict[str, Any], kind: str, band: str) -> NDArray[np.float64]:
    """The arc (y, x) nMgy: light integrated by the public formulas, convolved with astropy's PSF by scipy."""
    table = pa.Table.from_pylist([row])
    light = converged(Lens.from_rows(table).row(0), components(table), 0, FINE * SIDE, 2e-6, SCALE / FINE)
    magnitude = row["src_mag_i"] + (row["src_g_minus_i"] if band == "g" else 0.0)
    declared = KINDS[kind]["gi".index(band)]
    fwhm = fwhm_arcsec(int(row["galaxy_id"][-2:]), band)
    flux = 10 ** (-0.4 * (magnitude - 22.5))
    if declared.get("includes_pixel", True):  # an effective PSF, of which a pixel shows the value at its centre
        seen = fftconvolve(light, kernel(declared, fwhm, FINE), mode="same")[FINE // 2 :: FINE, FINE // 2 :: FINE]
        return np.asarray(flux * FINE**2 * seen)
    pixels = light.reshape(SIDE, FINE, SIDE, FINE).sum(axis=(1, 3))
    return np.asarray(flux * fftconvolve(pixels, kernel(declared, fwhm, 1), mode="same"))


def effective_width(kind: str, host: int, band: str) -> float:
    """psfsize of a host: of the PSF with its pixel, by the sum of its squares."""
    declared = KINDS[kind]["gi".index(band)]
    fine = kernel(declared, fwhm_arcsec(host, band), 9)
    if not declared.get("includes_pixel", True):
        fine = fftconvolve(fine, np.full((9, 9), 1 / 81), mode="same")
    pixels = fine[::9, ::9] * 81
    return float(2.354820045 / (2 * np.sqrt(np.pi)) / np.sqrt((pixels**2).sum()) * SCALE)


@pytest.mark.parametrize("kind", KINDS)
def test_fluxes_widths_and_signal_to_noise_are_those_of_an_independent_computation(kind: str, tmp_path: Path) -> None:
    grid = made_up(kind, tmp_path)
    out = run(grid, finder())
    assert out.schema.equals(batch_schema(grid.setting.hosts.imaging))
    assert set(out["reason"].to_pylist()) == {None}
    drawn = grid.setting.again(out)
    for index, row in list(enumerate(out.to_pylist()))[::9]:
        host = int(row["galaxy_id"][-2:])
        for place, band in enumerate("gi"):
            arc = expected(row, kind, band)
            np.testing.assert_allclose(drawn.arcs.images[index, place], arc, atol=0.01 * arc.max())
            np.testing.assert_allclose(row[f"arc_flux_{band}_nmgy"], arc.sum(), rtol=5e-3)
            np.testing.assert_allclose(row[f"arc_peak_{band}_nmgy_arcsec2"], arc.max() / SCALE**2, rtol=0.01)
            width = effective_width(kind, host, band)
            np.testing.assert_allclose(row[f"host_psf_fwhm_nea_{band}_arcsec"], width, rtol=2e-3)
        assert arc is not None
        np.testing.assert_allclose(row["arc_snr"], np.sqrt((arc**2).sum()) / SIGMA["i"], rtol=5e-3)
        np.testing.assert_allclose(row["theta_e_over_fwhm_nea"], row["lens_theta_e_arcsec"] / width, rtol=2e-3)
        area_px = np.pi * width**2 / (2 * np.log(2)) / SCALE**2
        depth = 22.5 - 2.5 * np.log10(5 * SIGMA["i"] * np.sqrt(area_px))
        np.testing.assert_allclose(row["host_depth_i_mag"], depth, atol=5e-3)
        np.testing.assert_allclose(row["sky_sigma_mad_nmgy"], SIGMA["i"], rtol=0.15)
    np.testing.assert_allclose(
        out["score"].to_numpy(), drawn.images[:, 0, 12:52, 12:52].sum(axis=(1, 2), dtype=float), rtol=1e-5
    )
    np.testing.assert_allclose(arc_colour(out, grid.setting.hosts.imaging), out["src_g_minus_i"].to_numpy(), atol=0.1)


def checkpoint(grid: Plan, folder: Path) -> CheckpointScorer:
    """A small network, trained on these stamps with and without arcs."""
    settings = resolve_generation(
        "demo1",
        {
            "preprocessing": {"annulus": "auto", "crop_pixels": 48, "kind": "raw_robust", "stretch": "linear"},
            "network": {"width": 8},
            "loop": {"epochs": 2, "batch": 8, "micro_batch": 8},
            "execution": {"threads": 1, "device": "cpu", "dtype": "fp32"},
        },
    )
    hosts = [ids[0] for ids in grid.rows["host_ids"].to_pylist()]
    rows = grid.rows.select(["injection_id", "lens_theta_e_arcsec"]).append_column("galaxy_id", [hosts])
    drawn = grid.setting.draw(grid.setting.parameters(rows))
    stamps = np.concatenate([drawn.bare, drawn.images])
    x = torch.from_numpy(np.stack([normalised(stamp) for stamp in stamps]))
    labels = torch.arange(len(stamps)).ge(len(drawn.bare)).float()
    ids = pa.array([f"made-up:{index}" for index in range(len(stamps))])
    arrays = TrainingArrays(ids, x, labels, torch.ones(len(stamps)), None, SIDE, grid.setting.hosts.imaging.bands)
    result = train(settings, arrays, arrays, folder / "work")
    scorer = load_scorer(publish(result, folder / "mine", Manifest("m", "f"), arrays, arrays).folder)
    assert isinstance(scorer, CheckpointScorer)
    return scorer


def normalised(stamp: NDArray[np.float32]) -> NDArray[np.float32]:
    """The declared preprocessing written out: median and MAD of 65 to 90 % of the half-width, then 48 pixels."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    ring = (np.hypot(x, y) >= 0.65 * SIDE / 2) & (np.hypot(x, y) < 0.9 * SIDE / 2)
    centre = np.median(stamp[:, ring], axis=1)[:, None, None]
    spread = np.median(np.abs(stamp - centre)[:, ring], axis=1)[:, None, None]
    clip = resolve_generation("demo1").preprocessing.clip_range
    return np.clip((stamp - centre) / (spread + 1e-8), -clip, clip)[:, 8:56, 8:56].astype(np.float32)


def test_a_network_of_two_bands_scores_them_and_completeness_follows(tmp_path: Path) -> None:
    grid = made_up("mixed", tmp_path)
    declared = grid.setting.hosts.imaging
    scorer = checkpoint(grid, tmp_path)
    assert scorer.bands == ("g", "i")
    out = run(grid, scorer)
    seen = grid.setting.again(out).images
    with torch.inference_mode():
        own = scorer._network.eval()(torch.from_numpy(np.stack([normalised(stamp) for stamp in seen])))
    np.testing.assert_allclose(out["score"].to_numpy(), own.numpy(), atol=1e-4)
    rows = out.to_pandas().assign(probability=expit(out["score"].to_numpy()))
    threshold = float(rows["probability"].median())
    found = along(rows, {"lens_theta_e_arcsec": [0.8, 1.3, 2.0]}, threshold)
    above = rows["probability"] > threshold
    by_radius = [above[rows["lens_theta_e_arcsec"] == radius] for radius in (1.0, 1.6)]
    assert found["n"].tolist() == [len(part) for part in by_radius] == [10, 10]
    assert found["completeness"].tolist() == pytest.approx([part.mean() for part in by_radius])
    fixed = np.array([threshold]), np.array([1.0])
    joint = joint_intervals(rows, {"fpr1e-1@val": fixed}, (22.0, 23.0, 24.0), declared)
    bright = joint[(joint["cell"] == "marginal") & (joint["source_mag_bin"] == "22-23")].iloc[0]
    chosen = rows["src_mag_i"] < 23.0
    assert bright["n"] == chosen.sum() > 0
    assert bright["joint_95_low"] <= above[chosen].mean() <= bright["joint_95_high"]


def test_what_is_for_other_bands_is_refused(tmp_path: Path) -> None:
    grid = made_up("fwhm", tmp_path)
    scorer = checkpoint(grid, tmp_path)
    scorer.bands = SURVEY.bands
    refusal = r"'bands of demo1' must be those of made-up survey \(g, i\), got 'g, r, z'"
    with pytest.raises(ParameterError, match=refusal):
        run(grid, scorer)
    hosts = grid.setting.hosts
    refusal = "'prior' must be one with src_mag_i, src_g_minus_i, for the bands of made-up survey"
    with pytest.raises(ParameterError, match=refusal):
        plan(Setting.of(params(), hosts, 1))
    wrong = params(prior=str(tmp_path / "mine.yaml"), psf_moffat_beta=[2.9, 2.8, 2.7])
    with pytest.raises(ParameterError, match=r"'psf_moffat_beta' must be above 1, one number per band \(g, i\)"):
        plan(Setting.of(wrong, made_up("fwhm_nea", tmp_path).setting.hosts, 1))


def test_the_same_hosts_with_other_pixels_are_another_grid(tmp_path: Path) -> None:
    grid = made_up("fwhm_nea", tmp_path)
    hosts = grid.setting.hosts
    other = hosts.imaging.model_copy(update={"pixel_scale_arcsec": 0.2})
    again = HostSet(hosts.name, hosts.table, hosts.load, SIDE, IM1, other)
    assert plan(Setting.of(grid.setting.grid, again, 5)).grid_id != grid.grid_id


def test_arcs_features_and_pictures_take_even_stamps_of_two_bands(tmp_path: Path) -> None:
    grid = made_up("fwhm", tmp_path)
    out = run(grid, finder())
    drawn, declared = grid.setting.again(out), grid.setting.hosts.imaging
    found = find_arcs(drawn.images, (22.0, 31.0), declared)
    snr = out["arc_snr"].to_numpy()
    bright = (snr > 15) & (out["lens_theta_e_arcsec"].to_numpy() > 1.5)
    assert bright.sum() == 3
    assert found.found[bright].all()
    assert ((found.snr[bright] > 0.6 * snr[bright]) & (found.snr[bright] < snr[bright])).all()
    assert np.abs(found.colour[bright] - out["src_g_minus_i"].to_numpy()[bright]).max() < 0.6
    assert not find_arcs(drawn.bare, (22.0, 31.0), declared).found.any()
    sizes: dict[str, Any] = {"aperture_radius_pixels": 20.0, "core_radius_pixels": 8.0, "profile_rings": 8}
    chosen = DiagnosticParams.model_construct(**sizes, comparison_annuli_pixels=((10.0, 20.0), (20.0, 31.0)))
    features = stamp_features(drawn.bare, declared, chosen)
    assert {"trivial/g_minus_i", "trivial/outer_mad_i", "profile/g00"} <= set(features.columns)
    np.testing.assert_allclose(features["trivial/g_minus_i"].median(), 2.5 * np.log10(5), atol=0.3)
    pictures = colour_composite(drawn.images, declared)
    assert pictures.shape == (len(out), SIDE, SIDE, 3)
    between = pictures[..., (0, 2)].astype(int).mean(axis=-1)
    assert np.abs(pictures[..., 1] - between).max() <= 1, "green is the mean of two bands"
    assert contact_sheet([("hosts", drawn.bare[:2], ["", ""])], "two", declared).content.startswith(b"\x89PNG")
