"""The density of lens parameters is that of the generator's own draws."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from demo.density import magnitude_density, source_density, theta_e_share
from demo.lensing import draw_system
from demo.sources import early
from injection.priors.registry import draw, load_prior, log_density
from lake.sky.survey import SURVEY
from tests.demo.conftest import tiny_params

LENSES = tiny_params().lenses
COUNT = 4000


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    """Parameters of systems as the generator draws them, in seeing of 1.3 arcsec."""
    rng = np.random.default_rng(3)
    smallest = LENSES.theta_e_over_psfsize_min * 1.3
    systems = [draw_system(rng, LENSES, early(rng, "DEV", np.zeros(2)), smallest) for _ in range(COUNT)]
    names = ("theta_e_arcsec", "src_radius_arcsec", "src_index", "src_q", "src_g_minus_r", "src_r_minus_z", "shear")
    values = {name: np.array([getattr(system, name) for system in systems]) for name in names}
    offset = [np.hypot(s.src_x_arcsec - s.lens_x_arcsec, s.src_y_arcsec - s.lens_y_arcsec) for s in systems]
    return values | {"offset": np.array(offset) / values["theta_e_arcsec"]}


def test_shares_of_einstein_radii(drawn: dict[str, np.ndarray]) -> None:
    edges = np.array([0.8, 1.2, 1.4, 1.6, 1.8, 2.1, 2.5])
    expected = theta_e_share(LENSES, np.full(6, 1.3), edges[:-1], edges[1:])
    np.testing.assert_allclose(np.histogram(drawn["theta_e_arcsec"], edges)[0] / COUNT, expected, atol=0.025)
    assert expected.sum() == pytest.approx(1.0)


def test_weighted_draws_of_a_wider_prior_have_the_moments_of_the_generator(drawn: dict[str, np.ndarray]) -> None:
    prior, ids = load_prior("bright"), pa.array([str(number) for number in range(60_000)])
    rows = draw(prior, ids, 5, SURVEY)
    held = {name: rows[name].to_numpy() for name in rows.column_names if name.startswith(("src_", "lens_g"))}
    others = ("lens_theta_e_arcsec", "lens_q", "lens_x_arcsec", "lens_y_arcsec", "src_mag_r")
    weight = source_density(held) / np.exp(log_density(prior, rows, SURVEY, others))
    held["shear"] = np.hypot(held["lens_gamma1"], held["lens_gamma2"])
    pairs = {"src_beta_frac": "offset", "src_re_arcsec": "src_radius_arcsec", "src_n": "src_index", "src_q": "src_q",
             "src_g_minus_r": "src_g_minus_r", "src_r_minus_z": "src_r_minus_z", "shear": "shear"}  # fmt: skip
    for ours, theirs in pairs.items():
        mean = np.average(held[ours], weights=weight)
        spread = np.sqrt(np.average((held[ours] - mean) ** 2, weights=weight))
        assert mean == pytest.approx(drawn[theirs].mean(), abs=0.06 * drawn[theirs].std() + 0.001), ours
        assert spread == pytest.approx(drawn[theirs].std(), rel=0.06), ours


def test_the_magnitude_has_unit_density() -> None:
    magnitude = np.linspace(18.0, 28.0, 20_001)
    density = magnitude_density(LENSES, 50.0 * 10 ** (-0.4 * (magnitude - 22.0)))
    assert np.trapezoid(density, magnitude) == pytest.approx(1.0, abs=2e-3)
