"""The picture of an injection validation: distributions above, examples below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.comparisons.validation import (
    BARE,
    FLUX_ERROR_MAX,
    FLUX_ERROR_P95_MAX,
    INJECTIONS,
    LENSES,
    NOISE_RATIO,
    SATURATED_ABOVE,
    SATURATED_BELOW,
    SUPPRESSED,
    Evidence,
    arc_colour,
)
from analysis.figures.stamps import Line, draw_sheet, sheet_size
from analysis.figures.style import COLOURS, GREY, Picture, canvas, png
from analysis.records import Outcome
from injection.experiment.arc_finder import FOUND_SNR

Array = NDArray[np.float64]

TRUE = "injected, true"
_COLOUR = dict(zip((INJECTIONS, LENSES, BARE, SUPPRESSED, TRUE), COLOURS, strict=False))
_HEIGHT_IN = 5.6


def validation_sheet(evidence: Evidence, outcome: Outcome, gallery: Sequence[Line], title: str) -> Picture:
    """Scores, detection, arcs against real ones, noise and accuracy; below, rows of a contact sheet."""
    width, sheet_height = sheet_size(gallery)
    with canvas(width, _HEIGHT_IN + sheet_height) as figure:
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[_HEIGHT_IN, sheet_height])[:, 0]
        above.suptitle(title, fontsize=9)
        panels = above.subplots(2, 3)
        _scores(panels[0][0], evidence.probability)
        _detection(panels[0][1], outcome)
        _noise(panels[0][2], evidence.noise_ratio)
        _snr(panels[1][0], evidence)
        _colours(panels[1][1], evidence)
        _accuracy(panels[1][2], evidence)
        for axes in panels.flat:
            low, high = axes.get_ylim()  # room for the legend above the curves
            axes.set_ylim(low, high * (high / low) ** 0.45 if axes.get_yscale() == "log" else low + 1.45 * (high - low))
            axes.legend(fontsize=6.5, loc="upper right")
            axes.tick_params(labelsize=8)
        draw_sheet(below, gallery, evidence.imaging)
        return png(figure, f"Validation of injections: {title}")


def _scores(axes: Axes, probability: Mapping[str, Array]) -> None:
    for name, values in probability.items():
        _steps(axes, values, np.linspace(0.0, 1.0, 26), name)
    for edge in (SATURATED_BELOW, SATURATED_ABOVE):
        axes.axvline(edge, color=GREY, lw=0.8, ls=":")
    axes.set_yscale("log")
    _name(axes, "Scores", "probability", "share of stamps")


def _detection(axes: Axes, outcome: Outcome) -> None:
    kinds = {"detected": INJECTIONS, "detected_core_suppressed": SUPPRESSED, "host_false_positives": BARE}
    for place, (prefix, name) in enumerate(kinds.items()):
        found = [measure for measure in outcome.measures if measure.name.startswith(f"{prefix}/p")]
        x = np.array([float(measure.name.rpartition("/p")[2]) for measure in found]) + 0.015 * (place - 1)
        value, low, high = (100.0 * np.array([getattr(m, part) for m in found]) for part in ("value", "low", "high"))
        axes.errorbar(x, value, [value - low, high - value], fmt="o", ms=4, capsize=2, color=_COLOUR[name], label=name)
    axes.set_ylim(bottom=0)
    _name(axes, "Found, with 95 % intervals", "threshold on the probability", "share found (%)")


def _noise(axes: Axes, ratio: Array) -> None:
    known = ratio[np.isfinite(ratio)]
    _steps(axes, known, np.geomspace(0.4, 2.5, 31), "hosts", COLOURS[0])
    if len(known):
        axes.axvline(float(np.median(known)), color=COLOURS[0], lw=1.2, ls="--", label=f"median {np.median(known):.2f}")
    axes.axvspan(*NOISE_RATIO, color=GREY, alpha=0.12, lw=0, label="allowed for the median")
    axes.set_xscale("log")
    axes.set_xticks([0.5, 0.7, 1.0, 1.4, 2.0], ["0.5", "0.7", "1", "1.4", "2"])
    axes.minorticks_off()
    _name(axes, "Noise of the host against psfdepth", "MAD noise / depth's noise", "share of injections")


def _snr(axes: Axes, evidence: Evidence) -> None:
    bins = np.geomspace(1.0, 1000.0, 31)
    for name, found in evidence.arcs.items():
        _steps(axes, found.snr, bins, name)
    _steps(axes, evidence.scored["arc_snr"].to_numpy(), bins, TRUE, ls="--")
    axes.axvline(FOUND_SNR, color=GREY, lw=0.8, ls=":")
    axes.set_xscale("log")
    x = f"arc SNR in {evidence.imaging.reference_band} (none: first bin)"
    _name(axes, "Arc SNR, measured on the stamps", x, "share of stamps")


def _colours(axes: Axes, evidence: Evidence) -> None:
    bins = np.linspace(-1.5, 2.5, 33)
    for name, found in evidence.arcs.items():
        _steps(axes, found.colour[found.found], bins, name)
    _steps(axes, arc_colour(evidence.scored, evidence.imaging), bins, TRUE, ls="--")
    x = f"arc {' - '.join(evidence.imaging.bands[band] for band in evidence.imaging.arc_colour)} (mag)"
    _name(axes, f"Colour of arcs with SNR of {FOUND_SNR:g} or more", x, "share of arcs")


def _accuracy(axes: Axes, evidence: Evidence) -> None:
    bins = np.geomspace(1e-6, 0.1, 31)
    _steps(axes, np.abs(evidence.flux_errors), bins, "converged quadrature", COLOURS[0])
    others = np.clip(np.abs(evidence.lenstronomy), bins[0], bins[-1])
    name = f"lenstronomy, 8 x 8 rays ({len(others)})"
    axes.plot(others, np.full(len(others), 0.01), "|", ms=9, color=COLOURS[1], label=name)
    for edge, ls, name in ((FLUX_ERROR_P95_MAX, "--", "bound of the 95th percentile"), (FLUX_ERROR_MAX, ":", "of all")):
        axes.axvline(edge, color=GREY, lw=0.8, ls=ls, label=name)
    axes.set_xscale("log")
    _name(axes, "Lensed flux against other integrations", "relative difference", "share of injections")


def _steps(axes: Axes, values: Array, bins: Array, name: str, colour: str | None = None, ls: str = "-") -> None:
    """A histogram as a share of the known values; values outside the bins are in the outermost ones."""
    known = values[np.isfinite(values)]
    weights = np.full(len(known), 1.0 / max(len(known), 1))
    axes.hist(
        np.clip(known, bins[0], bins[-1]), bins.tolist(), weights=weights, histtype="step", lw=1.4, ls=ls,
        color=colour or _COLOUR[name], label=f"{name} ({len(known)})",
    )  # fmt: skip


def _name(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=8.5)
    axes.set_xlabel(x, fontsize=8)
    axes.set_ylabel(y, fontsize=8)
