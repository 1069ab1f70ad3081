"""The lens against mpmath, lenstronomy and analytic limits."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from numba import njit
from numpy.typing import NDArray

from injection.engine import _pack, _rays
from injection.experiment.measure import image_counts
from injection.scene import conventions, lens
from injection.scene.lens import Lens
from injection.scene.sources import components
from tests.injection import images
from tests.injection.scenes import REFERENCE, drawn, reference_lens, rows

NAMED = REFERENCE["deflections"]


@pytest.mark.parametrize("name", NAMED)
def test_deflections_agree_with_mpmath_to_a_micro_arcsecond(name: str) -> None:
    entry = NAMED[name]
    model = reference_lens(entry["params"])
    for point in entry["points"]:
        ax, ay = lens.deflection(point["x"], point["y"], model)
        np.testing.assert_allclose((ax, ay), (point["alpha_x"], point["alpha_y"]), atol=1e-9)


@pytest.mark.parametrize("name", NAMED)
def test_convergence_and_magnification_agree_with_the_reference(name: str) -> None:
    entry = NAMED[name]
    model = reference_lens(entry["params"])
    for point in entry["points"]:
        np.testing.assert_allclose(images.convergence(point["x"], point["y"], model), point["kappa_sie"], rtol=1e-9)
        np.testing.assert_allclose(images.magnification(point["x"], point["y"], model), point["mu"], rtol=1e-6)


def test_deflections_agree_with_lenstronomy_live_on_fifty_draws() -> None:
    table, rng = drawn("v1_wide", 50), np.random.default_rng(1)
    model, many = LensModel(["SIE", "SHEAR"]), Lens.from_rows(table)
    for row in range(50):
        one = many.row(row)
        x, y = rng.uniform(-6, 6, (2, 40))
        theirs = model.alpha(x, y, conventions.lenstronomy_lens(one))
        np.testing.assert_allclose(lens.deflection(x, y, one), theirs, atol=1e-6)


@njit(fastmath=True, nogil=True, error_model="numpy")
def shoot(us: Any, vs: Any, lens: Any, source_us: Any, source_vs: Any) -> None:
    """Source-plane positions of rays, all in the lens's frame (arcsec, float32)."""
    strength, f2, q2, g1, g2 = lens[0], lens[1], lens[2], lens[3], lens[4]
    for i in range(us.size):
        u, v = us[i], vs[i]
        au, av, _ = _rays.isothermal(u, v, q2, f2)
        source_us[i] = u - strength * au - g1 * u - g2 * v
        source_vs[i] = v - strength * av - g2 * u + g1 * v


def test_backend_deflects_like_the_public_formula_within_float32() -> None:
    table, rng = drawn("v1_wide", 50), np.random.default_rng(2)
    many = Lens.from_rows(table)
    lenses = _pack.lens_fields(many)["lenses"]
    for row in range(50):
        one = many.row(row)
        x, y = rng.uniform(-13, 13, (2, 200))
        u, v = one.to_frame(x, y)
        bu, bv = np.empty((2, 200), np.float32)
        shoot(u.astype(np.float32), v.astype(np.float32), lenses[row], bu, bv)
        bx, by = lens.source_position(x, y, one)
        ours = np.add(lens.rotated(bu, bv, -one.pa_rad), [[one.x_arcsec], [one.y_arcsec]])
        np.testing.assert_allclose(ours, (bx, by), atol=1e-5)


EVERY_Q = [1e-300, 1e-15, 1e-8, 1e-4, 0.01, 0.05, 0.2, 0.48, 0.5, 0.9, 0.9999999, 1.0]


def positions_round(q: float, count: int = 400) -> NDArray[np.float32]:
    """Positions (u, v) of all radii and directions, many of them at the major axis, where a flat lens bends most."""
    rng = np.random.default_rng(3)
    near = rng.normal(size=count) * max(q, 1e-9)
    phi = np.concatenate([rng.uniform(0, 2 * np.pi, count), near, np.pi + near, np.pi / 2 + near])
    return (10 ** rng.uniform(-3, 1.2, 4 * count) * [np.cos(phi), np.sin(phi)]).astype(np.float32)


