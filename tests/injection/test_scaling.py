"""Cost of many injections: rays and memory, which do not depend on how busy the machine is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from injection.engine import render
from injection.optics import noise
from injection.optics.psf import Psf
from lake.sky.survey import SURVEY
from tests.injection.scenes import drawn, ids

PIXELS = 61


def rendered(count: int) -> render.Arcs:
    psf = Psf.gaussian(np.full((count, 3), 1.2), includes_pixel=True, imaging=SURVEY)
    return render.render_arcs(drawn("v1_wide", count), psf, PIXELS)


def peak_bytes(work: Callable[[], object]) -> int:
    """Most memory that arrays and objects held at once during some work."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("whole_stage")
def test_memory_of_a_stream_of_batches_is_that_of_one_batch() -> None:
    rendered(64)

    def batch() -> None:
        noise.add_poisson(rendered(64).images, 150.0, 1, ids(64))

    one, many = (peak_bytes(lambda count=count: [batch() for _ in range(count)]) for count in (1, 12))
    stamps = 64 * 3 * PIXELS**2 * 4
    assert one > stamps
    assert many - one < 0.05 * stamps, "what eleven more batches leave"


def test_a_large_batch_needs_little_beside_its_stamps() -> None:
    rendered(8)
    small, large = 64, 512
    beside = [peak_bytes(lambda count=count: rendered(count)) - count * 3 * PIXELS**2 * 4 for count in (small, large)]
    assert beside[1] < beside[0] + (large - small) * PIXELS**2 * 4 / 4


def test_rays_grow_as_the_number_of_injections() -> None:
    rays = rendered(600).rays
    np.testing.assert_array_equal(rendered(200).rays, rays[:200])
    thirds = rays.reshape(3, 200).mean(axis=1)
    np.testing.assert_allclose(thirds, rays.mean(), rtol=0.1)
    assert rays.max() < 20 * np.median(rays)
