"""Registering what a result is expected to be, before there is one."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
from deltalake.exceptions import DeltaError, TableNotFoundError

from lake.errors import ParameterError, UnreachableError, did_you_mean, invalid, one_line
from lake.names import RUN_KINDS, checked_name
from lake.provenance import git_commit
from lake.root import DataRoot
from lake.store import cards, delta, expected, status
from lake.store.expected import Expectation
from pipeline.project.outputs import BATCHES
from pipeline.reporting.expectations import COMPLETENESS

_MEASURED_BY = {"evaluate": "diagnostics", "diagnose": "diagnostics", "grid": "completeness"}
_LONGEST = 500
_MEASURE = r"[A-Za-z0-9][A-Za-z0-9_@./+=-]{0,99}"


def register(root: DataRoot, wanted: Expectation) -> list[str]:
    """Store an expectation; what was stored, in lines. ParameterError where there is a result, or it makes no sense."""
    _require_sense(wanted)
    with status.deciding(root):  # of two that register the same at once, one is refused
        return _registered(root, wanted)


def _registered(root: DataRoot, wanted: Expectation) -> list[str]:
    known = next((one for one in expected.records(root) if one.name == wanted.name), None)
    if known is not None:
        raise ParameterError(f"'{wanted.run}': {known.words} was registered on {known.date}, and cannot be changed")
    if (held := result_of(root, wanted.run)) is not None:
        raise ParameterError(f"'{wanted.run}' has results already ({held}): expectations are registered before results")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    made = replace(wanted, date=now, commit=git_commit(), pins=expected.pins_hash(root))
    expected.write(root, made)
    path = root.registry / "expected" / f"{made.name}.json"
    lines = [f"{made.run}: {made.words}, registered {now}", f"recorded in {path}: commit it before the run"]
    return [*lines, *_unheard_of(root, made.measure)]


def _unheard_of(root: DataRoot, measure: str) -> list[str]:
    """A warning if runs of this lake have measures, but none of that name, which may be misspelt."""
    if measure.startswith(COMPLETENESS) or not cards.of_survey(root, "diagnostics"):
        return []
    slices = [one.card.slice for one in cards.of_survey(root, "diagnostics")]
    names = delta.read(root, "diagnostics", ["name"], slices=slices, ordered=False)["name"].unique().to_pylist()
    why = f"no run has measured '{measure}' yet: check its name{did_you_mean(measure, names)}"
    return [] if measure in names else [why]


def result_of(root: DataRoot, run: str) -> str | None:
    """Where a run has results: a slice that is pinned, rows in the newest version of its table, or a scored grid."""
    kind, _, finder = run.partition("-")
    table = _MEASURED_BY[kind]
    column, value = ("generation", finder) if table == "completeness" else ("run_id", run)
    every = root.of_any_survey
    part = finder if table == "completeness" else run
    if any(one.card.slice == part for one in cards.slices(every, table)):
        return f"table {cards.stem(table, part)}"
    if _holds(root, table, column, value):
        return f"rows of table {table}"
    if kind == "grid" and any(root.grid(finder).glob(BATCHES)):
        return str(root.grid(finder))
    return None


def _holds(root: DataRoot, table: str, column: str, value: str) -> bool:
    """Whether a table holds rows of a run, pinned or not."""
    try:
        newest = delta.at(root.table(table))
    except TableNotFoundError:
        return False
    except (DeltaError, OSError) as error:
        raise UnreachableError(f"table '{table}' cannot be read, so results may exist: {one_line(error)}") from error
    files = pa.table(newest.get_add_actions(flatten=True))
    name = f"partition.{column}"
    return name in files.column_names and value in files[name].to_pylist()


def _require_sense(wanted: Expectation) -> None:
    if not re.fullmatch(_MEASURE, wanted.measure) or wanted.measure.endswith("/"):
        raise invalid("measure", "a name in the table diagnostics, or completeness/THRESHOLD", wanted.measure)
    for parameter, run in (("run", wanted.run), ("against", wanted.against)):
        if run is not None:
            _require_run(parameter, checked_name(run, parameter), wanted.measure)
    if wanted.run == wanted.against:
        raise invalid("against", "another run", wanted.against)
    if len(wanted.note) > _LONGEST:
        raise invalid("note", f"at most {_LONGEST} characters", f"{len(wanted.note)} characters")
    ends = [end for end in (wanted.threshold, wanted.upper) if end is not None]
    if not all(math.isfinite(end) for end in ends):
        raise invalid("threshold", "a finite number", ends)
    if (wanted.expect == "between") != (wanted.upper is not None):
        raise invalid("upper", "given exactly with 'between'", wanted.upper)
    if wanted.upper is not None and wanted.upper <= wanted.threshold:
        raise invalid("upper", f"above the threshold, {wanted.threshold:g}", wanted.upper)


def _require_run(parameter: str, run: str, measure: str) -> None:
    kind, _, finder = run.partition("-")
    kinds = ["grid"] if measure.startswith(COMPLETENESS) else ["evaluate", "diagnose"]
    if kind not in kinds or not finder:
        known = f" (kinds of runs: {', '.join(RUN_KINDS)})" if kind not in RUN_KINDS else ""
        raise invalid(parameter, f"{' or '.join(f'{one}-FINDER' for one in kinds)} for '{measure}'{known}", run)
