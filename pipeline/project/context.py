"""The context of one stage run: parameters, paths, lock, provenance, and a record of what was read."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
from filelock import FileLock, Timeout

from lake import tables
from lake.config import SurveyParams
from lake.errors import DarkHaloError, DataError, LostError
from lake.files import atomic, refused, storage
from lake.files.publishing import require_place
from lake.provenance import git_commit, pipeline_version
from lake.root import DataRoot
from lake.store import cards, delta, writing
from lake.store.cards import Card
from lake.store.writing import Provenance, Target
from lake.upkeep.guard import working
from pipeline.project.project import Project

if TYPE_CHECKING:
    from analysis.records import Outcome
    from etl.cutouts.manifest import Check

log = logging.getLogger(__name__)

Context = TypeVar("Context", bound="RunContext")
_KERNELS = "TORCHINDUCTOR_CACHE_DIR"
"""Where torch keeps what it compiles."""


@dataclass
class RunContext:
    """What a stage may use; ``slice_name`` is the generation in stages that run once per model."""

    stage: str
    slice_name: str | None
    project: Project
    inputs: dict[str, str] = field(default_factory=dict)
    works: list[Path] = field(default_factory=list)

    @property
    def survey(self) -> SurveyParams:
        return self.project.survey

    @property
    def root(self) -> DataRoot:
        return self.project.data

    @property
    def seed(self) -> int:
        """The stage's own seed, derived from the survey's."""
        return int(hashlib.sha256(f"{self.survey.seed}/{self.stage}".encode()).hexdigest()[:8], 16)

    @property
    def code(self) -> dict[str, str]:
        return {"git_commit": git_commit(), "pipeline_version": pipeline_version(), "stage": self.stage}

    def target(self, table: str, slice_name: str | None, where: Mapping[str, str] | None) -> Target:
        """The slice of a table that this stage replaces."""
        who = Provenance(cards.stem(self.stage, self.slice_name), self.code, self.inputs)
        return Target(self.root, tables.spec(table), slice_name, where or {}, who)

    def explain(self, error: Exception) -> None:
        """Raise a clearer error, if this context knows what to do about the one that ended the stage."""

    @property
    def generation(self) -> str:
        if self.slice_name is None:
            raise DarkHaloError(f"stage '{self.stage}' runs once per name: give one with --generation or --manifest")
        return self.slice_name

    def note_input(self, name: str, value: str) -> None:
        """Record what the outputs are made from; it goes into their pins."""
        self.inputs[name] = value

    def note_table(self, table: str, slices: Sequence[str | None] | None) -> None:
        """Record the slices of a table that are read."""
        for entry in cards.slices(self.root, table):
            if slices is None or entry.card.slice in slices:
                name = entry.name
                self.note_input(f"table:{name}", f"{entry.card.fingerprint}@{entry.pin.version}")

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        slices: Sequence[str | None] | None = None,
        ordered: bool = True,
    ) -> pa.Table:
        """Rows of a table at its pinned version, without a JVM, in the order of its key unless ``ordered=False``."""
        self.note_table(table, slices)
        return delta.read(self.root, table, columns, slices, ordered=ordered)

    def write(
        self,
        table: str,
        rows: pa.Table | Sequence[Mapping[str, object]],
        slice_name: str | None = None,
        where: Mapping[str, str] | None = None,
    ) -> Card:
        """Publish a slice of a table whose rows all meet its contract; what plain ``rows`` lack is null."""
        target = self.target(table, slice_name, where)
        card = writing.write_slice(target, rows if isinstance(rows, pa.Table) else target.spec.table(rows))
        log.info("%s: %s rows, %s", cards.stem(table, slice_name), card.rows, card.fingerprint)
        return card

    def write_outcome(self, outcome: Outcome, run_id: str) -> None:
        """Publish what one run has to say as the slices of its name."""
        where = {"run_id": run_id}
        self.write("diagnostics", outcome.diagnostics_rows(run_id), run_id, where)
        self.write("gates", outcome.gates_rows(run_id), run_id, where)
        self.write("findings", outcome.findings_rows(run_id), run_id, where)
        self.write("figure_points", outcome.points_rows(run_id), run_id, where)

    def write_checks(self, table: str, checks: Sequence[Check]) -> None:
        """Publish the checks of a manifest beside its card."""
        for check in checks:
            log.info(
                "%s %s: %s (%s)", self.slice_name, check.name, "passed" if check.passed else "FAILED", check.detail
            )
        text = json.dumps([asdict(check) for check in checks], indent=1)
        atomic.write_text(self.root.cards / "checks" / f"{cards.stem(table, self.slice_name)}.json", text + "\n")

    def write_lineage(self, folder: Path) -> None:
        """Record next to a folder's blobs what they were made from."""
        text = json.dumps({"code": self.code, "inputs": self.inputs}, indent=1, sort_keys=True)
        atomic.write_text(folder / "lineage.json", text + "\n")

    def work(self, *facts: object) -> Path:
        """Folder of partial work on these inputs: resumed by a later run, removed when the stage ends well."""
        text = json.dumps([self.slice_name, *facts], sort_keys=True, default=str)
        folder = self.root.work(self.stage, hashlib.sha256(text.encode()).hexdigest()[:16])
        folder.mkdir(parents=True, exist_ok=True)
        self.works.append(folder)
        return folder

    def shared(self, folder: Path) -> str | None:
        """The prefix below ``survey.work_uri``, if that is set, where Spark's tasks write what comes into a folder."""
        if self.survey.work_uri is None:
            return None
        return storage.below(self.survey.work_uri, *folder.relative_to(self.root.work("", "")).parts)

    def clear(self) -> None:
        """Remove the partial work."""
        for folder in self.works:
            if (place := self.shared(folder)) is not None:
                storage.clear(place)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def stage_run(stage: str, generation: str | None, project: Project, kind: type[Context]) -> Iterator[Context]:
    """Hold the stage's lock, check the pins against the lake, and log the boundaries of the run."""
    root = project.data
    name = cards.stem(stage, generation)
    require_places(project, generation)
    with _stage_lock(root, name), working(root), _kernels_kept(root):
        forget_lost_tables(root)
        started = time.perf_counter()
        log.info("%s: started", name)
        context = kind(stage, generation, project, {cards.SURVEY: project.survey.name})
        try:
            yield context
        except Exception as error:
            context.explain(error)
            raise
        context.clear()
        log.info("%s: done in %.1f s", name, time.perf_counter() - started)


