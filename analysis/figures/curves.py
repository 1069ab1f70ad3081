"""Figures of ranking, calibration and training."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from scipy.special import logit

from analysis.figures.style import COLOURS, GREY, Picture, canvas, svg
from analysis.statistics.calibration import Reliability
from analysis.statistics.intervals import TABLE_LEVEL
from analysis.statistics.roc import RocCurve, labelled, roc_curve
from analysis.statistics.uncertain import roc_band

_HEIGHTS = (0.0, 0.3, 0.6)
"""Distances of threshold names from the top, as shares of the axes: neighbouring names take one after another."""


def roc_figure(models: Mapping[str, tuple[ArrayLike, ArrayLike]], baseline: RocCurve | None) -> Picture:
    """ROC on a logarithmic FPR axis; per name labels and scores.

    The band is the interval of the true-positive rate at a false-positive rate, including the uncertainty of the
    threshold; it begins where ten negatives are above the threshold. The axis starts at one false positive, below
    which the sample cannot measure a rate.
    """
    classes = {name: labelled(labels, scores) for name, (labels, scores) in models.items()}
    curves = {name: roc_curve(labels, scores) for name, (labels, scores) in models.items()}
    least = 1.0 / max(len(negative) for _, negative in classes.values())
    with canvas(6.4, 4.4) as figure:
        axes = figure.subplots()
        for colour, (name, curve) in zip(cycle(COLOURS), curves.items(), strict=False):
            x, tpr = _visible(curve, least)
            axes.plot(x, tpr, color=colour, lw=1.8, label=name, drawstyle="steps-post")
            rates, low, high = roc_band(*classes[name], TABLE_LEVEL)
            axes.fill_between(rates, low, high, color=colour, alpha=0.18, lw=0)
        if baseline is not None:
            x, tpr = _visible(baseline, least)
            axes.plot(x, tpr, color=GREY, lw=1.4, ls="--", label="trivial features", drawstyle="steps-post")
        chance = np.geomspace(least, 1, 200)
        axes.plot(chance, chance, color=GREY, lw=0.8, ls=":", label="chance")
        axes.set(xscale="log", xlim=(least, 1), ylim=(0, 1.02))
        axes.set(xlabel="false-positive rate", ylabel="true-positive rate (recall)")
        axes.legend(loc="lower right")
        return svg(figure, "ROC curves with 95 % bands, logarithmic false-positive rate: " + ", ".join(curves))


def reliability_figure(curves: Mapping[str, Reliability]) -> Picture:
    """Observed share of lenses against predicted probability, with Jeffreys intervals and counts per bin."""
    with canvas(6.4, 4.6) as figure:
        axes, counts = figure.subplots(2, 1, height_ratios=[3, 1], sharex=True)
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
        width = 1.0 / (len(next(iter(curves.values())).count) * (len(curves) + 0.6))
        for i, (colour, (name, curve)) in enumerate(zip(cycle(COLOURS), curves.items(), strict=False)):
            held = curve.count > 0
            spread = np.abs(np.stack([curve.low, curve.high])[:, held] - curve.observed[held])
            places = curve.predicted[held], curve.observed[held]
            axes.errorbar(*places, spread, color=colour, fmt="o-", ms=4, lw=1.2, label=name)
            centres = (curve.edges[:-1] + curve.edges[1:]) / 2 + (i - (len(curves) - 1) / 2) * width
            counts.bar(centres, np.maximum(curve.count, 0.7), width, bottom=0.7, color=colour)
        axes.set(ylabel="observed fraction of lenses", ylim=(-0.02, 1.02))
        axes.legend(loc="upper left")
        counts.set(yscale="log", xlabel="predicted probability", ylabel="objects", xlim=(0, 1))
        return svg(figure, "Reliability curve with counts per probability bin: " + ", ".join(curves))


def score_histograms(scores: Mapping[str, pd.DataFrame], thresholds: Mapping[str, Mapping[str, float]]) -> Picture:
    """Logits of both classes per model (`label`, `score`), each normalised, with its thresholds on the probability."""
    with canvas(3.6 * max(len(scores), 1) + 0.6, 3.2) as figure:
        panels = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
        for axes, (name, frame) in zip(panels, scores.items(), strict=True):
            low, high = np.quantile(frame["score"], [0.001, 0.999])
            bins = np.linspace(low, high, 45)
            for label, colour, kind in ((0, COLOURS[0], "negatives"), (1, COLOURS[1], "listed lenses")):
                values = frame.loc[frame["label"] == label, "score"]
                weights = np.full(len(values), 1.0 / max(len(values), 1))
                axes.hist(
                    np.clip(values, low, high), bins, weights=weights, histtype="stepfilled", alpha=0.5, color=colour,
                    label=f"{kind} ({len(values):,})",
                )  # fmt: skip
            _mark_thresholds(axes, thresholds.get(name, {}), (low, high))
            axes.set(title=name, xlabel="score (logit)")
        panels[0].set(ylabel="fraction of the class per bin")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        return svg(figure, "Score distributions of listed lenses and negatives: " + ", ".join(scores))


def training_figure(epochs: pd.DataFrame) -> Picture:
    """Loss, validation AUC and learning rate per epoch; rows of `training_epochs`, one line per `generation`.

    A tick on the line of the AUC marks the first epoch of each regime (`phase`) after the first.
    """
    with canvas(9.6, 3.0) as figure:
        loss, auc, rate = figure.subplots(1, 3)
        for colour, (name, rows) in zip(cycle(COLOURS), epochs.groupby("generation", sort=True), strict=False):
            rows = rows.sort_values("epoch")
            loss.plot(rows["epoch"], rows["train_loss"], color=colour, label=f"{name}, training")
            if rows["val_loss"].notna().any():
                loss.plot(rows["epoch"], rows["val_loss"], color=colour, ls="--", label=f"{name}, validation")
            auc.plot(rows["epoch"], rows["val_auc"], color=colour, marker="o", ms=3, label=str(name))
            _mark_regimes(auc, rows, colour)
            rate.plot(rows["epoch"], rows["learning_rate"], color=colour, label=str(name))
        loss.set(xlabel="epoch", ylabel="mean loss", title="Loss")
        auc.set(xlabel="epoch", ylabel="AUC", title="Validation AUC (used for selection)")
        rate.set(xlabel="epoch", ylabel="learning rate", title="Learning rate")
        for axes in (loss, auc):
            axes.legend()
        return svg(figure, "Training history: loss, validation AUC and learning rate per epoch")


def history_figure(epochs: pd.DataFrame) -> Picture:
    """Validation AUC per epoch of runs (`generation`), a panel each: colours are regimes, as the run recorded them, a
    star is the best epoch, and a dotted line an epoch from which a constant learning rate is lower."""
    runs = {str(name): rows.sort_values("epoch") for name, rows in epochs.groupby("generation", sort=True)}
    phases = {name: list(dict.fromkeys(rows["phase"].fillna("not recorded"))) for name, rows in runs.items()}
    columns = min(len(runs), 4)
    lines = -(-len(runs) // columns)
    with canvas(2.9 * columns, 2.5 * lines + 0.2) as figure:
        panels = figure.subplots(lines, columns, squeeze=False).flat
        for (name, rows), axes in zip(runs.items(), panels, strict=False):
            shown = rows["phase"].fillna("not recorded")
            for colour, phase in zip(cycle(COLOURS), phases[name], strict=False):
                held = rows[shown == phase]
                axes.plot(held["epoch"], held["val_auc"], color=colour, ls="", marker=".", ms=4, label=phase)
            _mark_peak(axes, rows)
            for epoch in rate_steps(rows):
                axes.axvline(epoch, color=GREY, lw=0.8, ls=":")
            axes.set_title(name, fontsize=9)
            axes.legend(fontsize=5.5, loc="lower right", markerscale=1.5)
            axes.tick_params(labelsize=7)
        for axes in panels:
            axes.axis("off")
        figure.supxlabel("epoch", fontsize=9)
        figure.supylabel("validation AUC", fontsize=9)
        return svg(figure, "Validation AUC per epoch of trainings, by regime: " + ", ".join(runs))


def rate_steps(rows: pd.DataFrame) -> list[int]:
    """Epochs of one run, in order, from which a learning rate that was constant is lower by a quarter or more."""
    rate = rows["learning_rate"].to_numpy(float)
    constant = (
        np.r_[False, False, np.isclose(rate[1:-1], rate[:-2], rtol=1e-3)]
        if len(rate) > 1
        else np.zeros(len(rate), bool)
    )
    lower = np.r_[False, rate[1:] < 0.75 * rate[:-1]] if len(rate) else constant
    return [int(epoch) for epoch in rows["epoch"].to_numpy()[constant & lower]]


def _mark_peak(axes: Axes, rows: pd.DataFrame) -> None:
    known = rows.dropna(subset=["val_auc"]).sort_values("val_auc", ascending=False, kind="stable")
    for _, best in known.head(1).iterrows():
        axes.plot(best["epoch"], best["val_auc"], color="black", ls="", marker="*", ms=7)
        label = f"{best['val_auc']:.4f}, epoch {best['epoch']:.0f}"
        axes.annotate(label, (best["epoch"], best["val_auc"]), (4, 4), textcoords="offset points", fontsize=6)


def _mark_regimes(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    phase = rows["phase"].fillna("") if "phase" in rows else pd.Series("", index=rows.index)
    for _, row in rows[(phase != phase.shift()) & (phase != "")].iloc[1:].iterrows():
        axes.plot(row["epoch"], row["val_auc"], color=colour, marker="|", ms=14, mew=1.5, ls="")
        axes.annotate(row["phase"], (row["epoch"], row["val_auc"]), (4, -10), textcoords="offset points", fontsize=7)


def _visible(curve: RocCurve, least: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of a curve from the lowest rate of the axis on; left of it only the last point counts."""
    first = max(int(np.searchsorted(curve.fpr, least * (1.0 - 1e-9))) - 1, 0)
    return np.maximum(curve.fpr[first:], least), curve.tpr[first:]


def _mark_thresholds(axes: Axes, thresholds: Mapping[str, float], limits: tuple[float, float]) -> None:
    """Lines with their names; names of neighbouring lines are at different heights."""
    logits = {name: float(logit(probability)) for name, probability in thresholds.items() if 0 < probability < 1}
    shown = sorted((at, name) for name, at in logits.items() if limits[0] < at < limits[1])
    for place, (at, name) in enumerate(shown):
        axes.axvline(at, color=GREY, lw=0.9, ls="--")
        height = 1.0 - _HEIGHTS[place % len(_HEIGHTS)]
        axes.text(
            at, height, f"{name} ", rotation=90, va="top", ha="right", fontsize=6.5, color=GREY,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
