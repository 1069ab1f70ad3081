"""A list as people publish it, text or a table, as headings under our names and rows of cells."""

from __future__ import annotations

import csv
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lake.config import CandidateListParams
from lake.errors import DataError, one_line
from lake.files import storage

log = logging.getLogger(__name__)

_HEADINGS = {
    "name": "name", "ra": "ra", "ra [deg]": "ra", "ra_deg": "ra", "raj2000": "ra", "dec": "dec", "dec [deg]": "dec",
    "dec_deg": "dec", "dej2000": "dec", "decj2000": "dec", "zlens": "z_lens", "z_lens": "z_lens", "grading": "grading",
    "grade": "grading", "ref": "reference", "reference": "reference", "theta_e": "theta_e", "theta_e_arcsec": "theta_e",
    "theta_e [arcsec]": "theta_e", "theta_ein": "theta_e", "rein_arcsec": "theta_e", "einstein_radius": "theta_e",
    "einstein_radius_arcsec": "theta_e", "type": "type",
}  # fmt: skip
_SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "spaces": None}
_TABLES = {
    ".fits": "fits", ".fit": "fits", ".vot": "votable", ".xml": "votable", ".mrt": "ascii.mrt", ".ecsv": "ascii.ecsv",
}  # fmt: skip
"""Endings of files that astropy reads, with the name of the format there."""
_GZIP = b"\x1f\x8b"
_MOST_BYTES = 256 << 20
_COMMENT = "#"
_MOST_LINES = 100
"""Lines of one row."""


@dataclass(frozen=True)
class Cells:
    """``places``: for each of our columns, the cells it is made of; ``width``: headings; ``lines``: cells by row."""

    places: Mapping[str, Sequence[int]]
    width: int
    lines: Sequence[Sequence[str]]

    def rows(self) -> Iterator[tuple[dict[str, str], bool]]:
        """Each row under our names, and whether it has more cells than the header line."""
        for cells in self.lines:
            too_long = any(cell.strip() for cell in cells[self.width :])
            yield {name: self._cell(cells, places) for name, places in self.places.items()}, too_long

    @staticmethod
    def _cell(cells: Sequence[str], places: Sequence[int]) -> str:
        text = " ".join(cells[place].strip() for place in places if place < len(cells)).strip()
        return text[:1] + text[1:].lstrip() if text[:1] in ("+", "-") else text


def read(place: str, how: CandidateListParams) -> Cells:
    """The list at a path or URI; DataError if it cannot be read, or lacks a column that a list must have."""
    ending = f".{place.rpartition('.')[2].lower()}"
    if ending in _TABLES:
        headings, lines = _table(place, _content(place), _TABLES[ending])
        found = _placed(place, headings, how)
        if isinstance(found, dict) and lines:
            return Cells(found, len(headings), lines)
        raise _refused(place, found if isinstance(found, list) else [], how)
    return _split_up(place, _text(place), how)


def _content(place: str) -> bytes:
    try:
        found = storage.find(place)
        if found is None:
            raise DataError(f"the candidate list {place} cannot be read: it does not exist or is not a file")
        if found.size > _MOST_BYTES:
            raise DataError(f"the candidate list {place} cannot be read: it is larger than {_MOST_BYTES >> 20} MiB")
        return storage.read(place)
    except OSError as error:
        raise DataError(f"the candidate list {place} cannot be read: {error}") from error


