"""A place for files, a folder or a prefix of an object store: each file appears whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyarrow import fs

from lake.errors import DamagedError, UnreachableError, one_line
from lake.files import atomic
from lake.store import held

_CHUNK = 1 << 22


@dataclass(frozen=True)
class Depot:
    """Files by their names below a folder or an ``s3://`` prefix."""

    place: str
    files: fs.FileSystem
    path: str

    @classmethod
    def at(cls, place: str, options: Mapping[str, Any] | None = None) -> Depot:
        """The files at a path or URI; ``options`` are those of Arrow's file system of S3."""
        place = place.replace("s3a://", "s3://", 1).rstrip("/")
        if not place.startswith("s3://"):
            return cls(place, fs.LocalFileSystem(), str(Path(place).resolve()))
        with _reached(place, remote=True):
            files, path = held.object_store(
                place,
                connect_timeout=10,
                request_timeout=60,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=4),
                **(options or {}),
            )
        return cls(place, files, path)

    @property
    def remote(self) -> bool:
        return not isinstance(self.files, fs.LocalFileSystem)

    def below(self, *parts: str) -> Depot:
        """The files below a folder of this place."""
        return replace(self, place="/".join((self.place, *parts)), path="/".join((self.path, *parts)))

    def sizes(self) -> dict[str, int]:
        """Every file below, with its size in bytes; none where there is no such folder."""
        return {name: size for name, (size, _) in self.states().items()}

    def states(self) -> dict[str, tuple[int, float]]:
        """Every file below, with its size in bytes and its time of change in seconds."""
        with _reached(self.place, self.remote):
            found = self.files.get_file_info(fs.FileSelector(self.path, allow_not_found=True, recursive=True))
        named = {info.path.removeprefix(self.path).lstrip("/"): info for info in found}
        return {
            name: (info.size, info.mtime_ns / 1e9)
            for name, info in named.items()
            if info.type == fs.FileType.File and not Path(name).name.startswith(".")
        }

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        with _reached(self.place, self.remote):
            return self.files.get_file_info(f"{self.path}/{name}").type == fs.FileType.File

    def require_place(self) -> None:
        """Raise UnreachableError where the bucket, or the folder that holds this one, does not exist."""
        outer = self.path.split("/", 1)[0] if self.remote else str(Path(self.path).parent)
        with _reached(self.place, self.remote):
            there = self.files.get_file_info(outer).type != fs.FileType.NotFound
        if not there:
            raise UnreachableError(
                f"{self.place} cannot be reached: there is no {outer}; mount it, create it or connect"
            )

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        with _reached(self.place, self.remote), self.files.open_input_stream(f"{self.path}/{name}") as file:
            return bytes(file.read())

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file's bytes, a few MB at a time. DamagedError where it is missing."""
        try:
            with _reached(self.place, self.remote), self.files.open_input_stream(f"{self.path}/{name}") as file:
                while content := file.read(_CHUNK):
                    yield content
        except FileNotFoundError as error:
            raise DamagedError(f"{self.place}/{name} is missing; `dhs push`, where it is, brings it again") from error

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with self._draft(name) as file:
            file.write(content)

    def copy(self, source: Depot, name: str, to: str, checksum: str, kind: str = "sha256") -> None:
        """Copy a file from another place. DamagedError, with nothing kept, if its bytes have another checksum."""
        found = hashlib.new(kind)
        with self._draft(to) as file:
            for content in source.chunks(name):
                found.update(content)
                file.write(content)
            if found.hexdigest() != checksum:
                raise DamagedError(f"{source.place}/{name} has checksum {found.hexdigest()[:16]}, not {checksum[:16]}")

    def remove(self, name: str) -> None:
        """Delete a file."""
        with _reached(self.place, self.remote):
            self.files.delete_file(f"{self.path}/{name}")

    def discard(self, name: str) -> None:
        """Delete a file if it is there."""
        with suppress(FileNotFoundError):
            self.remove(name)

    def sha256(self, name: str) -> str:
        """The checksum of a file's bytes."""
        found = hashlib.sha256()
        for content in self.chunks(name):
            found.update(content)
        return found.hexdigest()

    @contextmanager
    def _draft(self, name: str) -> Iterator[Any]:
        if not self.remote:
            with atomic.replacing(Path(self.path, name)) as draft, draft.open("wb") as file:
                yield file
            return
        with _reached(self.place, self.remote):
            file = self.files.open_output_stream(f"{self.path}/{name}")
            try:
                yield file
            except BaseException:
                file.close()  # which completes the object
                self.files.delete_file(f"{self.path}/{name}")
                raise
            file.close()


@contextmanager
def _reached(place: str, remote: bool) -> Iterator[None]:
    """Raise what an object store answers as UnreachableError; the system's own errors pass."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if not remote:
            raise
        raise UnreachableError(
            f"{place} cannot be reached ({one_line(error)}): connect, check its address and your credentials, "
            "and run the command again"
        ) from error
