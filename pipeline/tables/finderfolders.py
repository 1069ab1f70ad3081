"""The folders of users' finders, which stages read and none makes, to and from a remote.

dvc.lock records such a folder as it records DVC's own, so it travels in the same form: each file by its MD5, and a
listing by the MD5 of its text.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path, PurePosixPath

from lake.errors import DamagedError
from lake.files.publishing import published_folder
from lake.upkeep.depot import Depot
from lake.upkeep.pushing import DAMAGED_THERE, Copy, Moved, bring
from lake.upkeep.records import Item

ENDING = ".dir"


def key(name: str) -> str:
    """Where DVC keeps what has this checksum."""
    return f"{name[:2]}/{name[2:]}"


def push(folder: Path, name: str, store: Depot) -> Moved:
    """Bring a folder that dvc.lock records by the checksum ``name``, unless the remote has it."""
    if store.has(key(name)):
        return Moved(0, 0, 0)
    own = Depot.at(str(folder))
    items = [Item(file, size, _md5(own, file)) for file, size in sorted(own.sizes().items())]
    listing = _listing(items)
    if f"{hashlib.md5(listing).hexdigest()}{ENDING}" != name:
        return Moved(0, 0, 0, (f"not pushed: {folder} differs from what dvc.lock records; run `dvc repro`",))
    bring([Copy(own, item.name, store, key(item.sha256), item, "md5") for item in items], f"Pushing {folder.name}")
    store.write(key(name), listing)
    return Moved(0, len(items) + 1, sum(item.size for item in items))


def pull(folder: Path, name: str, store: Depot) -> Moved:
    """Bring a folder that is not here."""
    if folder.exists():
        return Moved(0, 0, 0)
    if not store.has(key(name)):
        why = "the remote lacks it; whoever audited it has to run `dhs push`"
        return Moved(0, 0, 0, (f"{folder} was not pulled: {why}",))
    listing = store.read(key(name))
    if f"{hashlib.md5(listing).hexdigest()}{ENDING}" != name:
        raise DamagedError(
            f"{store.place}/{key(name)} is damaged: remove it there and run `dhs push` where the folder is"
        )
    items = [Item(str(part["relpath"]), 0, str(part["md5"])) for part in json.loads(listing)]
    if any(".." in PurePosixPath(item.name).parts or PurePosixPath(item.name).is_absolute() for item in items):
        raise DamagedError(f"{store.place}/{key(name)} names files outside of {folder}")
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    with published_folder(folder, draft):
        target = Depot.at(str(draft))
        bring(
            [Copy(store, key(i.sha256), target, i.name, i, "md5") for i in items],
            f"Pulling {folder.name}",
            DAMAGED_THERE,
        )
    return Moved(0, len(items), sum(Depot.at(str(folder)).sizes().values()))


def _md5(own: Depot, name: str) -> str:
    found = hashlib.md5()
    for content in own.chunks(name):
        found.update(content)
    return found.hexdigest()


def _listing(items: list[Item]) -> bytes:
    """The text of a folder's listing, as DVC forms it."""
    return json.dumps([{"md5": item.sha256, "relpath": item.name} for item in items]).encode()
