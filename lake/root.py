"""Places of all files under the data root."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from lake.addresses import plain
from lake.errors import LakeError
from lake.names import checked_name


def private_folder() -> Path:
    """A private folder of this user under the system's temporary one, for files that have no better place."""
    folder = Path(tempfile.gettempdir()) / f"darkhaloscope-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise LakeError(f"{folder} belongs to another user: set TMPDIR to a folder of your own")
    return folder


def cache() -> Path:
    """Folder of files that are fetched or built once per machine (``DHS_CACHE``)."""
    return Path(os.environ.get("DHS_CACHE", "~/.cache/darkhaloscope")).expanduser()


def nearest_with(start: Path, *names: str) -> Path | None:
    """The folder, ``start`` or the nearest above it, that has one of these files."""
    place = start.resolve()
    return next((one for one in (place, *place.parents) if any((one / name).is_file() for name in names)), None)


class _Below:
    """A path below the local data folder."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, root: DataRoot, owner: type[DataRoot]) -> Path:
        return root.local.joinpath(*self._parts)


@dataclass(frozen=True)
class DataRoot:
    """The local data folder, the place of the Delta tables (``<local>/lake`` unless an object store is named), and the
    survey whose tables are read (those of any where it is None)."""

    local: Path
    lake_uri: str | None = None
    survey_name: str | None = None
    cards = _Below("cards")
    registry = _Below("registry")
    survey = _Below("survey")
    truth = _Below("truth")
    cutouts = _Below("cutouts")
    metrics = _Below("metrics")
    plots = _Below("plots")
    baselines = _Below("baselines")
    judged = _Below("judged")
    report = _Below("report")
    spark = _Below("spark")
    mlflow_database = _Below("mlflow", "mlflow.db")

    @classmethod
    def of(cls, local: str | Path, lake_uri: str | None = None, survey_name: str | None = None) -> DataRoot:
        return cls(Path(local), plain(lake_uri) if lake_uri else None, survey_name)

    @property
    def of_any_survey(self) -> DataRoot:
        """The same place, with the tables of every survey."""
        return replace(self, survey_name=None)

    def table(self, name: str) -> str:
        """Path or URI of a Delta table; absolute if local, for a server with another working directory."""
        return f"{self.lake_uri}/{name}" if self.lake_uri else str((self.local / "lake" / name).resolve())

    def witness(self, table: str, slice_name: str | None) -> Path:
        """A file inside the table's folder: when the table is deleted so is it, and DVC sees the output missing."""
        return self.local / "lake" / table / "_witness" / f"{slice_name or 'whole'}.json"

    def work(self, stage: str, input_hash: str) -> Path:
        """Folder of a stage's partial work on one set of inputs."""
        return self.local / "work" / stage / input_hash

    def checkpoints(self, generation: str) -> Path:
        return self.local / "checkpoints" / checked_name(generation, "generation")

    def finders(self) -> list[str]:
        """Names of the finders that have a checkpoint folder."""
        return sorted(path.name for path in (self.local / "checkpoints").glob("[!.]*") if path.is_dir())

    def grid(self, generation: str) -> Path:
        return self.local / "grid" / checked_name(generation, "generation")

    def stamps(self, set_name: str) -> Path:
        """Folder of the shards of a set of simulated stamps."""
        return self.local / "stamps" / checked_name(set_name, "set")