@pytest.mark.parametrize("q", EVERY_Q)
def test_deflections_of_any_axis_ratio_agree_with_mpmath(q: float) -> None:
    """The formula of Kormann et al. as it is printed, in 700 digits."""
    with mpmath.workdps(700):
        exact = mpmath.mpf(q)
        f = mpmath.sqrt(1 - exact**2)
        for u, v in positions_round(q, 10).T.astype(float):
            psi, strength = mpmath.sqrt(exact**2 * mpmath.mpf(u) ** 2 + mpmath.mpf(v) ** 2), 3 * mpmath.sqrt(exact)
            if q == 1.0:
                expected = strength * u / psi, strength * v / psi
            else:
                expected = strength / f * mpmath.atan(f * u / psi), strength / f * mpmath.atanh(f * v / psi)
            found = lens.sie_deflection(u, v, 3.0, q)
            np.testing.assert_allclose(np.array(found, float), [float(part) for part in expected], atol=1e-12)


@pytest.mark.parametrize("q", EVERY_Q)
def test_backend_deflects_lenses_of_any_axis_ratio(q: float) -> None:
    u, v = positions_round(q)
    packed = _pack.lens_fields(Lens.of(*np.array([[3.0, q, 0, 0, 0, 0, 0]]).T))["lenses"][0]
    bu, bv = np.empty((2, len(u)), np.float32)
    shoot(u, v, packed, bu, bv)
    au, av = lens.sie_deflection(u.astype(float), v.astype(float), 3.0, q)
    np.testing.assert_allclose((bu, bv), (u - au, v - av), atol=1e-5)


def test_round_lens_is_the_sis_to_machine_precision() -> None:
    au, av = lens.sie_deflection([0.3, -2.0], [0.4, 1.5], 1.3, 1.0)
    np.testing.assert_allclose(au, 1.3 * np.array([0.6, -0.8]), rtol=1e-15)
    np.testing.assert_allclose(av, 1.3 * np.array([0.8, 0.6]), rtol=1e-15)


@given(q=st.floats(1e-9, 1e-2), x=st.floats(-5, 5), y=st.floats(0.01, 5))
def test_deflection_is_continuous_towards_the_sis(q: float, x: float, y: float) -> None:
    near, exact = lens.sie_deflection(x, y, 1.5, 1.0 - q), lens.sie_deflection(x, y, 1.5, 1.0)
    np.testing.assert_allclose(near, exact, atol=3.0 * q)


def test_deflection_is_finite_and_zero_at_the_centre() -> None:
    assert lens.sie_deflection(0.0, 0.0, 1.5, 0.7) == (0.0, 0.0)
    assert np.isfinite(lens.sie_deflection(0.0, 1e-300, 1.5, 0.7)).all()


@given(
    q=st.floats(0.1, 1.0), pa=st.floats(-3, 3), g1=st.floats(-0.1, 0.1), g2=st.floats(-0.1, 0.1),
    x=st.floats(0.2, 4), y=st.floats(0.2, 4),
)  # fmt: skip
def test_jacobian_is_the_derivative_of_the_source_position(
    q: float, pa: float, g1: float, g2: float, x: float, y: float
) -> None:
    model, h = Lens.of(1.2, q, pa, 0.05, -0.02, g1, g2), 1e-6
    plus, minus = (
        lens.source_position([x + h, x], [y, y + h], model),
        lens.source_position([x - h, x], [y, y - h], model),
    )
    xx, xy = (plus[0] - minus[0]) / (2 * h)
    yx, yy = (plus[1] - minus[1]) / (2 * h)
    np.testing.assert_allclose(images.jacobian(x, y, model), (xx, xy, yy), atol=1e-7)
    np.testing.assert_allclose(xy, yx, atol=1e-7)


def test_pure_shear_magnifies_and_stretches_as_it_must() -> None:
    entry = REFERENCE["analytic"]["pure_shear_g005"]
    model = Lens.of(0.0, 1.0, 0.0, 0.0, 0.0, 0.05, 0.0)
    np.testing.assert_allclose(images.magnification(1.0, 2.0, model), entry["mu"], rtol=1e-12)
    xx, _, yy = images.jacobian(1.0, 2.0, model)
    np.testing.assert_allclose(xx / yy, entry["axis_ratio"], rtol=1e-12)


@pytest.mark.parametrize("name", REFERENCE["images"])
def test_point_images_and_magnifications(name: str) -> None:
    entry = REFERENCE["images"][name]
    model = reference_lens(NAMED[entry["lens"]]["params"])
    found = images.point_images(*entry["source"], model)
    assert len(found.x_arcsec) == entry["n_images"]
    theirs = sorted(entry["images"], key=lambda image: -abs(image["mu"]))
    np.testing.assert_allclose(found.x_arcsec, [image["x"] for image in theirs], atol=1e-6)
    np.testing.assert_allclose(found.y_arcsec, [image["y"] for image in theirs], atol=1e-6)
    np.testing.assert_allclose(found.magnification, [image["mu"] for image in theirs], rtol=1e-5)


