"""Time and accuracy of injections, this engine and others, on the same draws: `python -m benchmarks.injection`.

Times are processor time of one thread, per injection in three bands with PSF convolution and without noise, which is
timed apart. Accuracy is the lensed flux and the convolved r-band peak against this engine run to convergence (which the
tests hold to an independent integrator and to reference values). caustics takes part where it is installed
(`pip install caustics`). A GPU is measured by `python -m benchmarks.gpu`.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from lenstronomy.Data.pixel_grid import PixelGrid
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.ImSim.Numerics.convolution import PixelKernelConvolution
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.SimulationAPI.sim_api import SimAPI
from numpy.typing import NDArray

from injection.engine import render, tracing
from injection.engine.accuracy import CONVERGED
from injection.optics import noise
from injection.optics.psf import Psf
from injection.priors.registry import draw, load_prior
from injection.scene import conventions
from injection.scene.lens import Lens
from injection.scene.sources import components, total_flux
from lake.sky.survey import PIXEL_SCALE_ARCSEC, SURVEY

PIXELS, DRAWS, SLOW_DRAWS, BATCH, FWHM_ARCSEC = 101, 1000, 20, 256, 1.2
BAND_FWHMS_ARCSEC = FWHM_ARCSEC * np.array(SURVEY.width_ratios)

Image = NDArray[np.floating[Any]]


def rows_and_psf(first: int = 0, count: int = DRAWS) -> tuple[pa.Table, Psf]:
    """Draws of the widest prior, and a Gaussian PSF, which every code has."""
    ids = pa.array([f"benchmark-{k}" for k in range(first, first + count)])
    fwhm = np.tile(BAND_FWHMS_ARCSEC, (count, 1))
    return draw(load_prior("v1_wide"), ids, 20261121, SURVEY), Psf.gaussian(fwhm, includes_pixel=False, imaging=SURVEY)


def truth(rows: pa.Table, psf: Psf) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Converged flux on the stamp and r-band peak, of unit source flux."""
    flux, peak = [], []
    for start in range(0, rows.num_rows, 20):
        images, _ = tracing.trace(rows.slice(start, 20), PIXELS, CONVERGED, SURVEY.pixel_scale_arcsec)
        square = images[:, :-1].reshape(-1, PIXELS, PIXELS)
        flux.append(square.sum(axis=(1, 2), dtype=np.float64))
        seen = render.convolve(square, psf.take(slice(start, start + len(square))), np.ones((len(square), 3)))
        peak.append(seen[:, 1].max(axis=(1, 2)))
    return np.concatenate(flux), np.concatenate(peak)


def sim_api(rows: pa.Table) -> Iterator[list[Image]]:
    """lenstronomy as its documentation shows it: a SimAPI per band and injection, 4 x 4 supersampling."""
    lens, parts = Lens.from_rows(rows), components(rows)
    for row in range(rows.num_rows):
        light = conventions.lenstronomy_source(parts, row)
        kwargs_model = {"lens_model_list": ["SIE", "SHEAR"], "source_light_model_list": ["SERSIC_ELLIPSE"] * len(light)}
        bands = []
        for fwhm in BAND_FWHMS_ARCSEC:
            band = {
                "pixel_scale": PIXEL_SCALE_ARCSEC, "exposure_time": 90.0, "magnitude_zero_point": 22.5,
                "read_noise": 5.0,
                "ccd_gain": 4.0, "sky_brightness": 21.0, "seeing": fwhm, "num_exposures": 3, "psf_type": "GAUSSIAN",
            }  # fmt: skip
            model = SimAPI(PIXELS, band, kwargs_model).image_model_class({"supersampling_factor": 4})
            bands.append(model.image(conventions.lenstronomy_lens(lens.row(row)), light))
        yield bands


def kernels() -> list[NDArray[np.float64]]:
    """The bands' Gaussian PSFs as pixel images."""
    y, x = np.mgrid[-25:26, -25:26] * PIXEL_SCALE_ARCSEC
    shapes = [np.exp(-4.0 * np.log(2.0) * (x**2 + y**2) / fwhm**2) for fwhm in BAND_FWHMS_ARCSEC]
    return [shape / shape.sum() for shape in shapes]


