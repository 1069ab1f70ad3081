"""The registry: every run of this project and of the reference system, with its status; and decisions about them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Literal

import pyarrow as pa

from lake.errors import ParameterError, did_you_mean, invalid, not_one_of
from lake.names import RESERVED, RUN_KINDS, run_name
from lake.root import DataRoot
from lake.store import expected, status
from modeling.tracking import history
from pipeline.project.project import Project
from pipeline.reporting import expectations
from pipeline.tables import runfacts
from pipeline.tables.runfacts import Facts

_CLIPPED = 110
_LONGEST_REASON = 500
_AFTER = "`dhs repro` remakes the report, the metrics and the runs in MLflow"


@dataclass(frozen=True)
class Run:
    """One line of the registry."""

    run: str
    kind: str
    finder: str
    status: str
    reason: str = ""
    source: str = "trained"
    results: str = ""
    known: Callable[[], Facts] = Facts

    @cached_property
    def facts(self) -> Facts:
        """What the tables know of it; they are read when it is first asked for, since decisions need names only."""
        return self.known()

    def columns(self) -> dict[str, str]:
        """All that is one value, in words."""
        values = {**{each.name: getattr(self, each.name) for each in fields(self)}, **vars(self.facts)}
        return {name: value for name, value in values.items() if name not in ("known", "disagreements")}


def registry(project: Project, facts: runfacts.Source | None = None) -> list[Run]:
    """Every run: those of this project by finder, what is planned or expected, superseded; then the historical ones."""
    ours, made = own_runs(project, facts), set(status.runs(project.data))
    known = {run.run for run in ours}
    expectant = sorted({one.run for one in expected.records(project.data)} - known)
    awaited = [Run(name, *split_run(name), "planned", "an expectation is registered") for name in expectant]
    gone = [
        Run(name, *split_run(name), "invalidated", f"{record.last.reason} (its results were removed)")
        for name, record in status.records(project.data).items()
        if name not in made and record.last.action == "invalidated"
    ]
    return [*(run for run in ours if run.run not in {one.run for one in gone}), *awaited, *gone, *historical_runs()]


def listing(project: Project, wanted: Mapping[str, str | None]) -> pa.Table:
    """The registry as rows; ``wanted`` are the values that fields must have (None for any)."""
    chosen = {name: value for name, value in wanted.items() if value is not None}
    every = registry(project)
    finders = dict.fromkeys(run.finder for run in every if run.finder)
    if (finder := chosen.get("finder")) is not None and finder not in finders:
        raise not_one_of("finder", finders, finder)
    found = [run for run in every if chosen.items() <= run.columns().items()]
    rows = [{**run.columns(), "disagreements": len(run.facts.disagreements)} for run in found]
    texts = [(name, pa.string()) for name in Run("", "", "", "").columns()]
    return pa.Table.from_pylist(rows, pa.schema([*texts, ("disagreements", pa.int64())]))


def for_the_screen(rows: pa.Table) -> pa.Table:
    """A line for each run: why it does not count, or what it found."""
    said = [row["reason"] or row["finding"] for row in rows.to_pylist()]
    short = [text if len(text) <= _CLIPPED else f"{text[:_CLIPPED]}..." for text in said]
    return rows.select(["run", "kind", "status", "date"]).append_column("finding", pa.array(short, pa.string()))


def own_runs(project: Project, facts: runfacts.Source | None = None) -> list[Run]:
    """The runs of this project, by finder and in the order of work."""
    root = project.data
    made, off = status.runs(root), status.invalid_runs(root)
    facts = facts or runfacts.Source(root)
    found = [_own(run, stems, off, facts, set(made)) for run, stems in made.items()]
    found += [Run(name, *split_run(name), "planned") for name in _planned(project) if name not in made]
    found += [_superseded(row) for row in facts.replaced()]
    order = {kind: place for place, kind in enumerate(RUN_KINDS)}
    return sorted(found, key=lambda run: (run.finder, order.get(run.kind, len(order)), run.run))


def _own(run: str, stems: list[str], off: Mapping[str, status.Invalid], facts: runfacts.Source, made: set[str]) -> Run:
    kind, finder = split_run(run)
    standing, reason = "valid", ""
    if kind == "train" and run_name("evaluate", finder) not in made:
        standing = "trained"
    if run in off:
        standing, reason = "invalidated", off[run].of(run)
    return Run(
        run,
        kind,
        finder,
        standing,
        reason,
        results=", ".join(sorted(stems)),
        known=partial(facts.of, run, kind, finder, stems),
    )


def _planned(project: Project) -> list[str]:
    """What params.yaml asks for."""
    return [run_name("train", name) for name in project.trained] + [
        run_name(kind, name) for name in project.audited for kind in ("evaluate", "grid", "trials", "diagnose")
    ]


def _superseded(row: Mapping[str, str]) -> Run:
    """A run whose checkpoint was replaced, from the table's earlier versions."""
    kind = "train" if row["kind"] == "training" else "audit"
    name = f"{run_name(kind, row['generation'])}@{row['checkpoint_id'][:8]}"
    why = f"its checkpoint was replaced by {row['replaced_by']}"
    code, finding = row["config_hash"] or "", row["key_finding"] or ""
    known = partial(Facts, row["date"], code, row["checkpoint_id"], finding=finding)
    return Run(name, kind, row["generation"], "superseded", why, known=known)


