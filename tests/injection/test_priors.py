"""Priors: the registry, keyed drawing, densities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from injection.priors.distributions import AreaUniform, Binned, Distribution, HalfNormal, Normal, Uniform
from injection.priors.prior import LENS, SHAPE, Mixture, Prior
from injection.priors.registry import draw, load_prior, log_density, prior_of, registry
from injection.scene.ranges import faults
from lake.errors import ParameterError
from lake.sky.survey import SURVEY
from tests.injection.scenes import drawn, ids

SPEC = {
    "v1": {"src_mag_r": (23, 26), "src_beta_frac": (0.1, 1.0), "src_re_arcsec": (0.05, 0.25), "src_n": (0.7, 2.5)},
    "v1_wide": {"src_mag_r": (23, 26), "src_beta_frac": (0.1, 1.0), "src_re_arcsec": (0.05, 0.5), "src_n": (0.5, 4.0)},
    "d06": {"src_mag_r": (23, 26), "src_beta_frac": (0.1, 0.4), "src_re_arcsec": (0.15, 0.5), "src_n": (0.5, 2.0)},
    "anchored": {"src_mag_r": (23, 25), "src_beta_frac": (0.1, 0.55), "lens_theta_e_arcsec": (0.8, 2.5)},
    "training": {"src_beta_frac": (0.1, 1.0), "src_n": (0.7, 2.5)},
    "bright": {"src_mag_r": (20, 24.5), "src_beta_frac": (0.1, 0.6), "src_re_arcsec": (0.09, 0.37)},
}
MIXTURES = ("covering", "demo")


def test_registry_holds_the_priors_and_their_mixtures() -> None:
    assert set(registry()) == {*SPEC, *MIXTURES}


@pytest.mark.parametrize("name", SPEC)
def test_draws_fill_the_ranges_of_the_specification(name: str) -> None:
    rows = drawn(name, 4000)
    for column, (low, high) in SPEC[name].items():
        values = rows.column(column).to_numpy()
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
    assert faults(rows) == [None] * 4000
    assert np.isfinite(rows.column("log_prior").to_numpy()).all()


def test_offsets_are_weighted_by_area() -> None:
    beta = drawn("v1", 20000).column("src_beta_frac").to_numpy()
    np.testing.assert_allclose((beta < 0.55).mean(), 0.295, atol=0.01)


def test_colours_shear_centre_and_clumps_follow_the_prior() -> None:
    rows = drawn("v1", 20000)
    mean = {"src_g_minus_r": (0.2, 0.25), "src_r_minus_z": (0.1, 0.25), "lens_x_arcsec": (0.0, 0.05)}
    for name, (centre, sigma) in mean.items():
        values = rows.column(name).to_numpy()
        np.testing.assert_allclose((values.mean(), values.std()), (centre, sigma), atol=0.01)
    shear = np.hypot(rows.column("lens_gamma1").to_numpy(), rows.column("lens_gamma2").to_numpy())
    np.testing.assert_allclose(np.median(shear), 0.6745 * 0.05, rtol=0.03)
    clumps = rows.column("src_clumps").to_numpy()
    np.testing.assert_allclose([(clumps == k).mean() for k in range(4)], [0.4, 0.2, 0.2, 0.2], atol=0.015)
    assert set(drawn("d06", 500).column("src_clumps").to_pylist()) == {0}


def test_the_source_offset_is_beta_frac_times_theta_e() -> None:
    rows = drawn("v1", 100)
    dx = rows.column("src_x_arcsec").to_numpy() - rows.column("lens_x_arcsec").to_numpy()
    dy = rows.column("src_y_arcsec").to_numpy() - rows.column("lens_y_arcsec").to_numpy()
    offset = rows.column("src_beta_frac").to_numpy() * rows.column("lens_theta_e_arcsec").to_numpy()
    np.testing.assert_allclose(np.hypot(dx, dy), offset, rtol=1e-12)


@given(start=st.integers(0, 90), count=st.integers(1, 10))
def test_any_row_drawn_alone_is_the_same(start: int, count: int) -> None:
    whole = drawn("v1", 100, seed=3)
    part = draw(load_prior("v1"), ids(100).slice(start, count), 3, SURVEY)
    assert part.equals(whole.slice(start, count).combine_chunks())


def test_seed_and_id_both_matter_and_parameters_are_independent() -> None:
    a, b = drawn("v1", 50, seed=1), drawn("v1", 50, seed=2)
    assert not a.column("lens_q").equals(b.column("lens_q"))
    table = np.stack([drawn("v1", 5000).column(name).to_numpy() for name in load_prior("v1").direct(SURVEY)])
    assert np.abs(np.corrcoef(table) - np.eye(len(table))).max() < 0.05


def test_common_random_numbers_across_priors() -> None:
    narrow, wide = drawn("v1", 50), drawn("v1_wide", 50)
    assert narrow.column("lens_q").equals(wide.column("lens_q"))
    ranks = [np.argsort(rows.column("src_re_arcsec").to_numpy()) for rows in (narrow, wide)]
    np.testing.assert_array_equal(*ranks)


def test_fixed_columns_are_taken_and_left_out_of_the_density() -> None:
    theta_e = np.linspace(0.5, 3.0, 20)
    free, fixed = drawn("v1", 20), draw(load_prior("v1"), ids(20), 7, SURVEY, fixed={"lens_theta_e_arcsec": theta_e})
    np.testing.assert_array_equal(fixed.column("lens_theta_e_arcsec").to_numpy(), theta_e)
    difference = free.column("log_prior").to_numpy() - fixed.column("log_prior").to_numpy()
    np.testing.assert_allclose(difference, -np.log(2.5), rtol=1e-9)


def test_impossible_fixed_values_are_refused_by_name() -> None:
    with pytest.raises(ParameterError, match="'lens_q' must be a finite number in"):
        draw(load_prior("v1"), ids(2), 7, SURVEY, fixed={"lens_q": [0.5, 1.5]})
    with pytest.raises(ParameterError, match="'fixed' must be some of"):
        draw(load_prior("v1"), ids(2), 7, SURVEY, fixed={"lens_pa_rad": 0.0})


def test_importance_weights_of_a_narrower_prior_have_mean_one() -> None:
    rows = drawn("v1", 40000)
    weight = np.exp(log_density(load_prior("anchored"), rows, SURVEY) - rows.column("log_prior").to_numpy())
    np.testing.assert_allclose(weight.mean(), 1.0, atol=0.1)
    outside = rows.column("src_mag_r").to_numpy() > 25.0
    assert (weight[outside] == 0).all()


@pytest.mark.parametrize("distribution", [
    Uniform(kind="uniform", low=-1.0, high=2.0),
    AreaUniform(kind="area_uniform", low=0.1, high=1.0),
    Normal(kind="normal", mean=0.3, sigma=0.2),
    HalfNormal(kind="half_normal", sigma=0.05),
    Binned(kind="binned", edges=(0.5, 1.0, 2.5), shares=(1.0, 3.0)),
])  # fmt: skip
def test_densities_belong_to_their_quantiles(distribution: Distribution) -> None:
    u = np.array([0.1, 0.35, 0.6, 0.95])
    x = distribution.quantile(u)
    start = float(distribution.quantile(1e-12))
    mass = [integrate.quad(lambda t: float(np.exp(distribution.log_density(t))), start, end)[0] for end in x]
    np.testing.assert_allclose(mass, u, atol=1e-6)


def test_a_prior_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("base: v1\nmeaning: mine\nsrc_n: {kind: uniform, low: 3.9, high: 4.1}\n")
    prior = load_prior(str(path))
    assert prior.name == "mine"
    assert draw(prior, ids(5), 1, SURVEY).column("src_n").to_numpy().min() > 3.9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: v1\nmeaning: m\nlens_q: {kind: uniform, low: 0.5, high: 1.5}", "'lens_q' must be a finite number"),
        ("base: v7\nmeaning: m", r"base' must be one of v1"),
        ("base: v1\nmeaning: m\nsrc_colour: 3", "must be one of the known parameters"),
        ("base: v1\nmeaning: m\nsrc_n: {kind: uniform, low: 4, high: 2}", "above low"),
        (
            "base: v1\nmeaning: m\nsrc_n: {kind: unifrom}",
            r"src_n\.kind' must be one of uniform, .*did you mean 'uniform'",
        ),
        ("base: v1\nmeaning: m\nsrc_n: {low: 1}", r"src_n\.kind' is missing"),
    ],
)
def test_bad_priors_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / f"bad{abs(hash(text))}.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=message):
        load_prior(str(path))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name: \xe9t\xe9", "'utf-8' codec can't decode"),
        (b"name: [a", "did not find expected"),
        (b"base: v1\nlens_q: 0.7\nlens_q: 0.8", "the key 'lens_q' twice, again in line 3"),
        (b"a: " + 200_000 * b"[", "more than 32 levels of nesting in line 1"),
    ],
)
def test_a_prior_is_read_as_strictly_as_parameters(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "prior.yaml"
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=rf"prior.yaml cannot be read as parameters: [^\n]*{reason}[^\n]*\Z"):
        load_prior(str(path))


def test_unknown_priors_are_refused() -> None:
    with pytest.raises(ParameterError, match="'prior' must be one of v1"):
        load_prior("v9")
    with pytest.raises(ParameterError, match=r"absent.yaml cannot be read as parameters: no such file"):
        load_prior("absent.yaml")


def test_row_faults_name_missing_values() -> None:
    rows = drawn("v1", 3)
    broken = rows.set_column(
        rows.column_names.index("src_n"), "src_n", pa.array([1.0, None, float("inf")], pa.float64())
    )
    reasons = faults(broken)
    assert reasons[0] is None
    assert all(str(reason).startswith("'src_n' must be a finite number in [0.3, 8]") for reason in reasons[1:])


def covering() -> Mixture:
    found = load_prior("covering")
    assert isinstance(found, Mixture)
    return found


def test_a_mixture_draws_each_row_of_one_of_its_priors() -> None:
    rows, mixture = drawn("covering", 4000), covering()
    chosen = mixture.chosen(ids(4000), 7)
    np.testing.assert_allclose(np.bincount(chosen) / 4000, mixture.shares, atol=0.03)
    for place, prior in enumerate(mixture.priors):
        alone = drawn(prior.name, 4000).drop_columns("log_prior")
        held = pa.array(np.flatnonzero(chosen == place))
        assert rows.drop_columns("log_prior").take(held).equals(alone.take(held))
    part = draw(mixture, ids(100).slice(40, 7), 7, SURVEY)
    assert part.equals(rows.slice(40, 7).combine_chunks())


def test_the_density_of_a_mixture_is_the_weighted_sum() -> None:
    rows = drawn("covering", 500)
    parts = [np.exp(log_density(prior, rows, SURVEY)) for prior in covering().priors]
    np.testing.assert_allclose(np.exp(rows.column("log_prior").to_numpy()), np.mean(parts, axis=0), rtol=1e-9)


def test_a_grid_of_the_mixture_gives_every_prior_bounded_weights_with_mean_one() -> None:
    rows = drawn("covering", 20000)
    for prior in covering().priors:
        weight = np.exp(log_density(prior, rows, SURVEY) - rows.column("log_prior").to_numpy())
        assert weight.max() <= 4.0 + 1e-9
        np.testing.assert_allclose(weight.mean(), 1.0, atol=5 * weight.std() / np.sqrt(20000))


@pytest.mark.parametrize("name", [*SPEC, *MIXTURES])
def test_a_prior_is_known_by_its_content(name: str) -> None:
    prior = load_prior(name)
    assert prior_of(prior.model_dump(mode="json")) == prior


@pytest.mark.parametrize(("text", "message"), [
    ("meaning: m\nmixture: {v1: 0.5, d06: 0.4}", "shares that add up to 1"),
    ("meaning: m\nmixture: {v1: 0.5, mine: 0.5}", "must be shares of priors .*anchored, bright"),
    ("meaning: m\nmixture: {v1: 1.0}\nsrc_n: 3", "must be one of the known parameters"),
])  # fmt: skip
def test_a_mixture_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / f"bad{abs(hash(text))}.yaml"
    path.write_text(text)
    with pytest.raises(ParameterError, match=message):
        load_prior(str(path))


def text(one: Distribution) -> str:
    match one:
        case Uniform():
            return f"U({one.low:g}, {one.high:g})"
        case AreaUniform():
            return f"sqrt(U({one.low:g}^2, {one.high:g}^2))"
        case Normal():
            return f"N({one.mean:g}, {one.sigma:g})"
        case HalfNormal():
            return f"half-normal {one.sigma:g}"


def test_the_documentation_shows_the_registry() -> None:
    """One row per parameter, one column per prior; where this fails, paste the table that the failure shows."""
    priors = [prior for prior in map(load_prior, registry()) if isinstance(prior, Prior)]
    light = dict.fromkeys(name for prior in priors for name in prior.light)
    rows = [
        ["parameter", *(f"`{prior.name}`" for prior in priors)],
        ["---"] * (1 + len(priors)),
        ["", *(prior.meaning for prior in priors)],
    ]
    for name in (*LENS, *light, *SHAPE, "shear", "clump_fraction", "clump_offset", "clump_size"):
        rows.append([f"`{name}`", *(text(getattr(prior, name)) for prior in priors)])
    rows.append(["`clump_probability`", *(f"{prior.clump_probability:g}" for prior in priors)])
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    page = (Path(__file__).parents[2] / "docs" / "injection.md").read_text()
    assert table.replace("| --- ", "|---").replace("--- |", "---|").replace("|  |", "| |") in page