@pytest.mark.parametrize("q", [1e-4, 0.01, 0.05, 0.2])
def test_images_of_flat_lenses_map_back_and_are_counted_by_the_backend(q: float) -> None:
    rng = np.random.default_rng(8)
    table = rows(*(
        {"lens_q": q, "src_x_arcsec": x, "src_y_arcsec": y, "lens_pa_rad": 0.7}
        for x, y in rng.uniform(-0.5, 0.5, (60, 2))
    ))  # fmt: skip
    many, counts = Lens.from_rows(table), image_counts(table)
    places = zip(table["src_x_arcsec"].to_pylist(), table["src_y_arcsec"].to_pylist(), strict=True)
    agree = 0
    for row, (x, y) in enumerate(places):
        found = images.point_images(x, y, many.row(row))
        bx, by = lens.source_position(found.x_arcsec, found.y_arcsec, many.row(row))
        np.testing.assert_allclose((bx, by), [[x] * len(bx), [y] * len(by)], atol=1e-9)
        assert 1 <= len(found.x_arcsec) <= 4
        agree += counts[row] == len(found.x_arcsec)
    assert agree >= 58


@given(x=st.floats(-2, 2), y=st.floats(-2, 2), q=st.floats(0.3, 0.98), g=st.floats(-0.08, 0.08))
def test_every_image_maps_back_to_its_source(x: float, y: float, q: float, g: float) -> None:
    model = Lens.of(1.4, q, 0.7, 0.1, -0.1, g, -g / 2)
    found = images.point_images(x, y, model)
    assert len(found.x_arcsec) >= 1
    bx, by = lens.source_position(found.x_arcsec, found.y_arcsec, model)
    np.testing.assert_allclose(bx, x, atol=1e-9)
    np.testing.assert_allclose(by, y, atol=1e-9)


@pytest.mark.parametrize("name", REFERENCE["caustics"])
def test_critical_and_caustic_areas(name: str) -> None:
    entry, model = REFERENCE["caustics"][name], reference_lens(NAMED[name]["params"])
    np.testing.assert_allclose(
        images.enclosed_area(*images.critical_curve(model, 4000)), entry["critical_curve_area"], rtol=1e-5
    )
    np.testing.assert_allclose(
        images.enclosed_area(*images.caustic(model, 4000)), entry["tangential_caustic_area"], rtol=1e-3
    )
    np.testing.assert_allclose(
        images.enclosed_area(*images.cut(model, 4000)), entry["cut_pseudocaustic_area"], rtol=1e-4
    )


@given(q=st.floats(1e-6, 1.0), pa=st.floats(-3, 3), theta_e=st.floats(0.1, 5))
def test_critical_curve_without_shear_encloses_pi_theta_e_squared(q: float, pa: float, theta_e: float) -> None:
    model = Lens.of(theta_e, q, pa, 0, 0, 0, 0)
    area = images.enclosed_area(*images.critical_curve(model, 3000))
    np.testing.assert_allclose(area, np.pi * theta_e**2, rtol=1e-4)


def test_conventions_round_trip() -> None:
    model = Lens.of(1.6, 0.55, 1.1, 0.05, -0.08, 0.04, -0.03)
    back = conventions.from_lenstronomy_lens(conventions.lenstronomy_lens(model))
    for name in model.__dataclass_fields__:
        np.testing.assert_allclose(getattr(back, name), getattr(model, name), atol=1e-12)


def test_sources_go_to_lenstronomy_and_back_as_the_same_profile() -> None:
    parts, x = components(drawn("v1_wide", 20)), np.linspace(-1.0, 1.0, 40)
    light = LightModel(["SERSIC_ELLIPSE"])
    for row in range(20):
        kwargs = conventions.lenstronomy_source(parts, row)
        back, flux = conventions.from_lenstronomy_source([{**one, "amp": 3.0 * one["amp"]} for one in kwargs])
        np.testing.assert_allclose(flux, 3.0, rtol=1e-12)
        sx, sy = parts.x_arcsec[row, 0] + x, parts.y_arcsec[row, 0] + 0.3 * x
        ours = parts.brightness(sx, sy, row)
        np.testing.assert_allclose(back.brightness(sx, sy, 0), ours, rtol=1e-9)
        theirs = sum(light.surface_brightness(sx, sy, [one]) for one in kwargs)
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-6 * ours.max())