class Reused:
    """lenstronomy with its classes kept from one injection to the next: the rays once, a convolution per band."""

    def __init__(self, numerics: dict[str, Any]) -> None:
        corner = -(PIXELS // 2) * PIXEL_SCALE_ARCSEC
        self.grid = PixelGrid(PIXELS, PIXELS, np.eye(2) * PIXEL_SCALE_ARCSEC, corner, corner)
        self.convolutions = [PixelKernelConvolution(kernel) for kernel in kernels()]
        self.numerics, self.models = numerics, dict[int, ImageModel]()

    def images(self, rows: pa.Table) -> Iterator[list[Image]]:
        lens, parts = Lens.from_rows(rows), components(rows)
        for row in range(rows.num_rows):
            light = conventions.lenstronomy_source(parts, row)
            if len(light) not in self.models:
                psf = PSF("PIXEL", kernel_point_source=np.pad([[1.0]], 25))
                lens_model, light_model = LensModel(["SIE", "SHEAR"]), LightModel(["SERSIC_ELLIPSE"] * len(light))
                self.models[len(light)] = ImageModel(
                    self.grid, psf, lens_model, light_model, kwargs_numerics=self.numerics
                )
            image = self.models[len(light)].image(conventions.lenstronomy_lens(lens.row(row)), light, unconvolved=True)
            yield [convolution.convolution2d(image) for convolution in self.convolutions]


class Caustics:
    """caustics in float64 at 4 x 4: the rays once per injection, then lenstronomy's convolution per band."""

    def __init__(self) -> None:
        self.convolutions = [PixelKernelConvolution(kernel) for kernel in kernels()]
        self.simulators = dict[int, Any]()

    def simulator(self, count: int) -> Any:
        """A simulator of as many source components."""
        import caustics

        cosmology = caustics.FlatLambdaCDM()
        masses = [caustics.SIE(cosmology=cosmology), caustics.ExternalShear(cosmology=cosmology)]
        lens = caustics.SinglePlane(cosmology=cosmology, lenses=masses, z_l=0.5, z_s=1.5)
        light = [caustics.Sersic(name=f"part{k}") for k in range(count)]
        source = light[0] if count == 1 else caustics.LightStack(light)
        return caustics.LensSource(lens, source, PIXEL_SCALE_ARCSEC, PIXELS, upsample_factor=4)

    def images(self, rows: pa.Table) -> Iterator[list[Image]]:
        lens, parts = Lens.from_rows(rows), components(rows)
        for row in range(rows.num_rows):
            one, present = lens.row(row), np.flatnonzero(parts.fraction[row] > 0)
            values = [
                one.x_arcsec, one.y_arcsec, one.q, one.pa_rad, one.theta_e_arcsec,
                one.x_arcsec, one.y_arcsec, one.gamma1, one.gamma2,
            ]  # fmt: skip
            for k in present:
                n, q, size = parts.n[row, k], parts.q[row, k], parts.re_arcsec[row, k]
                major = size / np.sqrt(q)
                bright = PIXEL_SCALE_ARCSEC**2 * parts.fraction[row, k] / total_flux(n, 1.0, size)
                values += [parts.x_arcsec[row, k], parts.y_arcsec[row, k], q, parts.pa_rad[row, k], n, major, bright]
            if len(present) not in self.simulators:
                self.simulators[len(present)] = self.simulator(len(present))
            image = self.simulators[len(present)](torch.from_numpy(np.array(values, dtype=np.float64))).numpy()
            yield [convolution.convolution2d(image) for convolution in self.convolutions]


def timed(images: Iterator[list[Image]]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Milliseconds per injection after the first, r-band flux and peak of each."""
    flux, peak, start = [], [], 0.0
    for count, bands in enumerate(images):
        if count == 0:
            start = time.thread_time()
        flux.append(bands[1].sum())
        peak.append(bands[1].max())
    return 1e3 * (time.thread_time() - start) / (len(flux) - 1), np.array(flux), np.array(peak)


def ours(rows: pa.Table, psf: Psf) -> tuple[float, render.Arcs]:
    """Milliseconds per injection, best of three, and the arcs."""
    render.render_arcs(rows.slice(0, 64), psf.take(slice(0, 64)), PIXELS)
    best = np.inf
    for _ in range(3):
        start = time.thread_time()
        arcs = render.render_arcs(rows, psf, PIXELS)
        best = min(best, time.thread_time() - start)
    return 1e3 * best / rows.num_rows, arcs


def report(name: str, milliseconds: float, base: float, errors: tuple[Image, Image]) -> None:
    text = "  ".join(
        f"{label} {np.median(e):.2%} / {np.percentile(e, 95):.2%} / {e.max():.2%}"
        for label, e in zip(("flux", "peak"), errors, strict=True)
    )
    print(f"{name:44s} {milliseconds:9.3f} ms {milliseconds / base:8.1f} x   {text}")


def poisson(arcs: render.Arcs) -> None:
    """Time of the arcs' Poisson noise, of few and of many electrons per nanomaggy."""
    ids = pa.array([str(k) for k in range(len(arcs.images))])
    for gain in (10.0, 150.0, 10_000.0):
        noise.add_poisson(arcs.images[:8], gain, 1, ids.slice(0, 8))
        start = time.thread_time()
        noise.add_poisson(arcs.images, gain, 1, ids)
        milliseconds = 1e3 * (time.thread_time() - start) / len(ids)
        print(f"Poisson noise, {gain:g} electrons per nMgy: {milliseconds:.3f} ms")


def streamed(count: int) -> tuple[float, float]:
    """Milliseconds per injection, drawing included, and peak memory (MB) of a process that renders batch by batch."""
    ours(*rows_and_psf(0, BATCH))
    start = time.thread_time()
    for first in range(0, count, BATCH):
        render.render_arcs(*rows_and_psf(first, min(BATCH, count - first)), PIXELS)
    spent = 1e3 * (time.thread_time() - start) / count
    return spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def scaling() -> None:
    """Time and peak memory of more and more injections, each number in a process of its own."""
    for count in (1_000, 4_000, 16_000):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            milliseconds, megabytes = pool.apply(streamed, (count,))
        print(f"{count:6d} injections in batches of {BATCH}: {milliseconds:.3f} ms each, peak {megabytes:.0f} MB")


def main() -> None:
    torch.set_num_threads(1)
    rows, psf = rows_and_psf()
    flux, peak = truth(rows, psf)
    source = 10 ** (-0.4 * (rows.column("src_mag_r").to_numpy() - 22.5))
    base, arcs = ours(rows, psf)
    print(f'{DRAWS} draws of v1_wide, {PIXELS} px, FWHM {FWHM_ARCSEC}"; errors: median / 95 % / largest')
    ours_peak = arcs.images[:, 1].max(axis=(1, 2)) / source
    report(
        f"this engine ({arcs.rays.mean():.0f} rays)", base, base,
        (np.abs(arcs.flux_on_stamp / flux - 1), np.abs(ours_peak / peak - 1)),
    )  # fmt: skip
    few = rows.slice(0, SLOW_DRAWS)
    others: dict[str, Callable[[], Iterator[list[Image]]]] = {
        "lenstronomy, SimAPI per band, 4 x 4": lambda: sim_api(few),
        "lenstronomy, classes reused, 4 x 4": lambda: Reused({"supersampling_factor": 4}).images(few),
        "lenstronomy, adaptive 4 x 4": lambda: Reused(_adaptive()).images(few),
    }
    if importlib.util.find_spec("caustics"):
        others["caustics, 4 x 4"] = lambda: Caustics().images(few)
    else:
        print("caustics is not installed: left out")
    for name, images in others.items():
        milliseconds, their_flux, their_peak = timed(images())
        errors = (np.abs(their_flux / flux[:SLOW_DRAWS] - 1), np.abs(their_peak / peak[:SLOW_DRAWS] - 1))
        report(name, milliseconds, base, errors)
    poisson(arcs)
    scaling()


def _adaptive() -> dict[str, Any]:
    """lenstronomy's adaptive numerics: supersampled within 4 arcsec of the centre only."""
    half = PIXELS // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1] * PIXEL_SCALE_ARCSEC
    mask = np.hypot(x, y) < 4.0
    return {"supersampling_factor": 4, "compute_mode": "adaptive", "supersampled_indexes": mask}


if __name__ == "__main__":
    main()
