"""Lenses of simulated stamps: what is planned is what is drawn, alone or in any batch, and the pixels are its light."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

from injection.config import StampCleaning, StampRendering, StampSet
from injection.engine.tracing import PARAMETRIC
from injection.experiment.training_stamps import StampRenderer, prior_of_lenses, source_model
from injection.galaxies.banks import collected, write_bank
from lake.errors import DataError, ParameterError
from lake.sky.survey import PIXEL_SCALE_ARCSEC, SURVEY
from tests.injection.scenes import COSMOS, gaussian_bank

SIDE = 64
_BASE = yaml.safe_load((Path(__file__).resolve().parents[2] / "params/base.yaml").read_text())["stamps"]
RENDERING = StampRendering.load(_BASE["rendering"], "stamps.rendering")


def renderer(psf: str = "moffat", **changes: Any) -> StampRenderer:
    rendering = RENDERING.model_copy(update=changes)
    return StampRenderer(rendering, prior_of_lenses(rendering), psf, PARAMETRIC, 11, SURVEY)


def planned(count: int, **changes: Any) -> pa.Table:
    rng = np.random.default_rng(3)
    columns = {
        "stamp_id": [f"x:{k}/0000L" for k in range(count)],
        "theta_e_arcsec": rng.choice([0.75, 1.0, 1.5], count), "src_dmag": rng.choice([0.5, 1.0], count),
        "src_re_arcsec": rng.choice([0.1, 0.2], count), "src_e": rng.choice([0.0, 0.2, 0.4], count),
        "shear": rng.choice([0.0, 0.02, 0.04], count), "mag_r": rng.uniform(19, 21, count),
        "x_offset_px": rng.uniform(-0.5, 0.5, count), "y_offset_px": rng.uniform(-0.5, 0.5, count),
        **{f"psfsize_{band}": np.full(count, width) for band, width in zip("grz", (1.4, 1.3, 1.2), strict=True)},
        **{f"psfdepth_{band}": np.full(count, 800.0) for band in "grz"},
    }  # fmt: skip
    return pa.table({**columns, **{name: np.full(count, value) for name, value in changes.items()}})


def blank(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((count, 3, SIDE, SIDE), np.float32), np.ones((count, SIDE, SIDE), bool), np.arange(count)


def test_what_is_planned_is_drawn() -> None:
    rows = planned(40)
    images, made, failed = renderer()(rows, *blank(40))
    drawn = renderer().parameters(rows, SIDE)
    assert failed == [None] * 40
    value = {name: rows[name].to_numpy() for name in rows.column_names}
    np.testing.assert_allclose(drawn["src_mag_r"], value["mag_r"] + value["src_dmag"])
    np.testing.assert_allclose(np.hypot(made["lens_gamma1"], made["lens_gamma2"]), value["shear"], atol=1e-15)
    np.testing.assert_allclose(drawn["src_q"], (1 - value["src_e"]) / (1 + value["src_e"]))
    assert set(drawn["src_n"].to_pylist()) == {1.0}
    assert set(drawn["src_clumps"].to_pylist()) == {0}
    assert np.isfinite(images).all()
    middle = (SIDE // 2 - (SIDE - 1) / 2) * PIXEL_SCALE_ARCSEC
    scatter = made["lens_x_arcsec"].to_numpy() - middle - value["x_offset_px"] * PIXEL_SCALE_ARCSEC
    assert 0.03 < scatter.std() < 0.07, "the lens's centre scatters by 0.05 arcsec about its host"
    beta = np.hypot(*(made[f"src_{x}_arcsec"].to_numpy() - made[f"lens_{x}_arcsec"].to_numpy() for x in "xy"))
    np.testing.assert_allclose(beta, drawn["src_beta_frac"].to_numpy() * value["theta_e_arcsec"])


def test_a_lens_is_the_same_alone_and_in_every_set_of_a_plan() -> None:
    rows, host = planned(9), blank(9)
    images, made, _ = renderer()(rows, *host)
    alone, row, _ = renderer()(rows.slice(5, 1), *(part[:1] for part in host))
    np.testing.assert_array_equal(alone[0], images[5])
    assert row.to_pylist()[0] == made.to_pylist()[5]
    _, other, _ = renderer("gaussian")(rows, *host)
    drawn = [name for name in made.column_names if name.startswith(("lens_", "src_"))]
    assert other.select(drawn).equals(made.select(drawn))
    noisy, _, _ = renderer(poisson_gain_e_per_nmgy=150.0)(rows, *host)
    again, _, _ = renderer(poisson_gain_e_per_nmgy=150.0)(rows.slice(5, 1), *(part[:1] for part in host))
    np.testing.assert_array_equal(again[0], noisy[5])
    assert not np.array_equal(noisy, images)


def test_the_arcs_are_the_lensed_light_on_top_of_the_host() -> None:
    rows = planned(20, theta_e_arcsec=1.0)
    hosts = np.random.default_rng(0).normal(0, 1, (20, 3, SIDE, SIDE)).astype(np.float32)
    images, made, _ = renderer()(rows, hosts, np.ones((20, SIDE, SIDE), bool), np.arange(20))
    arcs = images.astype(np.float64) - hosts
    mag = made["src_mag_r"].to_numpy()
    expected = 10 ** (0.4 * (22.5 - mag)) * made["magnification"].to_numpy()
    np.testing.assert_allclose(arcs[:, 1].sum(axis=(1, 2)), expected, rtol=0.03)
    colour = -2.5 * np.log10(arcs[:, 0].sum(axis=(1, 2)) / arcs[:, 1].sum(axis=(1, 2)))
    np.testing.assert_allclose(colour, made["src_g_minus_r"].to_numpy(), atol=0.01)


def test_lenses_may_share_hosts() -> None:
    """Each is what it is with a copy of its host, to the last bit."""
    rng, rows = np.random.default_rng(1), planned(12)
    hosts = rng.normal(0, 1, (3, 3, SIDE, SIDE)).astype(np.float32)
    usable, of = rng.random((3, SIDE, SIDE)) < 0.9, rng.integers(0, 3, 12)
    images, made, _ = renderer()(rows, hosts, usable, of)
    alone, same, _ = renderer()(rows, hosts[of], usable[of], np.arange(12))
    np.testing.assert_array_equal(images, alone)
    assert made.equals(same)
    assert len(set(made["arc_masked_fraction"].to_pylist())) > 3


def test_the_snr_counts_unmasked_pixels_alone() -> None:
    """Matched filter: the root of the sum of squares over the noise, 1 / sqrt(psfdepth x 4 pi (psfsize / 2.355)^2)."""
    rows, (hosts, usable, own) = planned(10), blank(10)
    usable[:, :, SIDE // 2 :] = False
    images, made, _ = renderer()(rows, hosts, usable, own)
    sigma = 1.0 / np.sqrt(800.0 * 4 * np.pi * (1.3 / 2.354820045 / PIXEL_SCALE_ARCSEC) ** 2)
    seen = (images[:, 1].astype(np.float64) ** 2 * usable).sum(axis=(1, 2))
    np.testing.assert_allclose(made["arc_snr"], np.sqrt(seen) / sigma, rtol=1e-5)
    masked = (images[:, 1] * ~usable).sum(axis=(1, 2)) / images[:, 1].sum(axis=(1, 2))
    np.testing.assert_allclose(made["arc_masked_fraction"], masked, rtol=1e-4)


def test_profiles_have_the_noise_equivalent_area_of_each_bands_psfsize() -> None:
    """Peaks differ, as the Moffat's wings do; 1 / sum(psf^2) of both is that of psfsize."""
    for psf in ("gaussian", "moffat"):
        found = renderer(psf).psf(planned(1))
        np.testing.assert_allclose(found.fwhm_nea_arcsec, [[1.4, 1.3, 1.2]])
    moffat, gaussian = renderer("moffat").psf(planned(1)), renderer("gaussian").psf(planned(1))
    np.testing.assert_allclose(gaussian.fwhm_arcsec / moffat.fwhm_arcsec, 1.2325, rtol=1e-3)


