"""Contact sheets of injections: the same lines for every command and for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lake.errors import invalid

Images = NDArray[np.float32]
Line = tuple[str, Images, list[str]]
WIDTH = 8
"""Injections side by side."""


def lines(planes: Mapping[str, Images], labels: Sequence[str], labelled: str) -> list[Line]:
    """Lines (heading, stamps, labels) of a sheet: for every eight injections one line per plane.

    ``planes`` are stamps (batch, band, y, x) by their heading; the labels go under the plane ``labelled``.
    """
    sheet = []
    for start in range(0, len(labels), WIDTH):
        part = slice(start, start + WIDTH)
        for heading, stamps in planes.items():
            own = list(labels[part])
            sheet.append((heading, stamps[part], own if heading == labelled else [""] * len(own)))
    return sheet


def cropped(stamps: Images, side_arcsec: float, pixel_scale_arcsec: float) -> Images:
    """The middle of stamps (batch, band, y, x), or all of them if they are smaller."""
    if not side_arcsec > 0:
        raise invalid("field_arcsec", "positive", side_arcsec)
    pixels = stamps.shape[-1]
    side = min(2 * int(side_arcsec / pixel_scale_arcsec / 2) + pixels % 2, pixels)
    inner = slice((pixels - side) // 2, (pixels + side) // 2)
    return stamps[..., inner, inner]
