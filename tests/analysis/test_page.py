"""The page's order, numbers, style, and the files beside it."""

from __future__ import annotations

import dataclasses
import io
import re
from html import unescape
from importlib import resources
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import sqlglot
from sqlglot import exp

from analysis.figures.compact import compact
from analysis.figures.style import canvas, paper, svg
from analysis.page import answer, referee
from analysis.page.calibration import _map
from analysis.page.layout import Part, numbered
from analysis.page.parts import parts_of
from analysis.reporting.performance import measures_view
from analysis.reporting.views import Shown, TableView
from analysis.statistics.completeness import interval_of
from lake import tables


def drawn(text="a & <b>"):
    with canvas(3, 2) as figure:
        axes = figure.subplots()
        axes.plot([1, 2, 3], [1.23456789, 4, 2], marker="o", color="black", label=text)
        axes.fill_between([1, 3], [1, 1], [2, 2], hatch="//")
        axes.legend()
        return svg(figure, "made up")


def test_figures_are_small_svg_with_their_text():
    """Text stays text and black becomes the page's colour; what remains is XML that draws the same shapes."""
    text = drawn().content.decode()
    root = ElementTree.parse(io.StringIO(text)).getroot()
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "a & <b>" in words
    assert "currentColor" in text
    assert "<!--" not in text
    assert "#000000" not in text
    assert "<style" not in text, "a rule inside a page would hold for all of it"
    assert not re.search(r"\d\.\d{3,}", re.sub(r"base64[^\"]*", "", text))


def test_names_in_a_figure_are_its_own_and_lead_somewhere():
    first, second = drawn("one").content.decode(), drawn("two").content.decode()
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in (first, second)]
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', first))
    assert used == ids[0], "every name is used, and every use has its name"
    assert used
    assert not ids[0] & ids[1]
    assert compact(first.replace("<svg ", "<?xml?><svg ", 1)).startswith("<svg ")