def test_sources_of_a_bank_are_its_galaxies(tmp_path: Path) -> None:
    path = tmp_path / "bank.h5"
    rendering = RENDERING.model_copy(update={"bank": RENDERING.bank.model_copy(update={"path": str(path)})})
    chosen = StampSet(plan="unpaired", psf_model="moffat", sources="bank")
    with pytest.raises(DataError, match=r"bank\.h5 is missing: `dhs bank build` makes it"):
        source_model(rendering, chosen)
    write_bank(path, gaussian_bank())
    made_of = replace(renderer(), sources=source_model(rendering, chosen))
    images, made, failed = made_of(planned(12), *blank(12))
    assert failed == [None] * 12
    assert set(made["src_model"].to_pylist()) == {"real"}
    assert set(made["src_stamp_id"].to_pylist()) == {"one", "two"}
    assert (images[:, 1].sum(axis=(1, 2)) > 0).all()
    assert source_model(rendering, chosen.model_copy(update={"sources": "sersic"})) is PARAMETRIC


@pytest.mark.usefixtures("whole_stage")
def test_stamps_of_a_bank_of_cosmos_galaxies(real_data: Path, tmp_path: Path) -> None:
    """The light is that of the source's magnitude, lensed; PSF and zero point are the survey's."""
    path = tmp_path / "bank.h5"
    cleaning = StampCleaning.load({"min_snr": 20.0, "psf_correction": None}, "bank")
    bank, _ = collected([real_data / COSMOS], cleaning)
    write_bank(path, bank)
    rendering = RENDERING.model_copy(update={"bank": RENDERING.bank.model_copy(update={"path": str(path)})})
    chosen = StampSet(plan="unpaired", psf_model="moffat", sources="bank")
    made_of, rows = replace(renderer(), sources=source_model(rendering, chosen)), planned(40, theta_e_arcsec=1.0)
    images, made, failed = made_of(rows, *blank(40))
    assert failed == [None] * 40
    used = set(made["src_stamp_id"].to_pylist())
    assert len(used) > 10
    assert used <= set(bank.ids)
    arcs = images[:, 1].astype(np.float64).sum(axis=(1, 2))
    expected = 10 ** (0.4 * (22.5 - made["src_mag_r"].to_numpy())) * made["magnification"].to_numpy()
    np.testing.assert_allclose(arcs, expected * (1 - made["arc_off_stamp_fraction"].to_numpy()), rtol=0.05)


