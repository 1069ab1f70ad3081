"""DVC's files (cut-outs, checkpoints, score batches, the report) to and from a remote, in DVC's own layout.

They are named by their checksum, so what has a name is whole. `dvc push` and `dvc pull` understand the same remote.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lake.errors import DarkHaloError, UnreachableError, one_line
from lake.upkeep.depot import Depot
from lake.upkeep.pushing import Copy, Moved, bring
from lake.upkeep.records import Item

_FOLDER = ".dir"
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


def kept(folder: Path) -> Kept:
    """The outputs in dvc.yaml that DVC caches, as far as dvc.lock records them."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(folder.resolve())) as repo:
            found = [
                Out(Path(out.fs_path), out.hash_info.value)
                for out in repo.index.outs
                if out.use_cache and out.hash_info and re.fullmatch(r"[0-9a-f]{32}(\.dir)?", out.hash_info.value or "")
            ]
            return Kept(tuple(found), Depot.at(repo.cache.local.path))
    except DvcException as error:
        raise DarkHaloError(f"DVC cannot read this project: {one_line(error)}") from error


def push(found: Kept, remote: Depot) -> Moved:
    """Bring what the cache holds and the remote lacks; a folder's listing after its files."""
    store, own = remote.below(*_PLACE), found.cache.sizes()
    there = store.sizes()
    problems: list[str] = []
    copies: dict[str, Copy] = {}
    for out in found.outs:
        if _key(out.name) in there:
            continue
        if lost := [name for name in _contents(out, found.cache, own) if _key(name) not in own.keys() | there.keys()]:
            problems.append(f"not pushed: {out.path} is not in DVC's cache ({len(lost)} files); run `dvc commit`")
            continue
        for name in _contents(out, found.cache, own):
            if _key(name) not in there:
                copies[name] = _copy(found.cache, store, name, own[_key(name)])
    return _brought(copies, "Pushing DVC's files", problems)


def pull(found: Kept, remote: Depot, folder: Path) -> Moved:
    """Bring what the cache lacks, and let DVC put its outputs in place."""
    store, own = remote.below(*_PLACE), found.cache.sizes()
    there = store.sizes()
    listings = {
        out.name: _copy(store, found.cache, out.name, there[_key(out.name)])
        for out in found.outs
        if out.name.endswith(_FOLDER) and _key(out.name) not in own and _key(out.name) in there
    }
    done = _brought(listings, "Pulling DVC's listings", [])
    own |= {_key(name): copy.item.size for name, copy in listings.items()}
    problems: list[str] = []
    whole: list[Path] = []
    copies: dict[str, Copy] = {}
    for out in found.outs:
        needed = [name for name in _contents(out, found.cache, own) if _key(name) not in own]
        if lost := [name for name in needed if _key(name) not in there]:
            problems.append(
                f"{out.path} was not pulled: the remote lacks {len(lost)} of its files; whoever committed dvc.lock has "
                "to run `dhs push`"
            )
            continue
        copies |= {name: _copy(store, found.cache, name, there[_key(name)]) for name in needed}
        whole.append(out.path)
    then = _brought(copies, "Pulling DVC's files", problems)
    if whole:
        _check_out(folder, whole)
    return Moved(len(whole), done.files + then.files, done.size + then.size, then.problems)


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
    if out.name.endswith(_FOLDER) and _key(out.name) in own:
        try:
            yield from (str(part["md5"]) for part in json.loads(cache.read(_key(out.name))))
        except (ValueError, LookupError, TypeError) as error:
            raise UnreachableError(f"{cache.place}/{_key(out.name)} is damaged: delete it and pull again") from error
    yield out.name


def _key(name: str) -> str:
    return f"{name[:2]}/{name[2:]}"


def _copy(source: Depot, target: Depot, name: str, size: int) -> Copy:
    item = Item(_key(name), size, name.removesuffix(_FOLDER))
    return Copy(source, item.name, target, item.name, item, "md5")


def _brought(copies: dict[str, Copy], what: str, problems: Sequence[str]) -> Moved:
    """The copies made: files first, then listings of folders, so that a listing says that all its files are there."""
    for last in (False, True):
        bring([copy for name, copy in copies.items() if name.endswith(_FOLDER) is last], what)
    return Moved(0, len(copies), sum(copy.item.size for copy in copies.values()), tuple(problems))
