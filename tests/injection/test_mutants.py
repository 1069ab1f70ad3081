"""Mistakes that other codes have made must fail the tests of the lens and of the renderer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from injection.scene import lens, sources
from tests.injection import test_lens, test_render

Array = NDArray[np.float64]


def _parts(u: Any, v: Any, theta_e: Any, q: Any) -> tuple[Array, Array, Array, Array]:
    f = np.sqrt(1.0 - np.square(q)) + 1e-12
    return np.asarray(theta_e) * np.sqrt(q) / f, f * np.asarray(u), f * np.asarray(v), np.hypot(np.multiply(q, u), v)


def denominator_with_q_squared(u: Any, v: Any, theta_e: Any, q: Any) -> tuple[Array, Array]:
    strength, fu, fv, psi = _parts(u, v, theta_e, q)
    return strength * np.arctan(fu / psi), strength * np.arctanh(np.clip(fv / (psi + np.square(q)), -0.999, 0.999))


def arctangents_swapped(u: Any, v: Any, theta_e: Any, q: Any) -> tuple[Array, Array]:
    strength, fu, fv, psi = _parts(u, v, theta_e, q)
    return strength * np.arctanh(np.clip(fu / psi, -0.999, 0.999)), strength * np.arctan(fv / psi)


def prefactor_q(u: Any, v: Any, theta_e: Any, q: Any) -> tuple[Array, Array]:
    strength, fu, fv, psi = _parts(u, v, np.asarray(theta_e) * np.sqrt(q), q)
    return strength * np.arctan(fu / psi), strength * np.arctanh(np.clip(fv / psi, -0.999999, 0.999999))


MUTANTS = [denominator_with_q_squared, arctangents_swapped, prefactor_q]


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize(
    "check",
    [
        lambda: test_lens.test_deflections_agree_with_mpmath_to_a_micro_arcsecond("C_sie_flat_shear"),
        test_lens.test_deflections_agree_with_lenstronomy_live_on_fifty_draws,
        test_lens.test_backend_deflects_like_the_public_formula_within_float32,
    ],
    ids=["mpmath", "lenstronomy", "backend"],
)
def test_a_wrong_deflection_fails(
    mutant: Callable[..., Any], check: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lens, "sie_deflection", mutant)
    with pytest.raises(AssertionError):
        check()


def test_an_approximate_b_n_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_render, "b_n", lambda n: 1.9992 * n - 0.3271)
    monkeypatch.setattr(sources, "b_n", lambda n: 1.9992 * np.asarray(n) - 0.3271)
    with pytest.raises(AssertionError):
        test_render.test_b_n_is_exact_and_the_total_flux_analytic()


def test_point_sampling_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = test_render.render.STANDARD.model_copy(update={"levels": 0, "one_ray_below": 1e9})
    monkeypatch.setattr(test_render.render, "STANDARD", coarse)
    with pytest.raises(AssertionError):
        test_render.test_lensed_flux_and_image_agree_with_the_reference("B2")
