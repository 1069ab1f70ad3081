"""The engine in torch beside the processor's: pixels, noise, measurements, the grid's stream; on the CPU device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from injection import device as devices
from injection.config import Quadrature
from injection.device import accelerator
from injection.engine import _torch_formulas, render, tracing
from injection.engine import _torch_rays as torch_rays
from injection.engine._pack import COMPONENT_FIELDS
from injection.experiment import stream
from injection.experiment.conditioning import suppress_core
from injection.experiment.measure import Sky, measure, sigma_from_annulus
from injection.experiment.schema import measured
from injection.optics import _torch_noise as torch_noise
from injection.optics import noise
from injection.optics.psf import Psf
from lake.errors import ParameterError
from lake.sky.survey import PIXEL_SCALE_ARCSEC as SCALE
from lake.sky.survey import SURVEY
from tests.injection.scenes import IMAGES, Brightness, drawn, ids, params, planned, rows, run

CPU = torch.device("cpu")
CORNERS = rows(
    {"lens_q": 1.0}, {"lens_q": 0.2}, {"lens_q": 0.01}, {"lens_q": 1e-8}, {"lens_theta_e_arcsec": 0.0}, {"src_n": 0.5},
    {"src_n": 6.0, "src_re_arcsec": 0.5}, {"src_re_arcsec": 0.02},
    {"src_x_arcsec": 0.0, "src_y_arcsec": 0.0}, {"src_x_arcsec": 12.0},
    {"lens_x_arcsec": 2.0, "lens_gamma1": 0.1, "lens_gamma2": -0.1},
)  # fmt: skip


@pytest.fixture
def torch_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of a GPU runs in torch on the processor."""
    for module in (render, stream):
        monkeypatch.setattr(module, "accelerator", lambda device: None if device == "cpu" else CPU)


def moffats(count: int) -> Psf:
    fwhm = np.random.default_rng(1).uniform(0.8, 2.2, count)
    return Psf.moffat(fwhm[:, None] * np.array(SURVEY.width_ratios), 3.5, includes_pixel=True, imaging=SURVEY)