def test_a_prior_of_ones_own_is_read_once_and_travels_with_the_renderer(tmp_path: Path) -> None:
    """Spark's tasks draw what the stage read, on machines without the file too."""
    file = tmp_path / "mine.yaml"
    file.write_text("base: training\nmeaning: flat\nlens_q: {kind: uniform, low: 0.3, high: 0.31}\n")
    made = renderer(prior=str(file))
    file.unlink()
    drawn = copy.deepcopy(made).parameters(planned(3), SIDE)
    assert pc.max(drawn["lens_q"]).as_py() < 0.31
    assert made.prior.digest() != renderer().prior.digest()


def test_an_impossible_lens_fails_alone_and_a_mixture_is_no_prior() -> None:
    rows = planned(3)
    theta = pa.array([1.0, 61.0, 1.0])
    with pytest.raises(ParameterError, match="lens_theta_e_arcsec"):
        renderer()(rows.set_column(1, "theta_e_arcsec", theta), *blank(3))
    rows = rows.set_column(rows.column_names.index("psfsize_g"), "psfsize_g", pa.array([1.2, np.nan, 1.2]))
    images, _, failed = renderer()(rows, *blank(3))
    assert [why is None for why in failed] == [True, False, True]
    assert not images[1].any()
    with pytest.raises(ParameterError, match=r"'stamps\.rendering\.prior' must be one prior, not a mixture"):
        renderer(prior="covering")(planned(1), *blank(1))
