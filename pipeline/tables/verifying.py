"""Checks that everything made is intact, and repairs.

Tables are compared with their cards, shards and manifests with the hashes in ``cutouts``, checkpoints with their own
card, grids and the report with the checksums they carry.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pyarrow as pa
import yaml

from lake import tables, yamltext
from lake.contract import rules
from lake.contract.fingerprint import fingerprint
from lake.errors import ContractError, DamagedError, DamagedLogError, DarkHaloError, LakeError, LostError
from lake.root import DataRoot
from lake.store import cards, delta, expected, held, parts, stamps, status
from lake.store.cards import Slice
from lake.upkeep import collecting, ends
from lake.upkeep.references import references
from pipeline.project.outputs import figure_problems, grid_problems, page_problems
from pipeline.project.project import Project
from pipeline.tables.texttable import size_text

_FIGURES = ("metrics", "plots", "baselines")
"""Small outputs that are compared with the checksums in dvc.lock."""


_ANEW = ("code", "listing")
"""Folders of hashes of the code and of the survey's files, which say nothing about results."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, in a sentence, and what has to be removed before it can be remade."""

    sentence: str
    forget: tuple[Slice, ...] = ()
    """Slices whose cards are forgotten."""
    table: str | None = None
    """The table that is set aside."""
    blobs: tuple[Path, ...] = ()
    """Files and folders that are set aside."""
    gone: Path | None = None
    """An output of the pipeline that is missing outright."""

    @property
    def mendable(self) -> bool:
        return bool(self.forget or self.table or self.blobs or self.gone)


def check(project: Project, *, deep: bool) -> list[Finding]:
    """What is not intact; ``deep`` reads every byte of tables, shards, checkpoints, grids and report."""
    root = project.data.of_any_survey
    found = [*_tables(root, deep), *_told(_records, project)]
    if deep:
        for part in (_pixels, _checkpoints, _grids, _outputs):
            found.extend(_told(part, project))
        found.extend(_blobs(page_problems(root.report / "index.html")))
        found.extend(_blobs(figure_problems(root.report / "figures")))
    return list({finding.sentence: finding for finding in found}.values())


def loose(project: Project) -> str | None:
    """A line about files in the lake that no pin, here or in git, refers to; None if there are none."""
    root = project.data.of_any_survey
    with suppress(DarkHaloError):
        found = collecting.waste(root, references(root), 0.0)
        if files := sum(len(one.files) for one in found):
            size = size_text(sum(one.size for one in found))
            return f"{files} files of tables ({size}) belong to no version that is pinned; `dhs lake gc` lists them"
    return None


def repair(project: Project, findings: Sequence[Finding]) -> list[str]:
    """Prepare remaking what is wrong; return the commands that do it, none if nothing can be done.

    Damaged bytes are set aside under ``.damaged``; cards, pins and accounts of parts are deleted and made again.
    Nothing is touched while a finding has no such cure (a table that cannot be read, a damaged card).
    """
    root = project.data
    if not all(finding.mendable for finding in findings):
        return []
    for table in sorted({finding.table for finding in findings if finding.table}):
        held.set_aside(root, table)
    forgotten = [entry for finding in findings for entry in finding.forget]
    for entry in forgotten:
        parts.forget(root, entry.card.table)
        cards.remove(root, entry.card.table, entry.card.slice)
    imports = sorted({str(entry.card.slice) for entry in forgotten if entry.pin.code.get("stage") == "import"})
    blobs = sorted({blob for finding in findings for blob in finding.blobs})
    for blob in filter(Path.exists, blobs):
        _set_aside(root, blob)
    outs = {_out(root, blob) for blob in blobs} | {finding.gone for finding in findings if finding.gone}
    cached = sorted(out.as_posix() for out in outs if _is_cached(project, out))
    again = [f"dhs import ... --name {name}" for name in imports]  # no stage makes what others measured
    return [*([f"dvc checkout {' '.join(cached)}"] if cached else []), "dvc repro", *again]


def _records(project: Project) -> list[Finding]:
    """Nothing, if the registry's records can be read: no command remakes them, so an error is the finding."""
    status.records(project.data)
    expected.records(project.data)
    return []


def _recorded(project: Project) -> dict[Path, str]:
    """The outputs that DVC records, with their MD5."""
    lock = project.folder / "dvc.lock"
    if not lock.exists():
        return {}
    try:
        stages = yamltext.values(lock.read_bytes())["stages"].values()
        return {
            project.folder / str(made["path"]): str(made.get("md5", ""))
            for stage in stages
            for made in stage.get("outs", ())
        }
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise LakeError(
            f"{lock} is damaged: restore it (`git checkout -- {lock}`), or delete it and run `dvc repro`"
        ) from error


def _is_cached(project: Project, out: Path) -> bool:
    """Whether DVC may hold a copy of an output."""
    kinds = ("cutouts", "stamps", "checkpoints", "grid", "baselines", "report")
    return out.relative_to(project.data.local).parts[0] in kinds and out in _recorded(project)


