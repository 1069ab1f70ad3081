"""Declared populations of lenses, and histograms as distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy
from astropy import constants, units
from astropy.cosmology import FlatLambdaCDM

from injection.priors.distributions import Binned
from injection.priors.population import Population, Range, shipped
from injection.priors.prior import Mixture
from injection.priors.registry import load_prior
from lake.errors import ParameterError

THETA_E = "lens_theta_e_arcsec"


def collett(**changes: Any) -> Population:
    return Population.load(shipped("collett2015") | changes, "population")


def test_what_is_wrong_inside_is_one_sentence_with_its_place() -> None:
    with pytest.raises(ParameterError) as caught:
        collett(distributions={"src_mag_r": {"kind": "binned", "edges": [23.0, 22.0], "shares": [1.0]}})
    place = "population.distributions.src_mag_r.binned"
    assert str(caught.value) == f"{place}: 'edges' must be ascending, got (23.0, 22.0)"


def test_a_histogram_is_that_of_scipy() -> None:
    edges, shares = (0.5, 1.0, 2.0, 2.5), (2.0, 0.0, 6.0)
    own = Binned(kind="binned", edges=edges, shares=shares)
    other = scipy.stats.rv_histogram((np.array(shares), np.array(edges)), density=False)
    x = np.array([0.4, 0.6, 0.99, 2.1, 2.4999, 2.6])
    with np.errstate(divide="ignore"):
        assert own.log_density(x) == pytest.approx(np.log(other.pdf(x)))
    assert own.log_density([1.5]) == -np.inf
    u = np.array([0.01, 0.1, 0.3, 0.9, 0.999])
    assert own.quantile(u) == pytest.approx(other.ppf(u))
    assert own.support == (0.5, 2.5)


@pytest.mark.parametrize(("edges", "shares", "said"), [
    ([1.0, 1.0], [1.0], "ascending"),
    ([1.0, 2.0, 3.0], [1.0], "2 numbers, one a bin"),
    ([1.0, 2.0], [0.0], "not all 0"),
])  # fmt: skip
def test_a_histogram_is_whole(edges: list[float], shares: list[float], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        Binned.load({"kind": "binned", "edges": edges, "shares": shares}, "prior")


def test_the_shipped_population_is_the_published_forecast() -> None:
    population = collett()
    assert population.lenses_per_deg2.central == pytest.approx(2_400 / 5_000)
    assert population.lenses_per_deg2.low == pytest.approx(0.7 * 1_300 / 5_000, abs=0.005)
    assert population.lenses_per_deg2.high == pytest.approx(1.3 * 2_400 / 5_000, abs=0.005)


def test_its_large_radii_fall_off_as_the_velocity_dispersions_of_galaxies_do() -> None:
    """Choi, Park & Vogeley (2007): phi(s) ~ (s / 161)^2.32 exp(-(s / 161)^2.67) / s, weighted by theta_E^2.

    Above 1.25" seeing hides few lenses, so the share of larger ones is that of galaxies.
    """
    cosmology, z_source = FlatLambdaCDM(70, 0.3), 2.0
    sigma, z = np.linspace(50, 450, 401)[:, None] * units.km / units.s, np.linspace(0.02, 1.5, 60)
    density = (sigma.value / 161) ** 2.32 * np.exp(-((sigma.value / 161) ** 2.67)) / sigma.value
    far = cosmology.angular_diameter_distance(z_source)
    between = far - cosmology.angular_diameter_distance(z) * (1 + z) / (1 + z_source)  # a flat universe
    radii = (4 * np.pi * (sigma / constants.c) ** 2 * between / far).decompose().value * 206_265
    weight = density * cosmology.differential_comoving_volume(z).value * radii**2
    edges, shares = (np.array(collett().distributions[THETA_E].model_dump()[key]) for key in ("edges", "shares"))
    for above, base in ((2.0, 1.5), (1.75, 1.25)):
        listed = shares[edges[:-1] >= above].sum(), shares[edges[:-1] >= base].sum()
        theory = weight[radii > above].sum() / weight[radii > base].sum()
        assert listed[0] / listed[1] == pytest.approx(theory, abs=2 * np.sqrt(theory * (1 - theory) / listed[1]))


def test_it_replaces_the_distributions_that_it_declares() -> None:
    drawn, population = load_prior("anchored"), collett()
    target = population.prior("collett2015", drawn)
    assert target.name == "collett2015"
    assert target.lens_theta_e_arcsec == population.distributions[THETA_E]
    assert target.src_re_arcsec == drawn.src_re_arcsec
    mixture = population.prior("collett2015", load_prior("covering"))
    assert isinstance(mixture, Mixture)
    assert {part.prior.src_mag_r for part in mixture.components} == {population.distributions["src_mag_r"]}
    assert len({part.prior.src_beta_frac for part in mixture.components}) > 1


def test_what_is_declared_must_make_sense() -> None:
    with pytest.raises(ParameterError, match=r"'central' must be between low \(1\) and high \(3\), got 4"):
        Range.load({"low": 1.0, "central": 4.0, "high": 3.0}, "range")
    with pytest.raises(ParameterError, match=r"'in_pool.high' must be at most 1, got 2"):
        collett(in_pool={"low": 0.1, "central": 0.2, "high": 2.0})
    with pytest.raises(ParameterError, match=r"citations"):
        collett(citations=[])
    theta = collett().distributions[THETA_E].model_dump()
    with pytest.raises(ParameterError, match=r"'distributions' must be one of .*did you mean 'lens_theta_e_arcsec'"):
        collett(distributions={"lens_theta_arcsec": theta}).prior("x", load_prior("v1"))
