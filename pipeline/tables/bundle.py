"""One archive with everything that a reviewer needs: code, configuration, tables, page, records, checksums."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pyarrow.parquet as pq

from analysis.config import ReportParams
from lake.errors import invalid
from lake.files import atomic, refused
from lake.provenance import git_commit, pipeline_version
from lake.root import DataRoot
from lake.store import cards, delta
from pipeline.project.context import RunContext, stage_run
from pipeline.project.project import Project
from pipeline.reporting.report_inputs import gather

SUMS = "SHA256SUMS"
_README = """# A report with what it was made from

Made by Dark Halo Scope {version}, commit {commit}, for the survey '{survey}'. Nothing here needs that program.

- `report/index.html`: the page, for any browser; `report/figures`: each figure as SVG with its data as CSV
- `tables/*.parquet`: the tables that the page was made from, at their pinned versions, one file per slice
- `tables.json`: their rows, versions and fingerprints; those of more than {most:,} rows are left out (`file`: null)
- `cards`: what each table holds (card), which version and what it was made from (pin)
- `configuration`: parameters, stages, and the lock file of the run; `grids`: parameters and prior of each grid
- `priors`: every prior and population that comes with the package
- `models`: facts and training log of each network
- `registry`: decisions on runs; `metrics`, `plots`: figures of every finder
- `code.tar`: the code at that commit, `code.diff`: what differed from it in the files that git
  tracks; both are absent where there is no git repository
- `SHA256SUMS`: checksums (`sha256sum -c SHA256SUMS`)
"""
_TIMES, _MODE = 0, 0o644


def write_bundle(project: Project, path: Path, most_rows: int) -> Path:
    """Write the archive. It replaces nothing, and appears once it is whole."""
    if path.exists() or path.is_symlink():
        raise invalid("file", "one that does not exist", path)
    top = path.name.removesuffix(".tgz").removesuffix(".tar.gz")
    if top == path.name or not top or top.startswith("."):
        raise invalid("file", "a name that ends in .tar.gz and does not begin with a dot", path)
    with stage_run("report", None, project, RunContext) as context:
        if not (context.root.report / "index.html").is_file():
            raise invalid("report", "made before it is bundled (`dvc repro report`)", "none")
        gather(context, project.section(ReportParams, "report"))
        _require_current(context)
        folder = context.work("bundle", sorted(context.inputs.items()))
        shutil.rmtree(folder)
        folder.mkdir()
        with refused.named(folder):
            _fill(folder, context, most_rows)
        with atomic.replacing(path) as draft:
            _pack(folder, draft, top)
    return path


def _require_current(context: RunContext) -> None:
    """Refuse a page that was made from other rows than the tables have now."""
    page = (context.root.report / "index.html").read_text(encoding="utf-8")
    for entry in _read_slices(context):
        if entry.card.fingerprint not in page:
            raise invalid(
                "report", "made from the tables as they are now (`dvc repro report`)", f"an older {entry.name}"
            )


def _fill(folder: Path, context: RunContext, most_rows: int) -> None:
    root, project = context.root, context.project.folder
    (folder / "tables.json").write_text(json.dumps(_tables(folder / "tables", context, most_rows), indent=1) + "\n")
    copies = {"report": root.report, "cards": root.cards, "registry": root.registry}
    for name, place in {**copies, "metrics": root.metrics, "plots": root.plots}.items():
        if place.is_dir():
            shutil.copytree(place, folder / name, ignore=shutil.ignore_patterns(".gitignore"))
    for name in ("params.yaml", "dvc.yaml", "dvc.lock"):
        _copy(project / name, folder / "configuration" / name)
    for finder in root.finders():
        for place in sorted(root.checkpoints(finder).glob("*.json")):
            _copy(place, folder / "models" / finder / place.name)
        _copy(root.grid(finder) / "grid.json", folder / "grids" / f"{finder}.json")
    for prior in resources.files("injection.priors").iterdir():
        if prior.name.endswith(".yaml"):
            (folder / "priors").mkdir(exist_ok=True)
            (folder / "priors" / prior.name).write_bytes(prior.read_bytes())
    _code(folder, project)
    facts = {"version": pipeline_version(), "commit": git_commit(), "survey": context.survey.name, "most": most_rows}
    (folder / "README.md").write_text(_README.format(**facts))
    lines = [f"{_digest(place)}  {place.relative_to(folder).as_posix()}\n" for place in _files(folder)]
    (folder / SUMS).write_text("".join(lines))


def _tables(folder: Path, context: RunContext, most_rows: int) -> list[dict[str, object]]:
    """Write the slices that the report reads; what there is of each, whether written or left out."""
    folder.mkdir()
    found = []
    for entry in _read_slices(context):
        facts: dict[str, object] = {"table": entry.card.table, "slice": entry.card.slice, "rows": entry.card.rows}
        facts |= {"version": entry.pin.version, "fingerprint": entry.card.fingerprint}
        if entry.card.rows > most_rows:
            found.append({**facts, "file": None})
            continue
        rows = delta.read(context.root, entry.card.table, slices=[entry.card.slice])
        pq.write_table(rows, folder / f"{entry.name}.parquet", compression="zstd")
        found.append({**facts, "file": f"tables/{entry.name}.parquet"})
    return found


def _read_slices(context: RunContext) -> Iterator[cards.Slice]:
    """The slices that the report has read."""
    read = {key.removeprefix("table:") for key in context.inputs if key.startswith("table:")}
    root: DataRoot = context.root
    for table in cards.tables(root):
        yield from (entry for entry in cards.of_survey(root, table) if entry.name in read)


def _code(folder: Path, project: Path) -> None:
    """The committed code and what differs from it; nothing where the project is not in a git repository."""
    try:
        archive = _git(project, "archive", "--format=tar", "HEAD")
        changed = _git(project, "diff", "--no-ext-diff", "--no-color", "--relative", "HEAD", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return
    (folder / "code.tar").write_bytes(archive)
    (folder / "code.diff").write_bytes(changed)


def _git(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True).stdout


def _copy(place: Path, target: Path) -> None:
    if place.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place, target)


def _files(folder: Path) -> list[Path]:
    return sorted(place for place in folder.rglob("*") if place.is_file())


def _digest(place: Path) -> str:
    with place.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _pack(folder: Path, target: Path, name: str) -> None:
    """The files in the order of their names, without times and owners: equal content gives equal bytes."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", mtime=_TIMES, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for place in _files(folder):
            member = tarfile.TarInfo(f"{name}/{place.relative_to(folder).as_posix()}")
            member.size, member.mtime, member.mode = place.stat().st_size, _TIMES, _MODE
            with place.open("rb") as stream:
                archive.addfile(member, stream)