def _outputs(project: Project) -> Iterator[Finding]:
    """What the pipeline made and is missing, and figures of a generation that have changed.

    A clone lacks what every run writes anew (``_ANEW``).
    """
    root = project.data
    for out, digest in _recorded(project).items():
        if not out.is_relative_to(root.local) or (out.name in _ANEW and not out.exists()):
            continue
        needed = out / "index.html" if out == root.report else out
        if not needed.exists():
            yield Finding(f"{needed} is missing, though dvc.lock records it; run `dvc repro`", gone=out)
        elif out.relative_to(root.local).parts[0] in _FIGURES and _digest(out) != digest:
            yield Finding(f"{out} differs from what dvc.lock records; run `dvc repro`", blobs=(out,))


def _digest(out: Path) -> str:
    """MD5 of a file or folder, as DVC forms it."""
    if out.is_file():
        return hashlib.md5(out.read_bytes()).hexdigest()
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    listed = json.dumps([{"md5": _digest(out / name), "relpath": name} for name in files])
    return f"{hashlib.md5(listed.encode()).hexdigest()}.dir"


def _told(part: Callable[[Project], Iterable[Finding]], project: Project) -> list[Finding]:
    """The findings of one part, or why it cannot be checked."""
    try:
        return list(part(project))
    except DarkHaloError as error:
        return [Finding(str(error))] if not isinstance(error, (LostError, DamagedError)) else []


def _tables(root: DataRoot, deep: bool) -> Iterator[Finding]:
    for table in cards.tables(root):
        try:
            entries = cards.slices(root, table)
        except LakeError as error:
            yield Finding(str(error))
            continue
        yield from (finding for entry in entries if (finding := _judge(root, entry, deep)))


def _judge(root: DataRoot, entry: Slice, deep: bool) -> Finding | None:
    try:
        table = delta.open_pinned(root, entry)
        delta.require_files(root, entry, table)
        if not deep:
            return None
        held.require_log(root, entry)
        rows = delta.read(root, entry.card.table, slices=[entry.card.slice], ordered=False)
        ends.require(root, entry, table)
    except DamagedLogError as error:
        if root.lake_uri:
            return Finding(str(error))
        return Finding(str(error), tuple(cards.slices(root, entry.card.table)), entry.card.table)
    except (LostError, DamagedError) as error:
        return Finding(str(error), (entry,))
    except DarkHaloError as error:
        return Finding(str(error))
    return _wrong_rows(entry, rows)


def _wrong_rows(entry: Slice, rows: pa.Table) -> Finding | None:
    """Rows that are not those of the card, or break the contract that the card was made by."""
    spec, name = tables.spec(entry.card.table), entry.name
    found = fingerprint(rows, spec)
    if found == entry.card.fingerprint:
        try:
            if entry.card.schema_hash == spec.schema_hash():
                rules.require(spec, rows, entry.card.where)
        except ContractError as error:
            return Finding(f"table {error}", (entry,))
        return None
    return Finding(f"table '{name}' has fingerprint {found}, but its card says {entry.card.fingerprint}", (entry,))


def _pixels(project: Project) -> Iterator[Finding]:
    root = project.data.of_any_survey
    yield from _blobs(stamps.shard_problems(root))
    for slice_name, sentence in stamps.manifest_problems(root).items():
        yield Finding(sentence, (cards.read_slice(root, "manifest", slice_name),))


def _checkpoints(project: Project) -> Iterator[Finding]:
    for folder in sorted((project.data.local / "checkpoints").glob("[!.]*")):
        from modeling.scoring import checkpoint  # loading torch takes seconds, and only this part needs it

        for sentence in checkpoint.problems(folder):
            yield Finding(sentence, blobs=(folder,))


def _grids(project: Project) -> Iterator[Finding]:
    for folder in sorted((project.data.local / "grid").glob("[!.]*")):
        mine = "" if _is_cached(project, folder) else "; `dhs inject` or `dhs audit --cutouts` remakes it"
        yield from _blobs({path: f"{told}{mine}" for path, told in grid_problems(folder).items()})


def _blobs(problems: dict[Path, str]) -> Iterator[Finding]:
    for path, sentence in problems.items():
        yield Finding(sentence, blobs=(path,))


def _out(root: DataRoot, blob: Path) -> Path:
    """The DVC output that a file belongs to."""
    parts = blob.relative_to(root.local).parts
    return root.local.joinpath(*parts[: 1 if parts[0] in (root.cutouts.name, root.report.name) else 2])


def _set_aside(root: DataRoot, blob: Path) -> None:
    """Move a file or folder out of the way."""
    kept = root.local / ".damaged" / blob.relative_to(root.local)
    kept.parent.mkdir(parents=True, exist_ok=True)
    numbered = (kept.with_name(f"{kept.name}.{number}") for number in count(1))
    shutil.move(blob, next(place for place in numbered if not place.exists()))
