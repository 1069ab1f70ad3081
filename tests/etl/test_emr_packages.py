"""The archive of packages that nodes unpack: the lock's versions and hashes, for other processors and Pythons too."""

from __future__ import annotations

import re
import tarfile
from importlib import metadata
from pathlib import Path

import pytest

from etl.emr import packages
from etl.emr.packages import Node
from lake.errors import DataError

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
HERE = Node("3.11", "x86_64")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHS_CACHE", str(tmp_path / "cache"))


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_modules_become_packages_and_the_clusters_own_stay_there() -> None:
    found = packages.distributions(["yaml", "sklearn", "pyspark", "delta", "py4j"])
    assert found == ["click", "pandas", "pyyaml", "scikit-learn"]
    with pytest.raises(DataError, match="no installed package holds nowhere"):
        packages.distributions(["nowhere"])


def test_what_is_installed_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read, real = [], metadata.packages_distributions
    monkeypatch.setattr(metadata, "packages_distributions", lambda: read.append(1) or real())
    packages._installed.cache_clear()
    for module, package in (("yaml", "pyyaml"), ("sklearn", "scikit-learn")):
        assert package in packages.distributions([module])
    assert len(read) == 1


@pytest.mark.usefixtures("whole_stage")
def test_the_archive_holds_the_locks_version_for_the_nodes_processor() -> None:
    version = re.search(r"^xxhash==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert version
    for node in (HERE, Node("3.12", "aarch64")):
        made = packages.archive(["xxhash"], LOCK, node)
        assert f"xxhash-{version[1]}.dist-info/METADATA" in names(made)
        binary = next(name for name in names(made) if name.endswith(".so"))
        assert f"cpython-{node.python.replace('.', '')}-{node.processor}" in binary


@pytest.mark.usefixtures("whole_stage")
def test_an_archive_is_made_once_and_has_the_same_bytes_whenever_it_is_made() -> None:
    made = packages.archive(["xxhash"], LOCK, HERE)
    before, time = made.read_bytes(), made.stat().st_mtime_ns
    assert packages.archive(["xxhash"], LOCK, HERE).stat().st_mtime_ns == time
    made.unlink()
    assert packages.archive(["xxhash"], LOCK, HERE).read_bytes() == before


def test_what_a_package_needs_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(packages, "_unpacked", lambda wanted, node, scratch: seen.append(wanted) or scratch)
    packages.archive(["pandas"], LOCK, HERE)
    needed = re.findall(r"^([a-z0-9-]+)==", seen[0], re.MULTILINE)
    assert {"numpy", "pandas", "python-dateutil", "six"} <= set(needed)
    assert not packages.THEIRS & set(needed)
    assert seen[0].count("--hash=sha256:") > len(needed)


def test_a_lock_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.lock"
    with pytest.raises(DataError, match=r"other\.lock is missing"):
        packages.archive(["xxhash"], other, HERE)
    other.write_text("")
    with pytest.raises(DataError, match=r"other\.lock does not name xxhash: run .make lock."):
        packages.archive(["xxhash"], other, HERE)
    version = re.search(r"^xxhash==\S+", LOCK.read_text(), re.MULTILINE)
    assert version
    other.write_text(f"{version[0]} \\\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(DataError, match=r"the packages of the cluster could not be collected: .*[Hh]ash"):
        packages.archive(["xxhash"], other, HERE)
