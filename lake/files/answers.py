"""Answers of an object store as the project's errors or the system's own; they never contain credentials."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from lake.addresses import split
from lake.errors import DataError, StoreError, one_line

_ABSENT = ("NoSuchKey", "404", "NotFound")
_REFUSED = ("AccessDenied", "403", "Forbidden", "AllAccessDisabled")
_REPLACED = ("PreconditionFailed", "412")


def absent(place: str) -> FileNotFoundError:
    """The error for an object that is not there."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), place)


def no_bucket(place: str) -> StoreError:
    """The error for a place in a bucket that is not there."""
    return StoreError(place, f"there is no bucket {split(place)[0]}")


@contextmanager
def answered(place: str) -> Iterator[None]:
    """Raise an error of boto3 about a place as one that says what to do.

    FileNotFoundError and PermissionError as for local files; DataError where an object was replaced since it was found;
    StoreError for all that says nothing about the object.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _told(place, str(error.response.get("Error", {}).get("Code")), one_line(error)) from error
    except BotoCoreError as error:
        raise StoreError(place, one_line(error)) from error


def _told(place: str, code: str, message: str) -> Exception:
    if code in _ABSENT:
        return absent(place)
    if code in _REFUSED:
        return PermissionError(errno.EACCES, "the object store refuses access; check your permissions", place)
    if code in _REPLACED:
        return DataError(f"{place} was replaced while it was read: run the command again")
    if code == "NoSuchBucket":
        return no_bucket(place)
    return StoreError(place, message)
