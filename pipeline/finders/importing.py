"""Import other teams' selection functions, and export ours in the same layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from analysis.comparisons import foreign_cells, foreign_objects
from analysis.comparisons.disagreements import disagreements
from analysis.comparisons.exported import exported
from analysis.comparisons.foreign_cells import NOT_RECORDED, Declared
from analysis.statistics.completeness import MARGINAL, equally_weighted, table_rows
from injection.priors.registry import load_prior, registry
from lake import tables
from lake.errors import DataError, invalid, one_line
from lake.files import atomic
from lake.names import checked_name
from lake.root import DataRoot
from lake.store import cards, delta, quarantine, status
from lake.store.cards import SURVEY
from lake.store.views import MAIN
from pipeline.project.context import RunContext, stage_run
from pipeline.project.outputs import GRID, grid_facts
from pipeline.project.project import Project

STAGE = "import"
TABLES = ("imports", "import_disagreements", "foreign_objects")
"""Tables whose slices only imports write."""
DeclaredT = TypeVar("DeclaredT", bound=Declared)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError where it has a key twice, of which Python would keep the second."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{max(found, key=names.count)}' occurs more than once")
    return found


@dataclass(frozen=True)
class Given:
    """A file with its declarations: those of its JSON file, completed by options of the command."""

    path: Path
    meta: Mapping[str, Any]
    declarations: Mapping[str, Any]
    """Declarations of both; the options take precedence."""
    prior_content: str | None
    """Distributions of the prior as JSON, if declared or in the registry."""

    @classmethod
    def of(cls, path: Path, meta: Path, prior: str | None, families: Mapping[str, str]) -> Given:
        try:
            facts = json.loads(meta.read_text(encoding="utf-8-sig"), object_pairs_hook=_each_once)
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{meta} cannot be read as JSON: {one_line(error)}") from error
        if not isinstance(facts, dict):
            raise invalid("meta", f"a JSON object in {meta}", facts)
        chosen = prior or facts.get("prior")
        if not chosen:
            allowed = f"declared by --prior or a key of {meta}: a name, a .yaml file, or '{NOT_RECORDED}'"
            raise invalid("prior", allowed, chosen)
        content = facts.get("prior_content") if prior is None else None
        if isinstance(chosen, dict):
            chosen, content = chosen.get("name", "as declared"), chosen
        elif not isinstance(chosen, str):
            raise invalid("prior", "a name, a .yaml file or the distributions", chosen)
        elif chosen in registry() or Path(chosen).suffix in (".yaml", ".yml"):
            found = load_prior(chosen)
            chosen, content = found.name, content or found.model_dump(mode="json")
        known = {} if (stated := facts.get("source_mag_families")) is None else stated
        told = {"prior": chosen, "source_mag_families": {**known, **families} if isinstance(known, dict) else known}
        return cls(path, facts, {**facts, **told}, content and json.dumps(content, sort_keys=True))

    def declared(self, kind: type[DeclaredT]) -> DeclaredT:
        """The declarations about the file; other keys of the JSON file are kept, but not interpreted."""
        return kind.load(
            {name: self.declarations[name] for name in kind.model_fields if name in self.declarations}, "meta"
        )

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def identity(self, name: str, declared: Declared) -> dict[str, str]:
        """Grid, scorer and prior of the import, each by its content."""
        text = json.dumps([self.digest, declared.model_dump(mode="json"), self.meta], sort_keys=True, default=str)
        scorer = str(self.meta.get("checkpoint", name))
        return {
            "grid_id": f"foreign-{hashlib.sha256(text.encode()).hexdigest()[:16]}",
            "grid_name": name,
            "checkpoint_id": f"foreign-{hashlib.sha256(scorer.encode()).hexdigest()[:16]}",
            "generation": name,
            "weighting_id": declared.prior,
            "prior": declared.prior,
        }


@dataclass(frozen=True)
class Read:
    """What was read from a file."""

    kind: str
    rows: int
    counts: pd.DataFrame
    disagreements: pd.DataFrame
    rejected: pd.DataFrame
    """`COLUMNS` of `lake.store.quarantine`"""
    objects: pd.DataFrame
    """Rows of `foreign_objects`"""


def import_cells(project: Project, given: Given, name: str) -> str:
    """Import a table of counts per cell as the slice ``name`` of `completeness`; return a summary."""
    declared = given.declared(Declared)
    raw = foreign_cells.read_table(given.path)
    cells = foreign_cells.understood(raw, declared)
    counts = foreign_cells.counts(cells, given.identity(name, declared))
    found = disagreements(cells, counts[counts["cell"] == MARGINAL], given.meta)
    rejected = cells.rejected.assign(source_file=given.path.name)
    return _publish(project, name, given, declared, Read("cells", len(raw), counts, found, rejected, pd.DataFrame()))


def import_objects(project: Project, given: Given, missed: Path | None, name: str) -> str:
    """Import a complete list of simulated lenses, found or missed; return a summary."""
    declared = given.declared(foreign_objects.DeclaredObjects)
    lost = None if missed is None else foreign_cells.read_table(missed)
    listed = foreign_objects.merged(foreign_cells.read_table(given.path), lost)
    objects = foreign_objects.complete(listed, declared)
    counts = foreign_objects.object_counts(objects.rows, declared, given.identity(name, declared))
    rows, found = objects.rows.drop(columns="row_index"), objects.disagreements
    read = Read("objects", len(listed), counts, found, pd.DataFrame(), rows)
    return _publish(project, name, given, declared, read)


def _publish(project: Project, name: str, given: Given, declared: Declared, read: Read) -> str:
    _require_free(project, name)
    rows = table_rows(read.counts)
    with stage_run(STAGE, name, project, RunContext) as context:
        del context.inputs[SURVEY]  # an import belongs to no survey
        context.note_input(f"file:{given.path.name}", given.digest)
        mine = {"import_name": name}
        context.write("imports", [_about(name, given, declared, read)], name, mine)
        numbered = read.disagreements.assign(number=range(1, len(read.disagreements) + 1), **mine)
        context.write("import_disagreements", _plain(numbered), name, mine)
        if len(read.objects):
            context.write("foreign_objects", _plain(read.objects.assign(**mine)), name, mine)
        where = {column: read.counts[column].iloc[0] for column in tables.spec("completeness").slice_by}
        rejected = pa.Table.from_pylist(_plain(read.rejected), schema=quarantine.SCHEMA)
        quarantine.publish(context.target("completeness", name, where), rows, rejected)
    return _summary(name, read)


def _about(name: str, given: Given, declared: Declared, read: Read) -> dict[str, object]:
    """The row of `imports`."""
    return {
        "import_name": name,
        "kind": read.kind,
        "file_name": given.path.name,
        "file_sha256": given.digest,
        "prior": declared.prior,
        "prior_content": given.prior_content,
        "selection": declared.selection,
        "psf_width": declared.psf_width,
        "source_mag_families": json.dumps(declared.source_mag_families, sort_keys=True),
        "rows_read": read.rows,
        "rows_rejected": len(read.rejected),
        "disagreements": len(read.disagreements),
        "meta": json.dumps(given.meta, sort_keys=True),
    }


def _summary(name: str, read: Read) -> str:
    counts, found = read.counts, read.disagreements
    cells = counts.loc[counts["cell"] != MARGINAL, "cell"].nunique()
    figures = ", ".join(f"{figure} {count}" for figure, count in found["figure"].value_counts().items())
    lines = [
        f"{name}: {read.rows} rows, {cells} cells, {counts['threshold_id'].nunique()} thresholds",
        f"{len(read.rejected)} rows cannot be used (table quarantine, stage {cards.stem(STAGE, name)})",
        f"{len(found)} disagreements (table import_disagreements){f': {figures}' if figures else ''}",
        f"dhs query \"select * from completeness where generation = '{name}' and cell = '{MARGINAL}'\"",
    ]
    return "\n".join(lines)


def _require_free(project: Project, name: str) -> None:
    """Refuse the name of a finder or grid of this project."""
    root = project.data.of_any_survey
    held = {str(entry.card.slice) for table in ("completeness", "scores") for entry in cards.slices(root, table)}
    ours = {MAIN, *project.trained, *project.audited, *root.finders(), *(held - set(imported(root)))}
    if checked_name(name, "name") in ours:
        raise invalid("name", "one that no finder, generation or grid of this project has", name)


def _plain(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows with null for what is missing."""
    made = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in made]


