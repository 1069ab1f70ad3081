"""DVC's files (cut-outs, checkpoints, score batches, the report) to and from a remote, in DVC's own layout.

They are named by their checksum, so what has a name is whole. `dvc push` and `dvc pull` understand the same remote.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lake.errors import DarkHaloError, UnreachableError, one_line
from lake.upkeep.depot import Depot
from lake.upkeep.pushing import DAMAGED_THERE, Copy, Moved, bring
from lake.upkeep.records import Item
from pipeline.tables import finderfolders
from pipeline.tables.finderfolders import ENDING, key

_PLACE = ("files", "md5")


@dataclass(frozen=True)
class Out:
    """A file or folder that DVC keeps, by the checksum that dvc.lock gives."""

    path: Path
    name: str


@dataclass(frozen=True)
class Kept:
    """What DVC keeps of this project, and its cache."""

    outs: tuple[Out, ...]
    cache: Depot
    finders: tuple[Out, ...] = ()
    """Folders of users' finders, which no stage makes."""


def kept(folder: Path, finders: Path) -> Kept:
    """The outputs in dvc.yaml that DVC caches, and the folders in ``finders``, as far as dvc.lock records them."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(folder.resolve())) as repo:
            outs, place = list(repo.index.outs), finders.resolve()
            made = {out.fs_path for out in outs}
            deps = [dep for dep in repo.index.deps if dep.fs_path not in made and Path(dep.fs_path).parent == place]
            found, given = _recorded(out for out in outs if out.use_cache), set(_recorded(deps))
            return Kept(tuple(found), Depot.at(repo.cache.local.path), tuple(sorted(given, key=lambda one: one.path)))
    except DvcException as error:
        raise DarkHaloError(f"DVC cannot read this project: {one_line(error)}") from error


def _recorded(found: Iterable[Any]) -> list[Out]:
    """Those of DVC's outputs or dependencies that have a checksum in dvc.lock."""
    named = [(Path(one.fs_path), str(one.hash_info.value)) for one in found if one.hash_info]
    return [Out(path, name) for path, name in named if re.fullmatch(r"[0-9a-f]{32}(\.dir)?", name)]


def push(found: Kept, remote: Depot) -> Moved:
    """Bring what the cache holds and the remote lacks; a folder's listing after its files."""
    store, own = remote.below(*_PLACE), found.cache.sizes()
    there = store.sizes()
    problems: list[str] = []
    copies: dict[str, Copy] = {}
    for out in found.outs:
        if key(out.name) in there:
            continue
        if lost := [name for name in _contents(out, found.cache, own) if key(name) not in own.keys() | there.keys()]:
            problems.append(f"not pushed: {out.path} is not in DVC's cache ({len(lost)} files); run `dvc commit`")
            continue
        for name in _contents(out, found.cache, own):
            if key(name) not in there:
                copies[name] = _copy(found.cache, store, name, own[key(name)])
    done = _brought(copies, "Pushing DVC's files", problems)
    return _sum(done, [finderfolders.push(one.path, one.name, store) for one in found.finders if one.path.is_dir()])


def pull(found: Kept, remote: Depot, folder: Path) -> Moved:
    """Bring what the cache lacks, and let DVC put its outputs in place."""
    store, own = remote.below(*_PLACE), found.cache.sizes()
    there = store.sizes()
    listings = {
        out.name: _copy(store, found.cache, out.name, there[key(out.name)])
        for out in found.outs
        if out.name.endswith(ENDING) and key(out.name) not in own and key(out.name) in there
    }
    done = _brought(listings, "Pulling DVC's listings", [], DAMAGED_THERE)
    own |= {key(name): copy.item.size for name, copy in listings.items()}
    problems: list[str] = []
    whole: list[Path] = []
    copies: dict[str, Copy] = {}
    for out in found.outs:
        needed = [name for name in _contents(out, found.cache, own) if key(name) not in own]
        if lost := [name for name in needed if key(name) not in there]:
            problems.append(
                f"{out.path} was not pulled: the remote lacks {len(lost)} of its files; whoever committed dvc.lock has "
                "to run `dhs push`"
            )
            continue
        copies |= {name: _copy(store, found.cache, name, there[key(name)]) for name in needed}
        whole.append(out.path)
    then = _brought(copies, "Pulling DVC's files", problems, DAMAGED_THERE)
    if whole:
        _check_out(folder, whole)
    return _sum(done, [then, *(finderfolders.pull(one.path, one.name, store) for one in found.finders)])


def _sum(first: Moved, more: Iterable[Moved]) -> Moved:
    parts = [first, *more]
    problems = tuple(problem for part in parts for problem in part.problems)
    return Moved(0, sum(part.files for part in parts), sum(part.size for part in parts), problems)


def _check_out(folder: Path, outs: Sequence[Path]) -> None:
    """What `dvc checkout` does, for a remote too that DVC itself has no plugin for."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    plain = {"core": {"remote": "here"}, "remote": {"here": {"url": str(folder.resolve() / ".dvc" / "cache")}}}
    try:
        with warnings.catch_warnings(action="ignore"), Repo(str(folder.resolve()), config=plain) as repo:
            repo.checkout(targets=[str(out) for out in outs])
    except DvcException as error:
        raise DarkHaloError(
            f"DVC could not put its files in place ({one_line(error)}): run `dvc checkout` to see why, then `dhs pull`"
        ) from error


def _contents(out: Out, cache: Depot, own: dict[str, int]) -> Iterator[str]:
    """The checksums that an output is made of, a folder's own last."""
    if out.name.endswith(ENDING) and key(out.name) in own:
        try:
            yield from (str(part["md5"]) for part in json.loads(cache.read(key(out.name))))
        except (ValueError, LookupError, TypeError) as error:
            raise UnreachableError(f"{cache.place}/{key(out.name)} is damaged: delete it and pull again") from error
    yield out.name


def _copy(source: Depot, target: Depot, name: str, size: int) -> Copy:
    item = Item(key(name), size, name.removesuffix(ENDING))
    return Copy(source, item.name, target, item.name, item, "md5")


def _brought(copies: dict[str, Copy], what: str, problems: Sequence[str], cure: str = "") -> Moved:
    """The copies made: files first, then listings of folders, so that a listing says that all its files are there."""
    for last in (False, True):
        bring([copy for name, copy in copies.items() if name.endswith(ENDING) is last], what, cure)
    return Moved(0, len(copies), sum(copy.item.size for copy in copies.values()), tuple(problems))
