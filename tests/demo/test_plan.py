"""What is decided before any pixel: places, conditions, who holds which lens; and how bad parameters are refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import ks_2samp

from demo.brick import Plan
from demo.catalogue import flawed, sweep_dtype
from demo.lensing import draw_system
from demo.population import populate
from demo.sources import early
from demo.survey import plan_survey
from lake.errors import ParameterError
from lake.sky.healpix import pixel
from lake.sky.split import split_of
from lake.sky.survey import PIXEL_SCALE_ARCSEC
from pipeline.project import params
from tests.demo.conftest import SPLIT, demo_params
from tests.pipeline.checkout import PROJECT


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    return plan_survey(demo_params(), SPLIT, 42)


def test_the_split_hash_gives_the_wanted_counts(plans: list[Plan]) -> None:
    pixels = pixel([plan.brick.ra_deg for plan in plans], [plan.brick.dec_deg for plan in plans])
    assert len(set(pixels)) == len(plans) == 120
    assert Counter(split_of(pixels, SPLIT)) == {"train": 84, "val": 18, "test": 18}
    assert Counter(plan.brick.split for plan in plans) == {"train": 84, "val": 18, "test": 18}
    assert len({plan.brick.name for plan in plans}) == 120


def test_splits_share_seeing_and_depth(plans: list[Plan]) -> None:
    for of in (lambda plan: plan.conditions.psfsize_arcsec[1], lambda plan: plan.conditions.depth_mag[1]):
        values = {
            split: [of(plan) for plan in plans if plan.brick.split == split] for split in ("train", "val", "test")
        }
        assert ks_2samp(values["train"], values["val"]).pvalue > 0.5
        assert ks_2samp(values["train"], values["test"]).pvalue > 0.5
        assert ks_2samp(values["val"], values["test"]).pvalue > 0.1
        assert not set(values["val"]) & set(values["test"])
        shifts = np.sort(values["val"]) - np.sort(values["test"])
        assert np.abs(shifts).max() > 0.01, "similar, and not the same by construction"


def test_every_cell_of_the_demos_grid_has_a_validation_brick(plans: list[Plan]) -> None:
    """The grid's axes are the catalogue's psfsize and depth, which the conditions are drawn in."""
    grid = params.resolve(PROJECT, "demo")["grid"]
    here = [plan.conditions for plan in plans if plan.brick.split == "val"]
    size, depth = ([getattr(one, name)[1] for one in here] for name in ("psfsize_arcsec", "depth_mag"))
    edges = [grid["psf_fwhm_nea_edges_arcsec"], grid["depth_edges_mag"]]
    counts, *_ = np.histogram2d(size, depth, edges)
    assert counts.min() >= 1
    assert counts.sum() == len(here) == 18


def test_noise_follows_from_depth_and_seeing(plans: list[Plan]) -> None:
    conditions = plans[0].conditions
    five_sigma = 10 ** ((22.5 - conditions.depth_mag) / 2.5)
    matched = conditions.pixel_sigma_nmgy / np.sqrt([psf.squared_integral for psf in conditions.psfs])
    np.testing.assert_allclose(5 * matched, five_sigma)


def test_the_lens_sample_is_dealt_evenly(plans: list[Plan]) -> None:
    roles = Counter(role for plan in plans for role in plan.roles)
    lenses = {"tier_a": 76, "tier_b": 750, "unlisted": 40, "unlisted_faint": 40}
    assert roles == {**lenses, "tier_b_false": 24, "contaminant": 120}
    assert {len(plan.roles) for plan in plans} <= {8, 9}
    assert sum(plan.nan_rows for plan in plans) == 6


def test_missing_bands_are_training_bricks(plans: list[Plan]) -> None:
    broken = [plan for plan in plans if plan.conditions.lost_band or plan.conditions.unobserved_band]
    assert [plan.brick.split for plan in broken] == ["train", "train"]


def test_sources_keep_their_distance_and_lenses_are_not_lonely() -> None:
    rng = np.random.default_rng(1)
    found = populate(rng, demo_params(), ["tier_a", "tier_b"] * 4, bright_star=False)
    place = np.array([source.position for source in found]) * PIXEL_SCALE_ARCSEC
    gap = np.hypot(*(place[:, None] - place).transpose(2, 0, 1)) + 1e3 * np.eye(len(found))
    bright = np.array([source.kind != "faint" for source in found])
    hosts = np.array([source.role != "field" for source in found])
    assert gap[hosts][:, hosts].min() >= 14
    assert gap[bright][:, bright].min() >= 6.5
    assert gap[hosts][:, bright & ~hosts].min() < 11


def test_negatives_share_the_types_of_the_hosts() -> None:
    found = populate(np.random.default_rng(2), demo_params(), ["tier_b"] * 6, bright_star=False)
    hosts = Counter(source.type for source in found if source.role != "field")
    others = Counter(source.type for source in found if source.role == "field" and source.kind not in ("faint", "star"))
    assert {type_: 7 * count for type_, count in hosts.items()} == {t: n for t, n in others.items() if t != "EXP"}


def test_einstein_radii_stay_within_their_range() -> None:
    rng, params = np.random.default_rng(3), demo_params().lenses
    host = early(rng, "SER", np.zeros(2))
    drawn = [draw_system(rng, params, host, 1.4).theta_e_arcsec for _ in range(50)]
    assert min(drawn) >= 1.4
    assert max(drawn) <= params.theta_e_range_arcsec[1]


def test_flaws_are_added_without_touching_the_originals() -> None:
    rows = np.zeros(200, dtype=sweep_dtype())
    rows["OBJID"] = np.arange(200)
    for band in "GRZ":
        rows[f"NOBS_{band}"], rows[f"FLUX_{band}"] = 5, 1.0
    more = flawed(np.random.default_rng(4), rows, (0.2, 0.1), 3)
    assert np.all(rows["NOBS_G"] == 5)
    assert np.isnan(more["RA"]).sum() == 3
    assert more.size > 205
    least = np.minimum.reduce([more[f"NOBS_{band}"] for band in "GRZ"])
    assert 0.05 < (least < 3).mean() < 0.5
    assert np.all(more["FLUX_R"][more["NOBS_R"] == 0] == 0)


def test_a_sky_too_small_for_its_bricks_is_refused() -> None:
    params = demo_params(sky={"ra_range_deg": [0.0, 1.0], "dec_range_deg": [0.0, 1.0]})
    with pytest.raises(ParameterError, match=r"'demo.sky' must be a region with enough HEALPix pixels"):
        plan_survey(params, SPLIT, 42)


def test_a_brick_too_small_for_its_sources_is_refused() -> None:
    params = demo_params(top={"brick_pixels": 200})
    with pytest.raises(ParameterError, match=r"'demo.sources' must be few enough sources"):
        populate(np.random.default_rng(5), params, ["tier_b"] * 8, bright_star=False)


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"'demo.bricks' must be one of the known parameters"):
        demo_params(top={"bricks": 3})