def split_run(run: str) -> tuple[str, str]:
    """Kind and finder of a run of this project."""
    kind, _, finder = run.partition("-")
    if finder and re.fullmatch(RESERVED["diagnostic"], kind):
        return "diagnostic", finder
    return (kind, finder) if kind in RUN_KINDS else ("other", run)


def historical_runs() -> list[Run]:
    """The runs of the reference system, as recorded."""
    return [
        Run(
            run=row["run_id"],
            kind=row["kind"],
            finder=row["generation"],
            status=row["status"],
            reason=row.get("status_reason", ""),
            source=history.ORIGIN,
            known=partial(
                Facts,
                date=str(row.get("run_date", "")),
                config_hash=row.get("config_hash", ""),
                finding=row["key_finding"],
                disagreements=list(row.get("disagreements", ())),
            ),
        )
        for row in history.records()
    ]


def named(project: Project, name: str) -> list[Run]:
    """The runs of a name: a run, a finder (whose training or audit is meant), an identifier of a table, a record."""
    facts = runfacts.Source(project.data)
    runs = registry(project, facts)
    meant = {name, run_name("train", name), run_name("audit", name), *facts.aliases(name)}
    found = [run for run in runs if run.run in meant]
    if not found:
        known = sorted({*(run.run for run in runs), *(run.finder for run in runs)})
        raise ParameterError(f"{invalid('run', 'one that `dhs registry` lists', name)}{did_you_mean(name, known)}")
    return found


def own(project: Project, name: str) -> Run:
    """The run of this project that a name means. ParameterError where no decision can be made about it."""
    found = named(project, name)
    ours = [run for run in found if run.source != history.ORIGIN]
    if not ours:
        raise ParameterError(
            f"'{name}' is a record of the reference system: its status ({found[0].status}) is part of that record"
        )
    if ours[0].status in ("planned", "superseded"):
        raise ParameterError(f"'{ours[0].run}' has no results that count: it is {ours[0].status}")
    return ours[0]


def change(project: Project, name: str, action: Literal["invalidated", "restored"], reason: str) -> list[str]:
    """Invalidate or restore a run; what was decided, in lines."""
    reason = " ".join(reason.split())
    if not reason or len(reason) > _LONGEST_REASON:
        raise invalid("reason", f"a sentence of at most {_LONGEST_REASON} characters", reason[:_CLIPPED])
    with status.deciding(project.data):
        run = own(project, name)
        if (run.status == "invalidated") == (action == "invalidated"):
            why = f" ({run.reason})" if run.reason else ""
            raise ParameterError(f"'{run.run}' is {run.status} already{why}")
        before = status.invalid_runs(project.data)
        status.decide(project.data, run.run, action, reason)
        after = status.invalid_runs(project.data)
    changed = sorted(set(before) ^ set(after))
    path = project.data.registry / "status" / f"{run.run}.json"
    others = ", ".join(one for one in changed if one != run.run)
    also = [f"made from it, and so {action} too: {others}"] if others else []
    return [f"{run.run} is {action}: {reason}", *also, f"recorded in {path}, to be committed; {_AFTER}"]


def described(project: Project, name: str) -> str:
    """Everything the registry knows of a name, record by record."""
    return "\n\n".join("\n".join(_lines(project.data, run)) for run in named(project, name))


def _lines(root: DataRoot, run: Run) -> list[str]:
    lines = [f"{name:<12} {value}" for name, value in run.columns().items() if value]
    lines += [f"{'disagree':<12} {value}" for value in run.facts.disagreements]
    for row in expectations.rows(root).to_dict("records"):
        if run.run == row["run"] or (run.source == history.ORIGIN and row["run"].partition("-")[2] == run.run):
            said = f"{row['expectation']} ({row['registered']}): {row['outcome']}, {row['result']}"
            lines.append(f"{'expected':<12} {said}")
    if run.source == history.ORIGIN:
        return lines
    now = status.fingerprints(root, run.run)
    record = status.records(root).get(run.run)
    for one in record.decisions if record else []:
        lines.append(f"{one.action:<12} {one.date}  {one.reason}  (code {one.commit[:12]})")
    if record is not None and record.last.action == "invalidated" and record.last.results != now:
        lines.append(f"{'':<12} its results have been made anew since: `dhs registry restore {run.run} --reason ...`")
    lines += [f"{'result':<12} {stem}  {fingerprint}" for stem, fingerprint in sorted(now.items())]
    return lines
