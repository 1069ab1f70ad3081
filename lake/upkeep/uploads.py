"""Uploads that never ended, as a kill leaves them: their parts are stored, though no reader sees them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from lake.addresses import is_remote
from lake.files.objects import Store, Upload

_DAY_S = 86400.0


def unfinished(places: Iterable[str | None], older_than_days: float) -> list[Upload]:
    """Uploads below the places that are prefixes of an object store; nothing is touched."""
    last, store = time.time() - older_than_days * _DAY_S, Store.of_environment()
    found = {one for place in places if place and is_remote(place) for one in store.uploads(place)}
    return sorted(one for one in found if one.began <= last)


def end(found: Iterable[Upload]) -> None:
    """Delete their parts."""
    for one in found:
        Store.of_environment().abort(one)