def test_on_paper_a_figure_is_a_pdf_that_repeats():
    with paper():
        pictures = [drawn() for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert pictures[0].content.startswith(b"%PDF")
    assert pictures[0].media_type == "application/pdf"
    assert drawn().media_type == "image/svg+xml"


def test_figures_and_tables_are_numbered_through_the_page_and_empty_parts_are_not():
    table, picture = TableView("t", ["a"], []), Shown(drawn(), "words", "made-up")
    parts = [Part("a", "A", [table, picture, None]), Part("b", "B", [None]), Part("c", "C", [picture, table])]
    found = numbered(parts)
    assert [(each.number, each.part.anchor) for each in found] == [(1, "a"), (2, "c")]
    assert [placed.label for each in found for placed in each.items] == ["Table 1", "Figure 1", "Figure 2", "Table 2"]
    assert found[0].items[1].anchor == "figure-1"


def test_every_figure_has_its_data_its_query_and_its_tables(made, inputs):
    figures = re.findall(r"<figure id=.*?</figure>", made.html, re.S)
    assert len(figures) > 6
    for figure in figures:
        for name in re.findall(r'href="figures/([^"]+)"', figure):
            assert name in made.files
        if "gallery" not in figure and "<img" not in figure:
            assert re.search(r'href="figures/[^"]+\.csv"', figure), figure[-600:]
            assert 'dhs query "' in figure or "literature.csv" in figure, "published figures are not in the lake"
    assert "scores.demo1 version 3 (ab12)" in made.html
    for name, content in made.files.items():
        assert content, name
        if name.endswith(".csv"):
            assert len(pd.read_csv(io.BytesIO(content))), name


def test_queries_of_figures_name_tables_and_columns_that_exist(made):
    queries = set(re.findall(r'dhs query "(.*?)"</code>', made.html))
    assert queries
    for query in queries:
        require_known(unescape(query))


def test_a_page_of_cut_outs_asks_the_tables_of_sets(whole_stage, inputs, words_only):
    """Their injections are in no table of the survey's: its queries would find nothing."""
    injected = {"answer", "radius-magnitude", "completeness-curves", "completeness-offset-depth"}
    of_set = dataclasses.replace(inputs, manifest=inputs.manifest.head(0))
    shown = {item.name: item for part in parts_of(of_set) for item in part.items if isinstance(item, Shown)}
    assert injected <= set(shown)
    for name in injected:
        source = shown[name].source
        assert source.tables[0] == "set_injections"
        assert " from set_injections made " in source.query
        require_known(source.query)


def require_known(query):
    """Every table and column of a query exists."""
    tree = sqlglot.parse_one(query, dialect="duckdb")
    named = {(table.alias or table.name): table.name for table in tree.find_all(exp.Table)}
    known = {alias: {column.name for column in tables.spec(name).columns} for alias, name in named.items()}
    given = {alias.alias for alias in tree.find_all(exp.Alias)}
    for column in tree.find_all(exp.Column):
        held = known[column.table] if column.table else set().union(*known.values(), given)
        assert column.name in held, (column.sql(), query)


def test_data_of_a_figure_are_what_it_shows(made, inputs):
    """The cells of a heat map: counts of the table, and completeness is their ratio."""
    frame = pd.read_csv(io.BytesIO(made.files["completeness-cells-demo2.csv"]))
    stored = inputs.generations[1].completeness
    stored = stored[(stored["cell"] != "marginal") & (stored["source_mag_bin"] == "all")]
    stored = stored[stored["threshold_id"] == inputs.params.headline_threshold_id]
    assert frame["detected"].sum() == stored["detected"].sum()
    assert frame["n"].sum() == stored["n"].sum()
    ends = [
        sorted(interval_of(row) for _, row in rows[rows["n"] > 0].iterrows()) for rows in (frame, stored)
    ]  # those that the picture shows
    assert [kind for *_, kind in ends[0]] == [kind for *_, kind in ends[1]]
    np.testing.assert_allclose([end[:2] for end in ends[0]], [end[:2] for end in ends[1]], atol=1e-8)
    filled = frame[frame["n"] > 0]
    assert (filled["completeness"] - filled["detected"] / filled["n"]).abs().max() < 1e-7


def test_the_style_serves_print_dark_rooms_and_phones():
    style = resources.files("analysis.page").joinpath("page.css").read_text()
    for words in ("prefers-color-scheme: dark", "@media print", "@page", "details-content", "table-header-group"):
        assert words in style
    used = set(re.findall(r"var\((--[\w-]+)\)", style))
    light, dark = (set(re.findall(r"(--[\w-]+):", part)) for part in style.split("@media (prefers-color-scheme", 1))
    assert used <= light
    assert light <= dark | {"--x"}
    assert "scroll-margin-top" in style, "a heading that a link leads to is not below the bar"


def test_a_page_of_cut_outs_says_nothing_of_a_survey_that_it_has_not(inputs):
    """Neither pixels that divide lenses, nor lists of candidates, nor a section on yield."""
    of_set = dataclasses.replace(inputs, manifest=inputs.manifest.head(0))
    ask = referee.QUESTIONS["Where is the independent hold-out?"]
    assert "in HEALPix pixels of their own" in ask(inputs)[0]
    (said,) = ask(of_set)
    assert said.endswith("every lens of the set, and the negatives that neither fix thresholds nor host injections.")
    (said,) = referee.QUESTIONS["How many false positives does it cost?"](of_set)
    assert said.endswith("on test negatives.")


def test_a_reason_is_said_once(inputs):
    reason = "not measurable: the finder has no embedding"
    probe = {"name": answer.PROBE, "value": np.nan, "low": np.nan, "high": np.nan, "n": 0, "method": reason}
    item = dataclasses.replace(answer.first(inputs), diagnostics=pd.DataFrame([probe]))
    alone = dataclasses.replace(inputs, generations=[item])
    words = [row[2] for row in answer.conditions(alone).rows if row[0] == "realism"]
    assert words == [f"AUC of a linear probe: {reason}"]
    assert measures_view(alone, "", [answer.PROBE]).rows == [[answer.PROBE, reason, "—", ""]]


def test_a_map_with_a_negative_slope_has_one_sign():
    made = {"method": "platt", "reason": None, "steps": None, "a": -0.5, "b": -0.5, "c": 1.0}
    assert _map(made) == "logit P = 1 − 0.5 s"
    assert _map({**made, "a": 0.5}) == "logit P = 1 + 0.5 s"
