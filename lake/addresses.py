"""Addresses of object stores, beside which every other place is a local path."""

from __future__ import annotations

import re

from lake.errors import invalid

_ADDRESS = re.compile(r"s3a?://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)


def is_remote(place: str) -> bool:
    """Whether a place is an address rather than a path."""
    return "://" in place


def split(place: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://`` or ``s3a://`` address; others, and those with credentials, are refused."""
    found = _ADDRESS.fullmatch(place)
    if found is None:
        shown = re.sub(r"//[^/]*@", "//***@", place).partition("?")[0]
        raise invalid("address", "s3://bucket/prefix (credentials belong in the environment)", shown)
    return found[1], (found[2] or "").strip("/")


def plain(address: str) -> str:
    """An address in its only spelling: ``s3://``, without a slash at its end."""
    bucket, key = split(address)
    return f"s3://{bucket}/{key}".rstrip("/")
