"""Figures: bytes that repeat, colours that mean something, and refusals."""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from pydantic_core import PydanticUndefined

from analysis import config
from analysis.diagnostics.discovery import DiagnoseParams, found
from analysis.figures import completeness as figures
from analysis.figures import style, surface
from analysis.figures.completeness import heat_map
from analysis.figures.curves import history_figure, reliability_figure, roc_figure
from analysis.figures.points import lines, points_figure
from analysis.figures.stamps import colour_composite, contact_sheet
from analysis.figures.style import COLOURS
from analysis.records import Drawing
from analysis.statistics.calibration import reliability
from analysis.statistics.completeness import with_intervals
from lake.config import Section, documentation
from lake.errors import DataError, ParameterError
from lake.sky.survey import SURVEY
from tests.analysis.cells import cells
from tests.analysis.galaxies import make_stamps


def test_colour_of_a_galaxy_follows_its_bands():
    rng = np.random.default_rng(0)
    red, blue = make_stamps(rng, [[0.2, 1.0, 3.0], [3.0, 1.0, 0.5]], [3.0, 3.0], noise=0.0)
    images = colour_composite(np.stack([red, blue]), SURVEY).astype(int)
    centre = images[:, 56, 50]
    assert centre[0, 0] > centre[0, 2]
    assert centre[1, 2] > centre[1, 0]


def test_rows_stay_where_they_are():
    stamps = np.zeros((1, 3, 21, 21), np.float32)
    stamps[0, :, 3, 15] = 1.0
    image = colour_composite(stamps, SURVEY)[0].astype(int).sum(axis=2)
    assert np.unravel_index(image.argmax(), image.shape) == (3, 15)


def test_brightness_is_comparable_between_stamps():
    alone = make_stamps(np.random.default_rng(0), [[1.0, 1.0, 1.0]], [3.0], noise=0.0)
    pair = np.concatenate([alone, alone * 50])
    assert np.array_equal(colour_composite(pair, SURVEY)[0], colour_composite(alone, SURVEY)[0])


def test_missing_pixels_are_black():
    stamps = np.full((1, 3, 9, 9), np.nan, np.float32)
    assert not colour_composite(stamps, SURVEY).any()
    with pytest.raises(ParameterError, match="'stamps' must be"):
        colour_composite(stamps[0], SURVEY)


