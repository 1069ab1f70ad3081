"""Error handling of the command line: a failure the user can act on becomes one sentence; a bug leaves a log."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path

from lake.errors import DarkHaloError
from lake.files import refused
from pipeline.project.codecards import PACKAGES

_CURES = {
    errno.ENOSPC: "the disk is full: make room there and run the command again",
    errno.EDQUOT: "the disk quota is used up: make room there and run the command again",
    errno.EFBIG: "the file is larger than is allowed there: raise the limit (ulimit -f) or use another file system",
    errno.EROFS: "the file system is read-only: work in a folder that can be written, or remount it",
    errno.EACCES: "no permission: change its mode or owner, or work in a folder of your own",
    errno.EPERM: "no permission: change its mode or owner, or work in a folder of your own",
    errno.ENOENT: "no such file or folder: check the path, or run `dvc repro` if the pipeline makes it",
    errno.ENOTDIR: "part of the path is a file, not a folder: move that file away",
    errno.EISDIR: "it is a folder, but a file is needed: name a file",
    errno.EEXIST: "it already exists: move it away",
    errno.ENOTEMPTY: "the folder is not empty: move its content away",
    errno.EBUSY: "it is in use: close the program that uses it and run the command again",
    errno.ETXTBSY: "it is in use: close the program that uses it and run the command again",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n) and run the command again",
    errno.ENFILE: "too many files are open on this machine: close some and run the command again",
    errno.ENOMEM: "there is too little memory: raise the limit (ulimit -v) or close other programs",
    errno.EIO: "the disk or network drive failed during a read or write: check it and run the command again",
    errno.ENAMETOOLONG: "the name is too long: use a shorter one",
    errno.ELOOP: "its symbolic links form a loop: correct them",
}
_KINDS = {
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    NotADirectoryError: errno.ENOTDIR,
    IsADirectoryError: errno.EISDIR,
    FileExistsError: errno.EEXIST,
}
"""What an error means by its class, if a library raises it without a number."""


def explained(error: BaseException) -> str | None:
    """The sentence that tells a user what failed and what to do, or None for a bug."""
    if isinstance(error, DarkHaloError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is too little memory: raise the limit (ulimit -v), close other programs or use a larger machine"
    if type(error).__module__.startswith(("pyspark.", "grpc.")):
        return f"Spark could not do this: {spark_sentence(error)}"
    if isinstance(error, OSError) and error.errno is not None:
        return _os_sentence(error)
    if (refusal := refused.number(error)) is not None:  # of a library that says it in its own way
        return _os_sentence(OSError(refusal, str(error)))
    if isinstance(error, OSError):
        return _os_sentence(error)
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        return f"{error.object!r} is not UTF-8 text: rename the file, or type the text in UTF-8"
    if isinstance(error, ModuleNotFoundError) and (package := str(error.name).partition(".")[0]) not in PACKAGES:
        return f"the package {package} is not installed here: run `make setup`, then `source .venv/bin/activate`"
    if is_panic(error) and (number := re.search(r"code: (\d+)", str(error))):
        return _os_sentence(OSError(int(number[1]), os.strerror(int(number[1]))))
    return None


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust gave up, which Python does not count among its exceptions."""
    return type(error).__module__ == "pyo3_runtime"


def spark_sentence(error: BaseException) -> str:
    """The first sentence of Spark's message, without its state codes, plan and Java stack."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    first = re.sub(r"^\([\w.]+\)\s*", "", first)
    first = re.sub(r"^\[[\w.]+\]\s*", "", first)
    return re.sub(r"\s*SQLSTATE: \w+.*$", "", first)


def report_bug(error: BaseException) -> str:
    """Write the traceback to a log and return the sentence that says so."""
    text = "".join(traceback.format_exception(error))
    name = f"dhs-bug-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.log"
    own = [Path("data") / "logs"] if Path("data").is_dir() else []
    for folder in (*own, Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        except OSError:
            continue
        return (
            f"this is a bug in dhs ({type(error).__name__}: {_first_line(error)}); "
            f"please report it with the log {folder / name}"
        )
    return f"this is a bug in dhs, and no log could be written; please report this:\n{text}"


def _os_sentence(error: OSError) -> str:
    named = [str(name) for name in (error.filename, error.filename2) if name]
    number = error.errno or next((n for kind, n in _KINDS.items() if isinstance(error, kind)), 0)
    cure = _CURES.get(number)
    if cure is None:
        cure = f"{error.strerror or _first_line(error)}: check it and run the command again"
    # Libraries name the path in their message (Arrow: "Failed to open local file '...'").
    found = re.search(r"'(/[^']+)'", str(error)) or re.search(r"(?:^|\s)(/\S+)", str(error))
    where = " -> ".join(named) or (found and found[1])
    return f"{where}: {cure}" if where else cure


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