def _text(place: str) -> str:
    """The file's text: UTF-8, or else Latin-1."""
    content = _content(place)
    if content.startswith(_GZIP):
        raise DataError(f"the candidate list {place} cannot be read: it is packed by gzip; unpack it")
    if b"\0" in content:
        raise DataError(f"the candidate list {place} cannot be read: it is not UTF-8 text; save it as CSV in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        log.warning("%s is not UTF-8 text (byte %d); it is read as Latin-1", place, error.start)
        return content.decode("latin-1")


def _table(place: str, content: bytes, kind: str) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of a table in a format of astropy; absent values are ''."""
    from astropy.table import Table  # late: most lists are CSV

    source: Any = io.BytesIO(content) if kind in ("fits", "votable") else content.decode("utf-8", "replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = Table.read(source, format=kind)
            columns = [[_cell(value) for value in table[name]] for name in table.colnames]
    except Exception as error:  # a damaged file makes astropy's readers raise any exception
        raise DataError(f"the candidate list {place} cannot be read as {kind}: {one_line(error)}") from error
    return list(table.colnames), [list(row) for row in zip(*columns, strict=True)]


def _cell(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "" if text in ("--", "nan", "None") else text


def _split_up(place: str, text: str, how: CandidateListParams) -> Cells:
    """The text's cells, by the first separator with which the columns that a list must have are there."""
    written = [line.rstrip("\n") for line in io.StringIO(text, newline=None) if line.strip()]
    lacking: list[str] | None = None
    for name in [how.separator] if how.separator else _SEPARATORS:
        found = _with(place, written, _SEPARATORS[name], how)
        if isinstance(found, Cells):
            return found
        lacking = found if lacking is None else min(lacking, found, key=len)
    raise _refused(place, lacking or [], how)


def _with(place: str, written: Sequence[str], separator: str | None, how: CandidateListParams) -> Cells | list[str]:
    """The cells with one separator, or the columns that are lacking then (none: there are no rows)."""
    numbers = _numbers(how)
    if numbers is not None:
        body = [line for line in written if not line.startswith(_COMMENT)]
        width = max((len(_split(line, separator)) for line in body), default=0)
        lines = list(_rows(body, separator, width))
        beyond = sorted({place + 1 for places in numbers.values() for place in places if place >= width})
        return [f"number {place}" for place in beyond if lines] or Cells(numbers, width, lines)
    least: list[str] | None = None
    for number, line in enumerate(written):
        commented = line.startswith(_COMMENT)
        headings = [cell.strip() for cell in _split(line.lstrip(_COMMENT).lstrip() if commented else line, separator)]
        found = _placed(place, headings, how)
        if isinstance(found, dict):
            body = [line for line in written[number + 1 :] if not (commented and line.startswith(_COMMENT))]
            return Cells(found, len(headings), list(_rows(body, separator, len(headings)))) if body else []
        least = found if least is None else min(least, found, key=len)
        if not commented:
            break
    return list(_needed(how)) if least is None else least


def _split(line: str, separator: str | None) -> list[str]:
    """Cells of one line; a quote that is not closed, or not at the ends of a cell, is an ordinary character."""
    delimiter, text = (separator, line) if separator is not None else (" ", " ".join(line.split()))
    try:
        return next(csv.reader([text], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        return text.split(delimiter)


def _rows(lines: Sequence[str], separator: str | None, width: int) -> Iterator[list[str]]:
    """Cells row by row, of which one in quotes may go over several lines."""
    start = 0
    while start < len(lines):
        cells, used = _joined(lines[start : start + _MOST_LINES], separator, width) or (None, 1)
        yield _split(lines[start], separator) if cells is None else cells
        start += used


def _joined(lines: Sequence[str], separator: str | None, width: int) -> tuple[list[str], int] | None:
    """A row of ``width`` cells and the number of its lines, if it is not one line; None where a quote is merely stray.

    A line that is a whole row, read by itself, is no part of the row before it.
    """
    if separator is None or lines[0].count('"') % 2 == 0:
        return None
    whole = [len(_split(line, separator)) >= width for line in lines]
    last = next((place for place, line in enumerate(lines) if place and (whole[place] or line.count('"') % 2)), 0)
    if not last or lines[last].count('"') % 2 == 0 or (whole[0] and whole[last]):
        return None
    try:
        read = list(csv.reader(["\n".join(lines[: last + 1])], delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error:
        return None
    return (read[0], last + 1) if len(read) == 1 and len(read[0]) == width else None


def _wanted(how: CandidateListParams) -> dict[str, tuple[str | int, ...]]:
    """What is declared for each of our columns."""
    return {name: each if isinstance(each, tuple) else (each,) for name, each in how.columns.items()}


def _numbers(how: CandidateListParams) -> dict[str, list[int]] | None:
    """The places of our columns if they are declared by number."""
    wanted = _wanted(how)
    if not wanted or not all(isinstance(one, int) for each in wanted.values() for one in each):
        return None
    return {name: [int(one) - 1 for one in each] for name, each in wanted.items()}


def _needed(how: CandidateListParams) -> tuple[str, ...]:
    return ("ra", "dec") if how.grading else ("ra", "dec", "grading")


def _placed(place: str, headings: Sequence[str], how: CandidateListParams) -> dict[str, list[int]] | list[str]:
    """The places of our columns under these headings, or the names of those that are lacking."""
    found: dict[str, list[int]] = {}
    lacking = []
    for name, wanted in _wanted(how).items():
        each = [str(one) for one in wanted]
        lacking += [f"'{one}'" for one in each if one not in headings]
        found[name] = [headings.index(one) for one in each if one in headings]
    ours = [_HEADINGS.get(heading.casefold(), "") for heading in headings]
    twice = sorted(name for name, count in Counter(ours).items() if name and count > 1 and name not in found)
    if twice:
        raise DataError(f"the candidate list {place} has more than one column for {', '.join(twice)}; keep one")
    found |= {name: [number] for number, name in enumerate(ours) if name and name not in found}
    lacking += [name for name in _needed(how) if name not in found]
    return lacking or found


def _refused(place: str, lacking: Sequence[str], how: CandidateListParams) -> DataError:
    what = f"lacks the columns {', '.join(lacking)}" if lacking else "has no rows"
    return DataError(
        f"the candidate list {place} {what}: it must have a header line and the columns {', '.join(_needed(how))}; "
        "survey.candidate_list says what its columns are called"
    )
