"""Unfinished uploads, such as a kill leaves: their parts take space, though no reader sees them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from lake.addresses import is_remote
from lake.files.objects import Store, Upload

_DAY_S = 86400.0


def unfinished(places: Iterable[str | None], older_than_days: float) -> list[Upload]:
    """Unfinished uploads below those places that are prefixes of an object store; none is changed."""
    last = time.time() - older_than_days * _DAY_S
    remote = [place for place in places if place and is_remote(place)]
    found = {one for place in remote for one in Store.of_environment().uploads(place)}
    return sorted(one for one in found if one.began <= last)


def end(found: Iterable[Upload]) -> None:
    """Abort uploads, which deletes their parts."""
    for one in found:
        Store.of_environment().abort(one)
