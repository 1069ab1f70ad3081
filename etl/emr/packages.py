"""The archive of packages that a cluster's nodes unpack: wheels of the lock, for their Python and processor."""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from uv import find_uv_bin

from lake.errors import DataError
from lake.files import atomic
from lake.root import cache

ALWAYS = ("click", "pandas", "pyyaml")
"""What every stage needs: the command line, parameters, and what Spark's own Python calls."""
THEIRS = frozenset({"delta-spark", "py4j", "pyspark"})
"""What comes with the cluster, in its own versions."""
_SYSTEM = "manylinux_2_28"
"""Wheels that run on Amazon Linux 2023, on which EMR 7 and later are built."""
_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==.*(?:\n[ \t]+.*)*", re.MULTILINE)
_COMPRESSION = 1


@dataclass(frozen=True)
class Node:
    """A node: its Python (``3.11``) and its processor (``x86_64`` or ``aarch64``)."""

    python: str
    processor: str

    @property
    def options(self) -> list[str]:
        """How uv is told to choose wheels for it."""
        return [f"--python-version={self.python}", f"--python-platform={self.processor}-{_SYSTEM}"]


def distributions(modules: Iterable[str]) -> list[str]:
    """The packages that top-level modules belong to (sklearn: scikit-learn) and those that every stage needs."""
    known = _installed()
    unknown = [name for name in modules if name not in known]
    if unknown:
        raise DataError(f"no installed package holds {', '.join(unknown)}: run `make setup`")
    found = {_plain(name) for module in modules for name in known[module]}
    return sorted((found | set(ALWAYS)) - THEIRS)


@functools.cache
def _installed() -> Mapping[str, list[str]]:
    """The packages of each top-level module; the files of all installed packages are read once a process."""
    return metadata.packages_distributions()


def archive(names: Collection[str], lock: Path, node: Node) -> Path:
    """A gzipped tar of the named packages and all they need, as they lie in ``site-packages``.

    Versions and hashes are those of the ``lock`` (a requirements file). It is kept in the machine's cache, and made
    once for the same packages and nodes.
    """
    if not lock.is_file():
        raise DataError(f"{lock} is missing: it says which versions run on the cluster")
    entries = {_plain(match[1]): match[0] for match in _ENTRY.finditer(lock.read_text(encoding="utf-8"))}
    with tempfile.TemporaryDirectory() as scratch:
        needed = _needed(names, lock, node, Path(scratch))
        if lacking := sorted(set(needed) - set(entries)):
            raise DataError(f"{lock} does not name {', '.join(lacking)}: run `make lock`")
        wanted = "".join(f"{entries[name]}\n" for name in needed)
        digest = hashlib.sha256("\n".join([wanted, *node.options, str(_COMPRESSION)]).encode()).hexdigest()[:32]
        made = cache() / "packages" / f"{digest}.tar.gz"
        if not made.exists():
            _pack(_unpacked(wanted, node, Path(scratch)), made)
    return made


def _needed(names: Collection[str], lock: Path, node: Node, scratch: Path) -> list[str]:
    """Names of packages and of all they need."""
    given = scratch / "packages.in"
    given.write_text("".join(f"{name}\n" for name in sorted(names)))
    options = ["--no-header", "--no-annotate", f"--constraint={lock.resolve()}", *node.options]
    text = _uv("compile", *options, str(given))
    return sorted({_plain(match[1]) for match in _ENTRY.finditer(text)} - THEIRS)


def _unpacked(wanted: str, node: Node, scratch: Path) -> Path:
    """A folder with the packages of a requirements file."""
    listed, site = scratch / "packages.txt", scratch / "site"
    listed.write_text(wanted, encoding="utf-8")
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", f"--target={site}", *node.options]
    _uv("install", *options, f"--requirements={listed}")
    return site


def _uv(*arguments: str) -> str:
    command = [find_uv_bin(), "pip", arguments[0], "--quiet", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"the packages of the cluster could not be collected: {' '.join(done.stderr.split())[:1000]}")
    return done.stdout


def _pack(site: Path, made: Path) -> None:
    """The same bytes for the same files: nodes and uploads are told apart by the hash."""
    made.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic.replacing(made) as draft,
        draft.open("wb") as file,
        gzip.GzipFile("", "wb", _COMPRESSION, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted(site.rglob("*")):
            if path.is_file() and path.relative_to(site).parts[0] not in ("bin", ".lock"):
                tar.add(path, str(path.relative_to(site)), recursive=False, filter=_anonymous)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
