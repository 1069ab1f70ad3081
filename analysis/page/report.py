"""The audited completeness report: one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from analysis.page import exhibits
from analysis.page.layout import numbered
from analysis.page.parts import parts_of
from analysis.reporting.inputs import ReportInputs
from analysis.reporting.views import Heading, Link, TableView, Tag, Verdicts, Words

_LONG_NAME = re.compile(r"[\w/.@-]{20,}")
_SENTENCE = 70
"""Characters above which a cell holds a sentence."""
FOLDER = "figures"
"""Where the files of figures lie, beside the page."""


@dataclass(frozen=True)
class Page:
    """The page, and the files beside it."""

    html: str
    files: Mapping[str, bytes]
    """Pictures and data of its figures, by name in that folder."""


def rendered(inputs: ReportInputs, folder: str = FOLDER) -> Page:
    """The page with the files of its figures, which it links to in a folder beside it and can be read without."""
    parts = numbered(parts_of(inputs))
    html = _template().render(
        inputs=inputs,
        folder=folder,
        style=Markup(_text("page.css")),
        parts=parts,
        drawn=lambda picture: Markup(picture.content.decode()),
        made_from=lambda placed: exhibits.made_from(placed, inputs.tables),
        data_file=exhibits.data_file,
        picture_file=exhibits.picture_file,
        long=_long,
    )
    return Page(html, exhibits.files(parts))


@cache
def _template() -> jinja2.Template:
    """The page's template, compiled once a process."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.tests.update(
        {
            "table": lambda item: isinstance(item, TableView),
            "link": lambda item: isinstance(item, Link),
            "tag": lambda item: isinstance(item, Tag),
            "heading": lambda item: isinstance(item, Heading),
            "words": lambda item: isinstance(item, Words),
            "verdicts": lambda item: isinstance(item, Verdicts),
        }
    )
    environment.filters["breakable"] = _breakable
    return environment.from_string(_text("page.html"))


def _long(view: TableView) -> set[int]:
    """Columns that hold sentences: they keep a least width, however many columns of finders there are."""
    words = [[cell.words if isinstance(cell, Tag) else cell for cell in row] for row in view.rows]
    return {place for row in words for place, cell in enumerate(row) if isinstance(cell, str) and len(cell) > _SENTENCE}


def _breakable(value: object) -> Markup:
    """Text that may be broken after the slashes and underscores of a long name."""
    text = str(escape(value))
    return Markup(_LONG_NAME.sub(lambda name: re.sub(r"([/_])(?=\w)", r"\1<wbr>", name[0]), text))


def _text(name: str) -> str:
    return resources.files("analysis.page").joinpath(name).read_text(encoding="utf-8")
