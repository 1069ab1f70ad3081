"""Negatives that finders take for lenses: a list with a page to judge them, and one of hard negatives to train on."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.figures.judging import judging_page
from analysis.results.discoveries import VIEWER
from etl.cutouts.judged import VERDICTS, read
from lake.errors import DataError, invalid, not_one_of, one_line
from lake.files import atomic
from lake.names import checked_name
from lake.root import DataRoot
from lake.sky.survey import SURVEY
from lake.store import delta
from lake.store.stamps import PLACE, StampStore
from pipeline.project.project import Project
from pipeline.reporting.results import scored

log = logging.getLogger(__name__)

_DIGITS = 6
"""Decimals of the degrees within which two entries are one object."""
SHOWN = 5000
"""Stamps on a page, at most: those with the highest probabilities."""


@dataclass(frozen=True)
class Listed:
    """A list that was written."""

    path: Path
    rows: int
    waiting: int
    """Galaxies without a verdict."""
    page: Path | None = None
    """None where no listed galaxy has a stamp."""


def suspects(project: Project, name: str, finders: Sequence[str], above: float) -> Listed:
    """List the negatives of every split with a probability above ``above`` by any of the finders, and show them.

    A list of that name keeps the verdicts that it has, and galaxies that have no score any more because the audit
    manifest leaves them out.
    """
    path = _path(project.data, name)
    _require_kind(path, name, verdicts=True)
    found = flagged(project.data, finders, above)
    if path.exists():
        found = _with_former(found, read(path), _scored(project.data, finders))
    _write(found, path)
    waiting, places = int((found["verdict"] == "").sum()), _places(project.data, found)
    if not places.num_rows:
        return Listed(path, len(found), waiting)
    shown = found.set_index("galaxy_id").loc[places["galaxy_id"].to_pylist()].reset_index()
    text = judging_page(found, shown, StampStore(project.data.cutouts).get(places), VERDICTS, SURVEY, name)
    page = project.data.local / "judging" / f"{name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(page, text)
    return Listed(path, len(found), waiting, page)


def hard_negatives(project: Project, name: str, finders: Sequence[str], above: float) -> Listed:
    """List the training negatives with a probability above ``above`` by any of the finders."""
    path = _path(project.data, name)
    _require_kind(path, name, verdicts=False)
    found = flagged(project.data, finders, above, split="train").drop(columns="verdict")
    _write(found, path)
    return Listed(path, len(found), 0)


def flagged(root: DataRoot, finders: Sequence[str], above: float, split: str | None = None) -> pd.DataFrame:
    """Negatives above a probability by any of the finders: `galaxy_id`, `ra`, `dec`, `split`, a probability for each
    finder, `highest`, `viewer`, `verdict` (empty); each position once, to six decimals of a degree."""
    if not 0.0 < above < 1.0:
        raise invalid("above", "between 0 and 1", above)
    if not finders:
        raise invalid("of", "at least one finder", "")
    known = scored(root)
    if unknown := [finder for finder in finders if finder not in known]:
        raise not_one_of("of", known, unknown[0])
    found = delta.read(root, "negatives", ["galaxy_id", "ra", "dec", "split"]).to_pandas()
    for finder in finders:
        scores = delta.read(root, "scores", ["galaxy_id", "label", "probability"], slices=[finder]).to_pandas()
        values = scores[scores["label"] == 0].set_index("galaxy_id")["probability"]
        found[finder] = found["galaxy_id"].map(values)
    found["highest"] = found[list(finders)].max(axis=1)
    chosen = found[(found["highest"] > above) & ((found["split"] == split) if split else True)]
    chosen = chosen.sort_values(["highest", "galaxy_id"], ascending=[False, True])
    places = chosen[["ra", "dec"]].round(_DIGITS)
    once = chosen[~places.duplicated()]
    viewer = [VIEWER.format(ra=ra, dec=dec) for ra, dec in zip(once["ra"], once["dec"], strict=True)]
    return once.assign(viewer=viewer, verdict="").reset_index(drop=True)


def _scored(root: DataRoot, finders: Sequence[str]) -> frozenset[str]:
    """Galaxies that have a score of any of the finders."""
    return frozenset(delta.read(root, "scores", ["galaxy_id"], slices=list(finders))["galaxy_id"].to_pylist())


def _with_former(found: pd.DataFrame, former: pd.DataFrame, scored_now: Collection[str]) -> pd.DataFrame:
    """The list with the verdicts of its predecessor, and what stood there and was judged, or is not scored any more.

    An entry without a verdict goes only if a score shows that it is no longer above.
    """
    verdicts = former.set_index("galaxy_id")["verdict"]
    found = found.assign(verdict=found["galaxy_id"].map(verdicts).fillna(""))
    stays = (former["verdict"] != "") | ~former["galaxy_id"].isin(scored_now)
    kept = former[stays & ~former["galaxy_id"].isin(found["galaxy_id"])]
    kept = kept.reindex(columns=found.columns)
    for name in found.columns[found.dtypes == np.float64]:  # a list is read as text
        kept[name] = pd.to_numeric(kept[name], errors="coerce")
    return pd.concat([found, kept], ignore_index=True)


def _places(root: DataRoot, listed: pd.DataFrame) -> pa.Table:
    """Where the stamps of the galaxies with the highest probabilities are, in that order."""
    rows = delta.read(root, "cutouts", ["galaxy_id", "status", *PLACE], ordered=False).to_pandas()
    rows = rows[rows["status"] == "ok"]
    placed = listed[["galaxy_id", "highest"]].merge(rows, on="galaxy_id", validate="one_to_one")
    first = placed.sort_values("highest", ascending=False, kind="stable").head(SHOWN)
    return pa.Table.from_pandas(first[["galaxy_id", *PLACE]], preserve_index=False)


def _require_kind(path: Path, name: str, *, verdicts: bool) -> None:
    """Refuse to replace a list of the other kind: suspects have verdicts, hard negatives have none."""
    if not path.exists():
        return
    try:
        held = "verdict" in pd.read_csv(path, nrows=0).columns
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a list of galaxies: {one_line(error)}") from error
    if held != verdicts:
        raise invalid("name", f"one that no list {'without' if verdicts else 'with'} verdicts has", name)


def _path(root: DataRoot, name: str) -> Path:
    return root.judged / f"{checked_name(name, 'name')}.csv"


def _write(rows: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, rows.to_csv(index=False))
