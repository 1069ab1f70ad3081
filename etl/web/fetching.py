"""Files fetched from a server: resumed where an earlier attempt ended, and compared with their checksums."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from etl.web.polite import FaultyError, Polite, UnansweredError
from etl.web.release import File
from lake.errors import DataError

log = logging.getLogger(__name__)

_PART = 1 << 20
HERE, FETCHED, FAILED = "here", "fetched", "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of a file: ``here`` before, ``fetched``, or ``failed`` for a reason; its size in bytes."""

    file: File
    state: str
    bytes: int = 0
    reason: str = ""


async def fetch_all(
    polite: Polite, files: Iterable[File], folder: Path, workers: int, told: Callable[[Outcome], object]
) -> list[Outcome]:
    """Fetch files into ``folder``, some at a time; each ends as an outcome, which is also ``told`` as it comes."""
    waiting, found = iter(files), []

    async def work() -> None:
        for file in waiting:
            outcome = await _outcome(polite, file, folder / file.place)
            found.append(outcome)
            told(outcome)

    await asyncio.gather(*(work() for _ in range(workers)))
    return found


async def _outcome(polite: Polite, file: File, target: Path) -> Outcome:
    try:
        if await asyncio.to_thread(is_here, file, target):
            return Outcome(file, HERE, target.stat().st_size)
        await fetch(polite, file, target)
    except UnansweredError as error:
        return Outcome(file, FAILED, 0, str(error))
    return Outcome(file, FETCHED, target.stat().st_size)


def is_here(file: File, target: Path) -> bool:
    """Whether a file is there, with its published hash if it has one."""
    if not target.is_file():
        return False
    if file.sha256 is None or _sha256(target) == file.sha256:
        return True
    log.warning("%s differs from its published checksum and is fetched again", target)
    return False


async def fetch(polite: Polite, file: File, target: Path) -> None:
    """Fetch one file; it appears once it is complete and verified. UnansweredError if it cannot be fetched."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target)
    await polite.ask(file.url, lambda answer: part.take(answer, file.sha256), headers=part.headers)
    part.publish()


class _Part:
    """The part of a file that was fetched so far, beside its final place, and the server's version of it."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._file, self._version = (target.with_name(f".{target.name}.{ending}") for ending in ("part", "version"))

    def headers(self) -> dict[str, str]:
        """A request for the rest, if the file has not changed since."""
        size = self._size()
        if not size or not self._version.exists():
            return {}
        return {"Range": f"bytes={size}-", "If-Range": self._version.read_text(encoding="utf-8")}

    async def take(self, answer: aiohttp.ClientResponse, sha256: str | None) -> None:
        """Append an answer to what is there, or replace it; FaultyError if the file is then not the published one."""
        if answer.status == 416:  # what is there is not the beginning of the file
            self._drop()
            raise FaultyError("the file is shorter than what was fetched before")
        begin = self._size() if answer.status == 206 else 0
        if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            self._drop()
            raise FaultyError("the server sent a range other than the one requested")
        if answer.content_type == "text/html":
            raise FaultyError("the answer is a web page")
        if begin == 0:
            self._note_version(answer)
        expected = None if answer.content_length is None else begin + answer.content_length
        await self._write(answer, begin)
        if expected is not None and self._size() != expected:
            raise FaultyError(f"{self._size()} of {expected} bytes arrived")
        if sha256 is not None and await asyncio.to_thread(_sha256, self._file) != sha256:
            self._drop()
            raise FaultyError("it differs from its published checksum")

    def _note_version(self, answer: aiohttp.ClientResponse) -> None:
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if version and not version.startswith("W/"):
            self._version.write_text(version, encoding="utf-8")
        else:
            self._version.unlink(missing_ok=True)

    async def _write(self, answer: aiohttp.ClientResponse, begin: int) -> None:
        with self._file.open("r+b" if begin else "wb") as file:
            file.seek(begin)
            async for content in answer.content.iter_chunked(_PART):
                try:
                    file.write(content)
                except OSError as error:
                    raise DataError(f"{self._target} cannot be written: {error.strerror}") from error

    def publish(self) -> None:
        self._file.replace(self._target)
        self._version.unlink(missing_ok=True)

    def _size(self) -> int:
        return self._file.stat().st_size if self._file.exists() else 0

    def _drop(self) -> None:
        self._file.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
