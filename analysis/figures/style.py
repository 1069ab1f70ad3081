"""One look for every figure: colour-blind-safe colours, readable labels, bytes out."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito (2008): distinct for every common type of colour vision."""
GREY = "#6b7280"
_RC: dict[str, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "dark-halo-scope",
    "svg.fonttype": "path",
    "figure.dpi": 110,
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure: bytes, their type, and words for those who cannot see it."""

    content: bytes
    media_type: Literal["image/png", "image/svg+xml"]
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


def png(figure: Figure, alt: str) -> Picture:
    """The figure as PNG; the same figure gives the same bytes."""
    return Picture(_saved(figure, "png", "Software"), "image/png", alt)


def svg(figure: Figure, alt: str) -> Picture:
    """The figure as SVG; the same figure gives the same bytes."""
    return Picture(_saved(figure, "svg", "Date", "Creator"), "image/svg+xml", alt)


def _saved(figure: Figure, kind: str, *left_out: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=dict.fromkeys(left_out))
    return buffer.getvalue()
