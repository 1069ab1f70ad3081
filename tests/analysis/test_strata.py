"""Strata weighted to follow another population."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fitted.strata import follow


def population(rng, size, power):
    return rng.random(size) ** power, rng.random(size)


def test_it_gives_the_share_of_the_population_that_it_follows():
    rng = np.random.default_rng(1)
    sample, target = population(rng, 200_000, 1.0), population(rng, 200_000, 0.4)
    rate = 0.1 + 0.6 * sample[0]
    found = follow(rate, np.arange(200_000), sample, target, 12)
    assert found.change.value == pytest.approx(0.6 * (target[0].mean() - 0.5), abs=0.01)
    assert found.covered == 1.0
    assert found.n_eff < 200_000


def test_strata_are_shares_of_the_target_over_those_of_the_sample():
    found = follow([1.0, 0.0, 0.0, 1.0], list("abcd"), [[1.0, 1.0, 2.0, 2.0]], [[1.1, 0.9, 1.4, 1.8]], 4)
    assert found.weights.tolist() == [1.5, 1.5, 0.5, 0.5]
    assert found.change.value == pytest.approx(0.0)
    alone = follow([1.0, 0.0, 0.0, 1.0], list("abcd"), [[1.0, 1.0, 2.0, 2.0]], [[2.0]], 4)
    assert alone.change.value == pytest.approx(0.0)
    assert alone.weights.tolist() == [0.0, 0.0, 0.5, 0.5]


def test_objects_without_any_of_the_sample_are_not_covered():
    rng = np.random.default_rng(2)
    sample = [np.repeat([1.0, 2.0], 50), rng.random(100)]
    target = [np.repeat([1.0, 2.0], 10), np.r_[rng.random(10), np.full(10, 7.0)]]
    found = follow(rng.random(100) < 0.5, np.arange(100), sample, target, 2)
    assert 0.4 < found.covered < 0.8


@pytest.mark.parametrize("lenses", [60, 400])
def test_coverage_with_few_lenses_and_shared_hosts(lenses):
    rng, held = np.random.default_rng(lenses), 0
    truth = 0.6 * (1.0 / 1.4 - 0.5)
    for _ in range(300):
        hosts = np.repeat(np.arange(300), 4)
        sample, target = population(rng, 1200, 1.0), population(rng, lenses, 0.4)
        u = np.where(rng.random(1200) < 0.4, rng.random(300)[hosts], rng.random(1200))
        found = follow(u < 0.1 + 0.6 * sample[0], hosts, sample[:1], target[:1], 12)
        held += found.change.low <= truth <= found.change.high
    assert held / 300 > 0.92