@contextmanager
def _kernels_kept(root: DataRoot) -> Iterator[None]:
    """Keep torch's compiled code in the data folder, unless ``TORCHINDUCTOR_CACHE_DIR`` names another folder, so that
    the next run need not compile again."""
    if _KERNELS in os.environ:
        yield
        return
    os.environ[_KERNELS] = str((root.local / "work" / "compiled").resolve())
    try:
        yield
    finally:
        os.environ.pop(_KERNELS, None)


def require_places(project: Project, slice_name: str | None) -> None:
    """Refuse, before any work, folders that could not be published: by rename, or by DVC.

    DVC writes a `.gitignore` next to what it caches, and refuses a folder that is a link out of the repository.
    """
    root, repository = project.data, project.folder.resolve()
    for folder in (root.local, root.checkpoints("any").parent, root.grid("any").parent):
        if folder.is_symlink() and (repository / ".dvc").is_dir() and not folder.resolve().is_relative_to(repository):
            raise DataError(
                f"{folder} is a link out of the repository, which DVC refuses: make it a folder, and have links inside "
                "it (data/lake, data/work, data/cutouts, data/survey) point to the other disk"
            )
    places = [root.cutouts, root.survey, root.truth, root.report, root.metrics, root.plots]
    if slice_name is not None:
        places += [root.checkpoints(slice_name), root.grid(slice_name), root.stamps(slice_name)]
    for place in places:
        require_place(place)


def forget_lost_tables(root: DataRoot) -> list[str]:
    """Remove cards whose pinned version is no longer in the lake, for DVC to remake them; return their names.

    If any pinned table cannot be read, nothing is forgotten and the error is raised.
    """
    root = root.of_any_survey
    lost = []
    for entry in cards.all_slices(root):
        try:
            delta.open_pinned(root, entry)
        except LostError as error:
            log.warning("%s", error)
            lost.append(entry)
    for entry in lost:
        cards.remove(root, entry.card.table, entry.card.slice)
    return [entry.name for entry in lost]


@contextmanager
def _stage_lock(root: DataRoot, name: str) -> Iterator[None]:
    folder = root.local / "work"
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / f"{name}.pid"
    lock = FileLock(folder / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        other = holder.read_text() if holder.exists() else "unknown"
        raise DarkHaloError(f"stage '{name}' is already running in process {other}; wait for it or stop it") from None
    try:
        with refused.named(holder):
            holder.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()
