"""Colour pictures of stamps: composites of their bands, and contact sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure, FigureBase
from numpy.typing import NDArray

from analysis.figures.style import TITLE_LINE_IN, Picture, canvas, png, wrapped
from lake.errors import invalid
from lake.sky.imaging import Imaging

PEDESTAL = 0.03
SOFTENING_Q = 20.0
"""Sky level and softening of the Legacy Surveys' viewer (legacypipe, `sdss_rgb`)."""
Line = tuple[str, NDArray[np.float32], Sequence[str]]
"""Heading, stamps (n, band, y, x) and their labels."""
WIDTH = 8
"""Injections side by side in a sheet."""
_TITLE_PT = 8.5
"""Size of a sheet's title."""


def colour_composite(stamps: NDArray[np.float32], imaging: Imaging) -> NDArray[np.uint8]:
    """Colour images (batch, y, x, rgb) of stamps (batch, band, y, x) in nMgy, as the Legacy Surveys' viewer shows them.

    Red is the reddest band, blue the bluest, green the middle band or the mean of the two in the middle.

    Lupton et al. (2004): one asinh stretch of the mean intensity, the same for all stamps: their brightness can be
    compared. Pixels brighter than the scale are white, as in the viewer. Missing pixels are black; row 0 stays row 0.
    """
    count = len(imaging.bands)
    if stamps.ndim != 4 or stamps.shape[1] != count:
        raise invalid("stamps", f"(batch, {count}, y, x)", stamps.shape)
    weights = np.array(imaging.picture_weights, dtype=np.float32)[None, :, None, None]
    known = np.isfinite(stamps)
    scaled = np.maximum(np.where(known, stamps, 0.0) * weights + PEDESTAL, 0.0)
    intensity = np.maximum(scaled.mean(axis=1, keepdims=True), 1e-9)
    colours = scaled * np.arcsinh(SOFTENING_Q * intensity) / np.sqrt(SOFTENING_Q) / intensity
    shown, bands = np.where(known, colours, 0.0), np.arange(count)
    channels = [np.maximum(1.0 - np.abs(bands - place), 0.0) for place in np.linspace(count - 1, 0, 3)]
    rgb = np.tensordot(shown, np.array(channels, dtype=shown.dtype), axes=(1, 1))
    return np.asarray(np.clip(rgb * 255.0 + 0.5, 0, 255), dtype=np.uint8)


def lines(planes: Mapping[str, NDArray[np.float32]], labels: Sequence[str], labelled: str) -> list[Line]:
    """Rows of a sheet of injections: for every eight of them one row per plane.

    ``planes`` are stamps (batch, band, y, x) by their heading; the labels go under the plane ``labelled``.
    """
    sheet: list[Line] = []
    for start in range(0, len(labels), WIDTH):
        part = slice(start, start + WIDTH)
        for heading, stamps in planes.items():
            own = list(labels[part])
            sheet.append((heading, stamps[part], own if heading == labelled else [""] * len(own)))
    return sheet


def cropped(stamps: NDArray[np.float32], side_arcsec: float, pixel_scale_arcsec: float) -> NDArray[np.float32]:
    """The middle of stamps (batch, band, y, x), or all of them if they are smaller."""
    if not side_arcsec > 0:
        raise invalid("field_arcsec", "positive", side_arcsec)
    pixels = stamps.shape[-1]
    side = min(2 * int(side_arcsec / pixel_scale_arcsec / 2) + pixels % 2, pixels)
    inner = slice((pixels - side) // 2, (pixels + side) // 2)
    return stamps[..., inner, inner]


def contact_sheet(
    rows: Sequence[Line],
    caption: str,
    imaging: Imaging,
    title: str | None = None,
    kind: Callable[[Figure, str], Picture] = png,
) -> Picture:
    """A sheet of colour stamps: per row a heading, stamps (n, band, y, x) in nMgy, and one label per stamp.

    A 5 arcsec bar is drawn in the first stamp. The y axis points up. The title is wrapped to the sheet.
    """
    width, height = sheet_size(rows)
    text = wrapped(title or "", width, _TITLE_PT)
    with canvas(width, height + TITLE_LINE_IN * len(text.splitlines())) as figure:
        if text:
            figure.suptitle(text, fontsize=_TITLE_PT)
        draw_sheet(figure, rows, imaging)
        return kind(figure, caption)


def sheet_size(rows: Sequence[Line]) -> tuple[float, float]:
    """Width and height (inches) that a sheet of these rows takes."""
    if not rows:
        raise invalid("rows", "at least one row of stamps", len(rows))
    label_lines = sum(max((label.count("\n") + 1 if label else 0) for label in labels) for _, _, labels in rows)
    return 1.18 * max(len(stamps) for _, stamps, _ in rows) + 0.5, 1.2 * len(rows) + 0.12 * label_lines + 0.1


def draw_sheet(figure: FigureBase, rows: Sequence[Line], imaging: Imaging) -> None:
    """Draw the rows of a contact sheet into a figure, or a part of one, of :func:`sheet_size`."""
    columns = max(len(stamps) for _, stamps, _ in rows)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for line, (heading, stamps, labels) in zip(panels, rows, strict=True):
        images = colour_composite(stamps, imaging)
        for i, axes in enumerate(line):
            axes.axis("off")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_visible(False)  # otherwise hidden labels count for the place of the title
            if i < len(images):
                axes.imshow(images[i], origin="lower", interpolation="nearest")
                axes.set_title(labels[i], fontsize=6.5, fontweight="normal", pad=2)
        left = line[0]
        left.text(-0.08, 0.5, heading, rotation=90, fontsize=7.5, ha="right", va="center", transform=left.transAxes)
    first, size, length = panels[0][0], rows[0][1].shape[-1], 5.0 / imaging.pixel_scale_arcsec
    first.plot([0.05 * size, 0.05 * size + length], [0.07 * size] * 2, color="white", lw=1.5)
    first.text(0.05 * size + length / 2, 0.1 * size, '5"', color="white", fontsize=6, ha="center", va="bottom")
