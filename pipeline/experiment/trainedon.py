"""Which galaxies a finder was trained on: those of our own checkpoints, those that a finder's author lists."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray
from scipy.spatial import KDTree

from lake.errors import DataError, one_line
from lake.sky.sphere import chord, unit_vectors
from modeling.scoring.card import FINDER
from modeling.scoring.checkpoint import Checkpoint
from modeling.scoring.finder import read_finder

log = logging.getLogger(__name__)

LISTED = "trained_on.csv"
"""The list, next to ``scorer.json``."""
_COLUMNS = ("galaxy_id", "ra", "dec")


def seen_by(folder: Path, rows: pa.Table) -> pa.Array:
    """Which galaxies (``galaxy_id``, ``ra``, ``dec``) the checkpoint in ``folder``, or an ancestor of it, trained or
    selected on; null where that is not known: if a user's own finder or imported weights have no list, or one whose
    identifiers are not those of this lake."""
    own = (folder / FINDER).exists()
    if not (folder / LISTED).exists():
        return pa.nulls(rows.num_rows, pa.bool_()) if own else _of_checkpoint(folder, rows)
    radius = read_finder(folder).trained_within_arcsec if own else 1.0
    return seen_in_list(folder / LISTED, read_listed(folder / LISTED), rows, radius, "the manifest")


def seen_in_list(path: Path, listed: pa.Table, rows: pa.Table, radius_arcsec: float, place: str) -> pa.Array:
    """Which rows are in a list, by :func:`seen`; the others are null where it has objects with only an identifier, and
    none of these is in ``place``: identifiers of another catalogue do not show that the rows were not seen."""
    hit = seen(listed, rows, radius_arcsec)
    named = listed.filter(pc.is_null(listed["ra"]))
    foreign = 0 if seen(named, rows, 1.0).any() else named.num_rows
    if foreign:
        log.warning(
            "%s: %d objects have only a galaxy_id, and none of these occurs in %s: leakage is not measured; "
            "give their ra and dec",
            path,
            foreign,
            place,
        )
    return pa.array(hit, mask=~hit if foreign else None)


def trained_by(folder: Path, rows: pa.Table) -> pa.Array:
    """Which galaxies were trained on, and not only selected on; otherwise as :func:`seen_by`."""
    if (folder / FINDER).exists() or (folder / LISTED).exists():
        return seen_by(folder, rows)
    return _of_checkpoint(folder, rows, "train")


def _of_checkpoint(folder: Path, rows: pa.Table, purpose: str | None = None) -> pa.Array:
    """Galaxies on a checkpoint's list; others are null where the list is not whole."""
    checkpoint = Checkpoint.load(folder)
    hit = checkpoint.has_seen(rows["galaxy_id"], purpose)
    return pa.array(hit, mask=None if checkpoint.card.seen_known else ~hit)


def read_listed(path: Path) -> pa.Table:
    """The list: ``galaxy_id`` (with or without the collection), or ``ra`` and ``dec`` in degrees, or both, per row."""
    try:
        rows = pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types={"galaxy_id": pa.string()}))
        held = set(rows.column_names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as a list of training objects: {one_line(error)}") from error
    if "galaxy_id" not in held and not {"ra", "dec"} <= held:
        raise DataError(f"{path} must have a column galaxy_id, or ra and dec (degrees), got {', '.join(sorted(held))}")
    if twice := [name for name in _COLUMNS if rows.column_names.count(name) > 1]:
        raise DataError(f"{path} has columns of the same name: {', '.join(twice)}")
    ids, ra, dec = (_column(rows, name, path) for name in _COLUMNS)
    ids = pc.utf8_trim_whitespace(ids)
    placed = pc.and_(_in_range(ra, -180.0, 360.0), _in_range(dec, -90.0, 90.0))
    named = pc.fill_null(pc.not_equal(ids, ""), False)
    usable = pc.or_(placed, named)
    lost = rows.num_rows - usable.true_count
    if lost == rows.num_rows:
        raise DataError(f"none of the {rows.num_rows} rows of {path} has a galaxy_id or a position in degrees")
    if lost:
        log.warning(
            "%d of %d rows of %s have neither a galaxy_id nor a position and are not compared",
            lost,
            rows.num_rows,
            path,
        )
    nothing = pa.nulls(rows.num_rows, pa.float64())
    values = [ids, pc.if_else(placed, ra, nothing), pc.if_else(placed, dec, nothing)]
    return pa.table(dict(zip(_COLUMNS, values, strict=True))).filter(usable)


def csv_text(listed: pa.Table) -> str:
    """The list as it is kept."""
    buffer = io.BytesIO()
    pacsv.write_csv(listed, buffer)
    return buffer.getvalue().decode()


def seen(listed: pa.Table, rows: pa.Table, radius_arcsec: float) -> NDArray[np.bool_]:
    """Which rows (``galaxy_id``, ``ra``, ``dec``) are in the list by name or within the radius of a listed position."""
    names = listed["galaxy_id"].drop_null().unique()
    ids = rows["galaxy_id"].combine_chunks()
    native = pc.replace_substring_regex(ids, r"^[^:]*:", "")
    found = pc.or_(pc.is_in(ids, value_set=names), pc.is_in(native, value_set=names))
    hit = np.asarray(found.to_numpy(zero_copy_only=False), dtype=bool)
    placed = listed.filter(pc.is_valid(listed["ra"]))
    if placed.num_rows:
        reach = np.nextafter(chord(radius_arcsec), 1.0)
        distance, _ = KDTree(_directions(placed)).query(_directions(rows), distance_upper_bound=reach)
        hit |= np.isfinite(distance)
    return hit


def _column(rows: pa.Table, name: str, path: Path) -> pa.Array:
    kind = pa.string() if name == "galaxy_id" else pa.float64()
    if name not in rows.column_names:
        return pa.nulls(rows.num_rows, kind)
    try:
        return rows[name].combine_chunks().cast(kind)
    except pa.ArrowException as error:
        raise DataError(f"column {name} of {path} must hold numbers: {one_line(error)}") from error


def _in_range(values: pa.Array, low: float, high: float) -> pa.Array:
    return pc.fill_null(pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high)), False)


def _directions(rows: pa.Table) -> NDArray[np.float64]:
    return unit_vectors(*(rows[name].to_numpy().astype(np.float64) for name in ("ra", "dec")))