def agree(table: pa.Table, psf: Psf) -> None:
    """Pixels within 1e-5 of each image's peak, fluxes within 1e-5, as good as the same rays."""
    ours, theirs = (render.render_arcs(table, psf, 101, device=device) for device in ("cpu", "cuda"))
    assert isinstance(theirs.images, Tensor)
    peak = ours.images.max(axis=(2, 3))
    difference = np.abs(theirs.images.numpy() - ours.images).max(axis=(2, 3))
    assert (difference / peak).max() < 1e-5
    np.testing.assert_allclose(theirs.magnification, ours.magnification, rtol=1e-5)
    np.testing.assert_allclose(theirs.flux_on_stamp, ours.flux_on_stamp, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(theirs.rays, ours.rays, rtol=2e-3)


@pytest.mark.usefixtures("torch_engine")
def test_pixels_agree_with_the_processors_engine_over_the_widest_prior() -> None:
    agree(drawn("v1_wide", 60, seed=29), moffats(60))


@pytest.mark.usefixtures("torch_engine")
@pytest.mark.parametrize("includes_pixel", [True, False])
@pytest.mark.parametrize("kind", ["gaussian", "moffat", "image"])
def test_pixels_agree_in_the_corners_with_every_psf(kind: str, includes_pixel: bool) -> None:
    count = CORNERS.num_rows
    kernel = np.broadcast_to(IMAGES["psf_fwhm1p2"], (count, 3, 51, 51))
    psf = {
        "gaussian": lambda: Psf.gaussian(np.full((count, 3), 1.2), includes_pixel, SURVEY),
        "moffat": lambda: Psf.moffat(np.full((count, 3), 1.2), [2.5, 2.84, 3.5], includes_pixel, SURVEY),
        "image": lambda: Psf.from_image(kernel, includes_pixel, SURVEY),
    }[kind]()
    agree(CORNERS, psf)


@pytest.mark.usefixtures("torch_engine")
def test_a_row_is_bit_identical_in_any_batch_order_and_length_of_list(monkeypatch: pytest.MonkeyPatch) -> None:
    table, psf = drawn("v1_wide", 12, seed=31), moffats(12)
    whole = render.render_arcs(table, psf, 101, device="cuda")
    order = np.array([7, 2, 11])
    some = render.render_arcs(table.take(pa.array(order)), psf.take(order), 101, device="cuda")
    assert torch.equal(some.images, whole.images[order])
    np.testing.assert_array_equal(some.magnification, whole.magnification[order])
    monkeypatch.setitem(torch_rays.CELLS, "cpu", 1000)
    short = render.render_arcs(table, psf, 101, device="cuda")
    assert torch.equal(short.images, whole.images)
    np.testing.assert_array_equal(short.rays, whole.rays)


@pytest.mark.usefixtures("torch_engine")
def test_lists_stay_within_the_budget_however_many_injections(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, longest = 30_000, 0
    looked = torch_rays.classify

    def counted(u: Tensor, *others: Any) -> tuple[Tensor, ...]:
        nonlocal longest
        longest = max(longest, len(u))
        return looked(u, *others)

    monkeypatch.setitem(torch_rays.CELLS, "cpu", budget)
    monkeypatch.setattr(torch_rays, "classify", counted)
    fine = Quadrature(
        levels=10,
        one_ray_below=0.1,
        four_rays_below=0.3,
        image_one_ray_below_px=0.3,
        image_four_rays_below_px=0.6,
        negligible_flux=1e-7,
        tail_fraction=1e-6,
    )
    arcs = render.render_arcs(drawn("v1_wide", 8, seed=3), moffats(8), 101, fine, device="cuda")
    assert 10_000 < longest <= budget < arcs.rays.min()


@pytest.mark.usefixtures("torch_engine")
def test_rows_fail_alone_and_other_sources_are_traced_on_the_processor() -> None:
    class Traced:
        def faults(self, table: pa.Table) -> list[str | None]:
            return [None] * table.num_rows

        def trace(self, *scene: Any) -> Any:
            return tracing.trace(*scene)

        def scene(self, *rows: Any) -> None:
            return None

    table, psf = (
        rows({}, {"lens_q": 1.3}, {"src_n": 3.0}),
        Psf.gaussian(np.full((3, 3), 1.1), includes_pixel=True, imaging=SURVEY),
    )
    ours = render.render_arcs(table, psf, 61)
    for sources in (tracing.PARAMETRIC, Traced()):
        theirs = render.render_arcs(table, psf, 61, sources=sources, device="cuda")
        assert theirs.reasons == ours.reasons
        np.testing.assert_allclose(theirs.images.numpy(), ours.images, atol=1e-5 * ours.images.max())
    before = np.ones((3, 3, 61, 61))
    here, there = (noise.updated_inverse_variance(before, arcs.images, 150.0) for arcs in (ours, theirs))
    np.testing.assert_allclose(there.numpy(), here, rtol=1e-5)


@pytest.mark.usefixtures("torch_engine")
def test_light_that_is_not_finite_fails_its_row_only(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = tracing._pack.scene

    def spoiled(*arguments: Any) -> Any:
        scene = packed(*arguments)
        for row, (field, value) in enumerate((("amplitude", np.inf), ("amplitude", 1e30), ("u", np.nan))):
            scene.parts[row, :, COMPONENT_FIELDS.index(field)] = value
        return scene

    monkeypatch.setattr(tracing._pack, "scene", spoiled)
    psf = Psf.gaussian(np.full((4, 3), 1.1), includes_pixel=True, imaging=SURVEY)
    arcs = render.render_arcs(rows({}, {}, {}, {}), psf, 61, device="cuda")
    assert arcs.reasons == ["its lensed light is not finite"] * 3 + [None]
    assert not arcs.images[:3].any()
    assert arcs.images[3].max() > 0
    assert arcs.rays[:3].sum() == 0


def test_noise_is_the_processors_own() -> None:
    rng = np.random.default_rng(4)
    arcs = (10.0 ** rng.uniform(-6, 3, (5, 3, 41, 41))).astype(np.float32)
    arcs[0, 0, 0] = [0.0] * 40 + [-1.0]
    for gain in (0.5, 150.0):
        ours, theirs = (noise.add_poisson(x, gain, 11, ids(5)) for x in (arcs, torch.from_numpy(arcs)))
        np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-5)
        assert (theirs.numpy() == ours).mean() > 0.9999
    sigma = rng.uniform(0.01, 0.1, (5, 3))
    ours, theirs = (noise.add_sky(x, sigma, 11, ids(5)) for x in (arcs, torch.from_numpy(arcs)))
    np.testing.assert_allclose(theirs.numpy(), ours, rtol=1e-5)


def test_random_words_are_identical_integers() -> None:
    keys = np.random.default_rng(0).integers(0, 2**64, 200, dtype=np.uint64)
    ours = [noise._uniform(key, counter) for counter, key in enumerate(keys)]
    theirs = torch_noise.uniform(torch.from_numpy(keys.view(np.int64)), torch.arange(200))
    np.testing.assert_array_equal(theirs.numpy(), ours)


@pytest.mark.parametrize("core", [False, True])
def test_measurements_agree(core: bool) -> None:
    table, psf = drawn("v1", 20, seed=2), moffats(20)
    arcs = render.render_arcs(table, psf, 61)
    rng = np.random.default_rng(3)
    hosts = rng.normal(0.0, 0.02, (20, 3, 61, 61)).astype(np.float32)
    usable = rng.uniform(size=(20, 61, 61)) > 0.1
    usable[1] = False
    there, seen = torch.from_numpy(hosts), torch.from_numpy(usable)
    sigma = sigma_from_annulus(hosts[:, 1], usable, 20.0, 29.0)
    np.testing.assert_allclose(sigma_from_annulus(there[:, 1], seen, 20.0, 29.0), sigma, rtol=1e-12)
    assert np.isnan(sigma[1])
    images = torch.from_numpy(arcs.images)
    if core:
        ours = suppress_core(arcs.images, table, 0.8, SCALE)
        theirs = suppress_core(images, table, 0.8, SCALE)
        np.testing.assert_array_equal(theirs.numpy(), ours)
        images = theirs
    sky, cuts = Sky(np.full(20, 0.02), sigma), params().detectability
    ours = measure(table, replace(arcs, images=images.numpy()), hosts, usable, psf, sky, cuts)
    theirs = measure(table, replace(arcs, images=images), there, seen, psf, sky, cuts)
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-6, err_msg=name)


class OnDevice(Brightness):
    """A scorer of tensors."""

    def score(self, stamps: NDArray[np.float32], conditions: object = None) -> NDArray[np.float32]:
        raise AssertionError("stamps left the device")

    def score_tensor(self, stamps: Tensor) -> NDArray[np.float64]:
        return stamps[:, 1].nan_to_num().sum(dim=(1, 2)).numpy()


CONDITIONED = {
    "poisson_gain_e_per_nmgy": 150.0,
    "sky_noise": "annulus",
    "core_suppression_radius_arcsec": 0.3,
    "per_cell": 3,
}


@pytest.fixture(scope="module")
def streamed() -> tuple[str, pa.Table]:
    """A grid's identity, and its rows by the processor's engine."""
    plan = planned(**CONDITIONED)
    return plan.grid_id, run(plan)


@pytest.mark.usefixtures("torch_engine")
@pytest.mark.parametrize("scorer", [OnDevice(), Brightness()])
def test_the_stream_of_a_device_agrees_with_the_processors(scorer: Any, streamed: tuple[str, pa.Table]) -> None:
    grid_id, ours = streamed
    there = planned(device="cuda", **CONDITIONED)
    assert there.grid_id == grid_id
    theirs = run(there, scorer)
    assert theirs.num_rows > 2 * there.setting.grid.batch_size
    assert theirs.schema == ours.schema
    for name in theirs.column_names:
        if name in measured(SURVEY).names and name not in ("detectable", "arc_images"):
            a, b = (table.column(name).to_numpy() for table in (theirs, ours))
            np.testing.assert_allclose(a, b, rtol=2e-4 if "score" in name else 2e-5, atol=1e-6, err_msg=name)
        else:
            assert theirs.column(name).equals(ours.column(name)), name


def test_pointwise_parts_compile_whole_and_once_for_lists_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    def fused(function: Any, _device: torch.device) -> Any:
        return kernels.setdefault(function, torch.compile(function, dynamic=True, fullgraph=True, backend=backend))

    kernels: dict[Any, Any] = {}
    table, psf = drawn("v1_wide", 3, seed=5), moffats(3)
    monkeypatch.setattr(render, "accelerator", lambda device: CPU)
    plain = render.render_arcs(table, psf, 101, device="cuda").images
    noisy = noise.add_poisson(plain, 150.0, 1, ids(3))
    for module in (torch_rays, torch_noise):
        monkeypatch.setattr(module, "fused", fused)
    images = render.render_arcs(table, psf, 101, device="cuda").images
    assert torch.equal(images, plain)
    assert torch.equal(noise.add_poisson(images, 150.0, 1, ids(3)), noisy)
    assert {_torch_formulas.classify, _torch_formulas.four_rays, _torch_formulas.children} < set(kernels)
    assert len(compiled) <= 2 * len(kernels)


@pytest.mark.slow
def test_compiled_kernels_agree_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """By torch's own compiler, for the processor; what other tests compiled is forgotten first."""
    torch._dynamo.reset()
    monkeypatch.setattr(render, "accelerator", lambda device: None if device == "cpu" else CPU)
    for module in (torch_rays, torch_noise):
        monkeypatch.setattr(module, "fused", lambda function, _device: devices._compiled(function))
    table, psf = drawn("v1_wide", 12, seed=37), moffats(12)
    agree(table, psf)
    arcs = render.render_arcs(table, psf, 101).images
    for add in (
        lambda pixels: noise.add_poisson(pixels, 150.0, 1, ids(12)),
        lambda pixels: noise.add_sky(pixels, np.full((12, 3), 0.02), 1, ids(12)),
    ):
        np.testing.assert_allclose(add(torch.from_numpy(arcs)).numpy(), add(arcs), rtol=1e-5, atol=1e-9)


def test_only_a_gpu_gets_compiled_kernels() -> None:
    assert devices.fused(_torch_formulas.classify, CPU) is _torch_formulas.classify
    assert devices.fused(_torch_formulas.classify, torch.device("cuda")) is not _torch_formulas.classify


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert accelerator("cpu") is None
    for wrong in ("gpu", "cuda:", "cuda:x", "CPU"):
        with pytest.raises(ParameterError, match="'device' must be cpu, cuda or cuda:<number>, got"):
            accelerator(wrong)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for asked in (lambda: accelerator("cuda"), lambda: render.render_arcs(rows({}), moffats(1), 61, device="cuda:1")):
        with pytest.raises(ParameterError, match="'device' must be cpu if torch finds no CUDA GPU"):
            asked()
    with pytest.raises(ParameterError, match="no CUDA GPU"):
        run(planned(device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert accelerator("cuda") == torch.device("cuda", 0)
    assert accelerator("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ParameterError, match="'device' must be cuda:0 to cuda:1 on this machine, got 'cuda:2'"):
        accelerator("cuda:2")
