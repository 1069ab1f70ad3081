"""A stored grid of injections: the survey's, or that of an audit on a set of cut-outs, whose columns name its bands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lake import tables
from lake.errors import DataError
from lake.root import DataRoot
from lake.sky.imaging import Imaging
from lake.sky.survey import SURVEY
from lake.store import cards, delta
from lake.store.axisviews import AXES, axes_of_sets
from lake.tables.set_injections import OF_REFERENCE
from pipeline.project.outputs import grid_facts

SET_TABLE = "set_injections"
_SCORES = ["injection_id", "status", "probability", "host_probability"]


@dataclass(frozen=True)
class StoredGrid:
    """The injections of one finder with what its `grid.json` says."""

    root: DataRoot
    """Where its tables are read; those of any survey for a set of cut-outs, which belongs to none"""
    name: str
    facts: dict[str, Any]
    imaging: Imaging
    of_set: bool

    @classmethod
    def of(cls, root: DataRoot, name: str) -> StoredGrid:
        """The grid of a finder, or of an audit on a set. LakeError if there is none, DataError of an import."""
        any_survey = root.of_any_survey
        of_set = name in {entry.card.slice for entry in cards.slices(any_survey, SET_TABLE)}
        if not of_set and _is_set(any_survey, name):
            raise DataError(f"{name} has no injections: none of its cut-outs could host them")
        if name in {entry.card.slice for entry in cards.slices(any_survey, "imports")}:
            raise DataError(
                f"{name} was imported, without injections: its completeness by cell is in the table completeness "
                f"(select * from completeness where generation = '{name}')"
            )
        facts = grid_facts(root, name)
        if of_set and "imaging" not in facts:
            raise DataError(f"the grid of {name} has no record of its bands: run its `dhs audit` again")
        imaging = Imaging.model_validate_json(json.dumps(facts["imaging"])) if "imaging" in facts else SURVEY
        return cls(any_survey if of_set else root, name, facts, imaging, of_set)

    @property
    def evaluated(self) -> str:
        """The finder whose scores fixed the thresholds of this grid."""
        return str(self.facts["generation"])

    @property
    def axes(self) -> dict[str, str]:
        """Axes of views along which the grid's injections differ, and their columns in `injections`."""
        if not self.of_set:
            return {axis.name: axis.column.removeprefix("i.") for axis in AXES.values()}
        held = {name: column.removeprefix("i.") for name, column in axes_of_sets().items()}
        return {name: self._own.get(column, column) for name, column in held.items()}

    @property
    def view(self) -> str:
        """The view that has the bins of its injections along these axes."""
        return "set_scored_injections" if self.of_set else "scored_injections"

    @property
    def _own(self) -> dict[str, str]:
        """Columns of `set_injections` with values of the reference band, and names for them with that band."""
        return {stored: name.format(self.imaging.reference_band) for name, stored in OF_REFERENCE.items()}

    def injections(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Its injections (some columns), named after its bands as in `injections`."""
        if not self.of_set:
            return delta.read(self.root, "injections", columns and list(columns), slices=[self.name])
        rows = delta.read(self.root, SET_TABLE, slices=[self.name])
        rows = rows.rename_columns([self._own.get(name, name) for name in rows.column_names])
        by_band = [json.loads(text) for text in rows["by_band"].to_pylist()]
        for name in self.imaging.colours:
            rows = rows.append_column(f"src_{name}", pa.array([each[name] for each in by_band], pa.float64()))
        return rows if columns is None else rows.select(list(columns))

    def parameters(self) -> list[str]:
        """Columns of the lens and of the source."""
        held = [name for name in tables.spec("injections").names if name.startswith(("lens_", "src_"))]
        return [*(name for name in held if name not in SURVEY.source_columns), *self.imaging.source_columns]

    def scores(self) -> pa.Table:
        """Status and probabilities of its injections, by `injection_id`."""
        return delta.read(self.root, "injection_scores", _SCORES, slices=[self.name])


def _is_set(root: DataRoot, name: str) -> bool:
    """Whether a name is that of an audit on a set of cut-outs."""
    scored = (entry for entry in cards.slices(root, "scores") if entry.card.slice == name)
    return any(cards.SET in entry.pin.inputs for entry in scored)
