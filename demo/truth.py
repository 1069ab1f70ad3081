"""The truth of the simulated survey: names of its files, and of its galaxies in a lake."""

from __future__ import annotations

from collections.abc import Iterable

BARE_HOSTS = "bare-hosts.npy"
"""Lens hosts outside the training split as they would be without their arcs: stamps (lens, band, y, x) in nMgy, in the
order in which the table of lenses numbers them (`bare_row`)."""
RELEASE = 10000
"""Release of the simulated sweeps."""


def galaxy_ids(collection: str, bricknames: Iterable[str], objids: Iterable[int]) -> list[str]:
    """Identifiers in a lake of rows of the truth."""
    return [f"{collection}:{RELEASE}_{brick}_{objid}" for brick, objid in zip(bricknames, objids, strict=True)]
