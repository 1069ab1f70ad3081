"""A place for files, a folder or a prefix of an object store: each file appears whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lake.addresses import is_remote
from lake.errors import DamagedError, UnreachableError
from lake.files import storage
from lake.files.objects import Store

_CHUNK = 1 << 22


@dataclass(frozen=True)
class Depot:
    """Files by their names below a folder or an ``s3://`` prefix; ``store`` is that of the prefix."""

    place: str
    store: Store | None = None

    @classmethod
    def at(cls, place: str, options: Mapping[str, str] | None = None) -> Depot:
        """The files at a path or address; ``options`` are those of :class:`Store`."""
        if not is_remote(place):
            return cls(place)
        return cls(storage.absolute(place), Store(options) if options else Store.of_environment())

    def below(self, *parts: str) -> Depot:
        """The files below a folder of this place."""
        return replace(self, place=storage.below(self.place, *parts))

    def sizes(self) -> dict[str, int]:
        """Every file below, with its size in bytes; none where there is no such folder."""
        return {name: size for name, (size, _) in self.states().items()}

    def states(self, drafts: bool = False) -> dict[str, tuple[int, float]]:
        """Every file below, with its size in bytes and its time of change in seconds.

        With ``drafts`` also hidden ones, such as writers that were killed leave (:mod:`lake.files.atomic`).
        """
        found = storage.files(self.place, self.store)
        return {name: (f.size, f.changed) for name, f in found if drafts or not Path(name).name.startswith(".")}

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return storage.find(self._at(name), self.store) is not None

    def require_place(self) -> None:
        """Raise UnreachableError where the bucket, or the folder that holds this one, does not exist."""
        if self.store is not None:
            self.store.require_bucket(self.place)
        elif not (outer := Path(self.place).resolve().parent).exists():
            raise UnreachableError(
                f"{self.place} cannot be reached: there is no {outer}; mount it, create it or connect"
            )

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        return storage.read(self._at(name), self.store)

    def chunks(self, name: str) -> Iterator[bytes]:
        """A file's bytes, a few MB at a time. DamagedError where it is missing."""
        try:
            with storage.open_file(self._at(name), self.store) as file:
                while content := file.read(_CHUNK):
                    yield content
        except FileNotFoundError as error:
            raise DamagedError(f"{self.place}/{name} is missing; `dhs push`, where it is, brings it again") from error

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with storage.writing(self._at(name), self.store) as file:
            file.write(content)

    def copy(self, source: Depot, name: str, to: str, checksum: str, kind: str = "sha256") -> None:
        """Copy a file from another place. DamagedError, with nothing kept, if its bytes have another checksum."""
        found = hashlib.new(kind)
        with storage.writing(self._at(to), self.store) as file:
            for content in source.chunks(name):
                found.update(content)
                file.write(content)
            if found.hexdigest() != checksum:
                raise DamagedError(f"{source.place}/{name} has checksum {found.hexdigest()[:16]}, not {checksum[:16]}")

    def remove(self, name: str) -> None:
        """Delete a file."""
        storage.remove(self._at(name), self.store)

    def sha256(self, name: str) -> str:
        """The checksum of a file's bytes."""
        found = hashlib.sha256()
        for content in self.chunks(name):
            found.update(content)
        return found.hexdigest()

    def _at(self, name: str) -> str:
        return storage.below(self.place, name)