def test_sheets_and_figures_repeat_byte_for_byte():
    stamps = make_stamps(np.random.default_rng(0), np.full((3, 3), 5.0), [3.0, 3.5, 4.0])
    sheet = [contact_sheet([("hosts", stamps, ["a", "b", "c"])], "hosts", SURVEY).content for _ in range(2)]
    assert sheet[0] == sheet[1]
    assert sheet[0].startswith(b"\x89PNG")
    labels, scores = np.r_[np.ones(20), np.zeros(50)], np.linspace(0, 1, 70)[::-1]
    drawn = [roc_figure({"demo1": (labels, scores)}, None).content for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert b"<svg" in drawn[0]
    assert reliability_figure({"demo1": reliability(labels, scores, 15, 0.95)}).alt
    with pytest.raises(ParameterError, match="'rows' must be at least one row"):
        contact_sheet([], "none", SURVEY)


@pytest.mark.parametrize("kind", ["png", "webp", "svg"])
def test_a_figure_is_drawn_once_and_looks_as_matplotlib_saves_it(kind, monkeypatch):
    monkeypatch.setattr(style, "compact", str)
    drawn, saved = [], io.BytesIO()
    with style.canvas(3.0, 2.0) as expected, style.canvas(3.0, 2.0) as figure:
        for each in (expected, figure):
            each.subplots(1, 2)[1].set(title="share", ylabel="found (%)", ylim=(1e6, 9e6))
        options = {"svg": {"facecolor": "none"}, "webp": {"pil_kwargs": {"quality": 80, "method": 4}}}
        unnamed = {"png": ["Software"], "svg": ["Date", "Creator"]}
        metadata = dict.fromkeys(unnamed.get(kind, [])) or None
        expected.savefig(saved, format=kind, metadata=metadata, **options.get(kind, {}))
        figure.canvas.mpl_connect("draw_event", drawn.append)
        content = getattr(style, kind)(figure, "two panels").content
    assert len(drawn) == 1
    assert content == saved.getvalue()


def test_a_cell_of_a_heat_map_shows_its_interval_injections_and_hosts(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "svg", lambda figure, alt: drawn.extend(figure.axes))
    counts = cells()
    sums = {"host_detected_sq": counts["detected"], "host_detected_n": counts["detected"], "host_n_sq": counts["n"]}
    rows = with_intervals(counts.assign(**sums))
    heat_map(rows, "p0.3", SURVEY, "demo")
    texts = {text.get_text() for axes in drawn for text in axes.texts}
    for _, row in rows[rows["source_mag_bin"] == "all"].iterrows():
        low, high = (100 * row[f"host_clustered_95_{end}"] for end in ("low", "high"))
        assert {f"{low:.0f}-{high:.0f}", f"n {row['n']:,}, {row['hosts']:,.0f} h."} <= texts


def test_titles_and_labels_of_maps_lie_within_their_figures(monkeypatch):
    """A map of one cell, as an audit of cut-outs has, is small; what its title says is long."""
    drawn = []
    for module in (figures, surface):
        monkeypatch.setattr(module, "svg", lambda figure, alt: drawn.append(figure))
    counts = cells(thetas=(1.0,))
    sums = {"host_detected_sq": counts["detected"], "host_detected_n": counts["detected"], "host_n_sq": counts["n"]}
    rows = with_intervals(counts.assign(**sums))
    one = rows[rows["source_mag_bin"] == "all"]
    title = (
        "mine, fpr2e-1@val (FPR 18.8 % [10.9, 29.0] {14.5-19.7}), prior demo, grid own (802a58c9dc6f0c96)\nAUC 0.774"
    )
    heat_map(one, "p0.3", SURVEY, title)
    seeing, depth = (figures.Axis(name, name) for name in ("psf_fwhm_nea_arcsec", "depth_mag"))
    surface.surface(one, seeing, depth, title)
    for figure in drawn:
        figure.canvas.draw()
        texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        assert "\n".join(text.get_text() for text in texts).replace("\n", " ").count("prior demo, grid own") == 1
        for text in texts:
            (left, low), (right, high) = text.get_window_extent().get_points()
            assert min(left, low) >= 0, text
            assert right <= figure.bbox.width, text
            assert high <= figure.bbox.height, text


@pytest.mark.usefixtures("words_only")
def test_heat_maps_refuse_mixed_grids_and_absent_thresholds():
    rows = with_intervals(cells())
    assert heat_map(rows, "p0.3", SURVEY, "demo").media_type == "image/svg+xml"
    with pytest.raises(DataError, match="no completeness cells at threshold 'p0\\.9'"):
        heat_map(rows, "p0.9", SURVEY, "demo")
    rows.loc[0, "grid_id"] = "other"
    with pytest.raises(DataError, match="different 'grid_id' cannot be combined"):
        heat_map(rows, "p0.3", SURVEY, "demo")


@pytest.mark.parametrize(
    "section", [config.EvaluateParams, config.CompletenessParams, config.DiagnosticParams, config.ReportParams]
)
def test_sections_are_documented_and_choose_nothing_silently(section: type[Section]):
    for name, field in section.model_fields.items():
        assert documentation(section)[name], name
        assert field.default is PydanticUndefined, name


def test_the_parameters_of_a_diagnostic_are_documented_and_belong_to_it_alone():
    classes = {each for module in found() for each in getattr(module, "Params", object).__mro__}
    own = classes - set(config.DiagnosticParams.__mro__)  # several diagnostics may share a class of parameters
    owned = [name for each in own for name in vars(each).get("__annotations__", {})]
    assert len(owned) == len(set(owned)) > 0
    assert set(DiagnoseParams.model_fields) == {*owned, *config.DiagnosticParams.model_fields}
    assert set(documentation(DiagnoseParams)) == set(DiagnoseParams.model_fields)


def test_models_beyond_the_palette_are_drawn_too():
    """The eighth curve takes the first colour again rather than being left out; ten negatives are too few for bands."""
    labels, scores = np.r_[np.ones(20), np.zeros(10)], np.linspace(0, 1, 30)[::-1]
    for count in (len(COLOURS), len(COLOURS) + 2):
        models = {f"m{i}": (labels, scores) for i in range(count)}
        figure = roc_figure(models, None).content.decode().upper()
        assert figure.count(f"STROKE:{COLOURS[0]}") == 2 * -(-count // len(COLOURS))


def test_a_scatter_is_small_and_each_model_has_its_own_axes_where_coordinates_differ() -> None:
    rng = np.random.default_rng(0)
    rows = {"series": np.repeat(["lenses", "injections"], 200), "low": np.nan, "high": np.nan, "n": 0, "label": ""}
    models = {name: pd.DataFrame({**rows, "x": rng.normal(size=400), "y": rng.normal(size=400)}) for name in "ab"}
    drawing = Drawing("A picture", "first", "second", kind="scatter", apart=True)
    both, together, one = (
        points_figure(how, held).content.decode()
        for how, held in (
            (drawing, models),
            (dataclasses.replace(drawing, apart=False), models),
            (drawing, {"a": models["a"].assign(x=1.0).head(1)}),
        )
    )
    assert len(both) < 60_000
    assert both.count(">first<") == 2
    assert together.count(">first<") == 1
    assert "lenses, a" in together
    assert "lenses, a" not in both
    assert "M" in one, "a single point is drawn"


def test_where_models_have_one_series_the_legend_names_the_models_alone() -> None:
    rows = pd.DataFrame(
        {"series": "change", "x": [0.0, 1.0], "y": [1.0, 2.0], "low": np.nan, "high": np.nan, "label": ""}
    )
    other = rows.assign(y=[1.0, 3.0])
    drawn = points_figure(Drawing("A picture", "x", "y"), {"demo1": rows, "demo2": other}).content.decode()
    assert ">demo1<" in drawn
    assert "change, demo1" not in drawn


def test_what_is_the_same_for_every_model_is_drawn_once() -> None:
    alike = pd.DataFrame({"series": "data", "x": [0.0, 1.0], "y": [1.0, 2.0], "low": 0.0, "high": 3.0, "label": ""})
    own = [alike.assign(series="scores", y=y) for y in (0.5, 0.7)]
    models = {f"demo{i}": pd.concat([alike, rows]) for i, rows in enumerate(own)}
    assert [name for name, _ in lines(models)] == ["data", "scores, demo0", "scores, demo1"]
    models["demo1"] = own[1]
    assert [name for name, _ in lines(models)] == ["data, demo0", "scores, demo0", "scores, demo1"]


def test_every_panel_of_past_trainings_has_a_run() -> None:
    run = pd.DataFrame({"epoch": [10, 12], "phase": "all", "val_auc": [0.9, 0.91], "learning_rate": 1e-3})
    epochs = pd.concat([run.assign(generation=f"run{i}") for i in range(5)])
    drawn = history_figure(epochs).content.decode()
    assert ">run4<" in drawn
    assert not re.search(r">0\.[024]<", drawn), "an empty panel has axes of its own, from 0 to 1"


def test_slanted_names_of_categories_end_at_their_ticks():
    def anchored(count):
        rows = pd.DataFrame({"x": range(count), "y": 0.5, "low": np.nan, "high": np.nan, "series": "a"})
        rows["label"] = [f"a_long_name_of_feature_{i}" for i in range(count)]
        picture = points_figure(Drawing("t", "feature", "delta"), {"demo1": rows})
        return picture.content.decode().count("text-anchor:end")

    assert anchored(12) - anchored(2) == 12, "names centred on their ticks run into each other"