def imported(root: DataRoot) -> list[str]:
    """Names of the imports."""
    return [str(entry.card.slice) for entry in cards.slices(root.of_any_survey, "imports")]


def forget_import(root: DataRoot, name: str) -> list[str]:
    """Remove the cards of an import; its rows stay in the tables' history. Return the names of the slices."""
    if name not in imported(root):
        return []
    slices = [(table, name) for table in (*TABLES, "completeness")] + [("quarantine", cards.stem(STAGE, name))]
    there = {(table, entry.card.slice) for table, _ in slices for entry in cards.slices(root.of_any_survey, table)}
    removed = [(table, part) for table, part in slices if (table, part) in there]
    for table, part in removed:
        cards.remove(root, table, part)
    return [cards.stem(table, part) for table, part in removed]


def export_cells(project: Project, name: str, out: Path) -> tuple[int, Path]:
    """Write a slice of `completeness` as CSV with a JSON file of facts; return the number of rows and the JSON file."""
    if out.suffix != ".csv" or not out.parent.is_dir():
        raise invalid("out", "a file ending in .csv, in a folder that exists", str(out))
    status.require_counts(project.data, "completeness", name)
    rows = equally_weighted(delta.read(project.data, "completeness", slices=[name]).to_pandas())
    if rows.empty:
        raise DataError(f"{name} has no completeness: its thresholds are refused or not measurable, see `thresholds`")
    facts = _facts(project.data, name)
    made = exported(rows, facts.get("injections_per_cell"))
    axes = {axis: sorted(made[axis].unique().tolist()) for axis in foreign_cells.AXES}
    entry = next(entry for entry in cards.slices(project.data, "completeness") if entry.card.slice == name)
    about = {
        **{column: str(rows[column].iloc[0]) for column in ("grid_id", "grid_name", "generation", "origin", "prior")},
        "checkpoint": str(rows["checkpoint_id"].iloc[0]),
        **facts,
        "grid": axes,
        "fpr_reached": rows.groupby("threshold_id")["fpr_reached"].first().dropna().to_dict(),
        "intervals": "Jeffreys; the lower bound is 0 where none is found, the upper 1 where all are",
        "made_from": {"table": "completeness", "fingerprint": entry.card.fingerprint, "version": entry.pin.version},
    }
    meta = out.with_name(f"{out.stem}_meta.json")
    with atomic.replacing(out) as draft:
        made.to_csv(draft, index=False)
    atomic.write_text(meta, json.dumps(about, indent=1, sort_keys=True) + "\n")
    return len(made), meta


def _facts(root: DataRoot, name: str) -> dict[str, Any]:
    """What the counts of a slice mean, in the keys that `dhs import completeness` reads."""
    if name in imported(root):
        row = delta.read(root, "imports", slices=[name]).to_pylist()[0]
        content = row["prior_content"]
        return {
            **json.loads(row["meta"]),
            **{key: row[key] for key in ("prior", "selection", "psf_width")},
            "source_mag_families": json.loads(row["source_mag_families"]),
            **({"prior_content": json.loads(content)} if content else {}),
        }
    facts: dict[str, Any] = {"selection": ">", "psf_width": "fwhm_nea", "threshold_sample": "val"}
    if (root.grid(name) / GRID).exists():
        held = grid_facts(root, name)
        facts["injections_per_cell"] = held["parameters"]["per_cell"]
        facts |= {key: held[key] for key in ("prior_content",) if key in held}
    return facts
