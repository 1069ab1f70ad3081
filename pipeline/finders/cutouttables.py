"""The tables of an audit on a set of cut-outs, in the columns of their contracts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa

from analysis.statistics.thresholds import threshold_rows
from lake import tables
from lake.errors import LakeError
from lake.root import DataRoot
from lake.sky.imaging import Imaging
from lake.store import cards, quarantine
from lake.tables.set_injections import OF_REFERENCE
from pipeline.experiment.cutouthosts import Labelled
from pipeline.project.context import RunContext
from pipeline.reporting.setpage import Measured

_INJECTED = ("set_injections", "injection_scores", "completeness")


def contract_rows(rows: pa.Table, imaging: Imaging) -> pa.Table:
    """Rows of a grid in the columns of `set_injections`: values of the reference band, and of all bands as JSON."""
    schema = tables.spec("set_injections").row_schema()
    renamed = {name.format(imaging.reference_band): own for name, own in OF_REFERENCE.items()}
    own = rows.rename_columns([renamed.get(name, name) for name in rows.column_names])
    own = own.append_column("by_band", pa.array(_by_band(rows, imaging), pa.string()))
    own = own.append_column("reference_band", pa.repeat(imaging.reference_band, rows.num_rows))
    return own.select(schema.names).cast(schema)


def _by_band(rows: pa.Table, imaging: Imaging) -> list[str]:
    """Per row, the colours and the values of every band, as JSON."""
    colours = {name.removeprefix("src_"): name for name in imaging.source_columns[1:]}
    kinds = {own: {band: name.format(band) for band in imaging.bands} for name, own in OF_REFERENCE.items()}
    kinds = {own: names for own, names in kinds.items() if set(names.values()) <= set(rows.column_names)}
    wanted = [*colours.values(), *(name for names in kinds.values() for name in names.values())]
    return [
        json.dumps(
            {colour: row[name] for colour, name in colours.items()}
            | {own: {band: row[name] for band, name in names.items()} for own, names in kinds.items()}
        )
        for row in rows.select(list(dict.fromkeys(wanted))).to_pylist()
    ]


def publish(context: RunContext, measured: Measured) -> None:
    """Write every table of the audit."""
    name, found, rows = context.generation, measured.found, measured.injections
    finder = {"checkpoint_id": str(measured.scores["checkpoint_id"].iloc[0]), "generation": name}
    scores = pa.Table.from_pandas(measured.scores, tables.spec("scores").row_schema(), preserve_index=False)
    quarantine.publish(context.target("scores", name, finder), scores, lost_of(found))
    write_counts(context, found)
    context.write("thresholds", threshold_rows(measured.thresholds, finder["checkpoint_id"], name), name, finder)
    maps = [{**row, **finder} for row in measured.calibrators.rows]
    context.write("calibrations", maps, name, finder)
    if rows is None:
        _forget_injections(context.root.of_any_survey, name)
    else:
        grid = {"grid_id": rows["grid_id"][0].as_py()}
        injections = context.target("set_injections", name, grid | {"generation": name})
        quarantine.publish(injections, contract_rows(rows, found.imaging))
        answers = rows.select(tables.spec("injection_scores").row_schema().names)
        context.write("injection_scores", answers, name, grid | finder)
        context.write("completeness", measured.completeness, name, grid | finder)
    for run, outcome in measured.outcomes.items():
        context.write_outcome(outcome, f"{run}-{name}")


def _forget_injections(root: DataRoot, name: str) -> None:
    """Remove what an earlier audit of the same name injected, when the set had hosts."""
    for table in _INJECTED:
        if name in {entry.card.slice for entry in cards.slices(root, table)}:
            cards.remove(root, table, name)
    shutil.rmtree(root.grid(name), ignore_errors=True)


def lost_of(found: Labelled) -> pa.Table:
    """Files and objects of a set that cannot be used, as rows of `quarantine`."""
    return pa.Table.from_pylist([dict(row) for row in found.rejected], schema=quarantine.SCHEMA)


def write_counts(context: RunContext, found: Labelled) -> None:
    """Write the number of objects used, and of those that are not, by file and reason."""
    stem = cards.stem(context.stage, context.slice_name)
    lost = pd.DataFrame(found.rejected, columns=quarantine.SCHEMA.names)
    fates = lost.groupby(["source_file", "reason"]).size().reset_index(name="rows").to_dict("records")
    rows = [{"stage": stem, "outcome": "quarantined", **{str(key): row[key] for key in row}} for row in fates]
    kept = {"source_file": found.described.images.files, "outcome": "kept", "reason": "", "rows": len(found.objects)}
    context.write("ingest_counts", [*rows, {"stage": stem, **kept}], stem, {"stage": stem})


def audited_sets(root: DataRoot) -> list[str]:
    """Names of the audits on sets of cut-outs."""
    every = cards.slices(root.of_any_survey, "scores")
    return [str(entry.card.slice) for entry in every if cards.SET in entry.pin.inputs]


def page_of(root: DataRoot, name: str) -> Path:
    """The page of an audit on a set."""
    return root.local / "audits" / f"{name}.html"


def figures_of(page: Path) -> Path:
    """The folder of a page's figures, beside it."""
    return page.with_name(f"{page.stem}-figures")


def forget_set(root: DataRoot, name: str) -> list[str]:
    """Remove the cards, the grid and the page of an audit on a set; its rows stay in the tables' history."""
    root, removed = root.of_any_survey, []
    try:
        of_set = cards.SET in cards.read_slice(root, "scores", name).pin.inputs
    except LakeError:  # the slice does not exist, or is incomplete
        return []
    for table in cards.tables(root) if of_set else ():
        for entry in cards.slices(root, table):
            if entry.pin.inputs.get(cards.SET) == name:
                cards.remove(root, table, entry.card.slice)
                removed.append(cards.stem(table, entry.card.slice))
    if removed:
        shutil.rmtree(root.grid(name), ignore_errors=True)
        page_of(root, name).unlink(missing_ok=True)
        shutil.rmtree(figures_of(page_of(root, name)), ignore_errors=True)
        removed += [str(root.grid(name)), str(page_of(root, name))]
    return removed
