"""One look for every figure: colour-blind-safe colours, readable labels, bytes out."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from textwrap import wrap
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.compact import compact

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito (2008): distinct for every common type of colour vision."""
GREY = "#737f8c"
"""Legible on white and on the dark page."""
INK = "#111111"
"""Text on coloured ground, where the page's colour of text does not matter."""
TITLE_PT = 10.0
"""Size of a figure's title."""
TITLE_LINE_IN = 0.18
"""Height of one of its lines."""
_LETTERS_PER_INCH = 119.0
"""Letters of one point that fit on an inch."""
_QUALITY = 80
_RC: dict[str, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.facecolor": "none",
    "grid.color": GREY,
    "grid.alpha": 0.2,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "dark-halo-scope",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "figure.dpi": 110,
}


MediaType = Literal["image/png", "image/webp", "image/svg+xml", "application/pdf"]
_PAPER = ContextVar("paper", default=False)


@contextmanager
def paper() -> Iterator[None]:
    """Within this block every figure is drawn as PDF, for print; the same figure gives the same bytes."""
    before = _PAPER.set(True)
    try:
        yield
    finally:
        _PAPER.reset(before)


@dataclass(frozen=True)
class Picture:
    """A drawn figure: bytes, their type, and words for those who cannot see it."""

    content: bytes
    media_type: MediaType
    alt: str

    @property
    def data_uri(self) -> str:
        """The picture as text to embed in a page."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.content).decode()}"


@contextmanager
def canvas(width_in: float, height_in: float) -> Iterator[Figure]:
    """A figure in the project's style; no global state of the plotting library is touched."""
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def wrapped(text: str, width_in: float, size_pt: float) -> str:
    """A title on as many lines as a figure of this width needs."""
    letters = int(width_in * _LETTERS_PER_INCH / size_pt)
    return "\n".join(line for part in text.splitlines() for line in wrap(part, letters))


def png(figure: Figure, alt: str) -> Picture:
    """The figure as PNG; the same figure gives the same bytes."""
    return _pdf(figure, alt) or Picture(_saved(figure, "png", "Software"), "image/png", alt)


def webp(figure: Figure, alt: str) -> Picture:
    """The figure as WebP, for photographs: a tenth of a PNG, with losses that the eye does not see."""
    options = {"quality": _QUALITY, "method": 4}
    return _pdf(figure, alt) or Picture(_saved(figure, "webp", pil_kwargs=options), "image/webp", alt)


def svg(figure: Figure, alt: str) -> Picture:
    """The figure as SVG without a background; the same figure gives the same bytes."""
    if (printed := _pdf(figure, alt)) is not None:
        return printed
    figure.set_facecolor("none")
    text = _saved(figure, "svg", "Date", "Creator").decode()
    return Picture(compact(text).encode(), "image/svg+xml", alt)


def _pdf(figure: Figure, alt: str) -> Picture | None:
    if not _PAPER.get():
        return None
    return Picture(_saved(figure, "pdf", "CreationDate", "Creator", "Producer"), "application/pdf", alt)


def _saved(figure: Figure, kind: str, *left_out: str, **options: Any) -> bytes:
    """Printed by the canvas of the format, which lays out as it draws; `savefig` would draw twice."""
    buffer = io.BytesIO()
    printed = getattr(get_registered_canvas_class(kind)(figure), f"print_{kind}")
    printed(buffer, metadata=dict.fromkeys(left_out) or None, **options)
    return buffer.getvalue()
