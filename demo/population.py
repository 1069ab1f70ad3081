"""The sources of a brick and their positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from demo import confusers, sources
from demo.config import DemoParams
from demo.mixtures import Floats
from demo.sources import NO_LENS, Source
from lake.errors import invalid
from lake.sky.survey import PIXEL_SCALE_ARCSEC, STAMP_PIXELS

Maker = Callable[[Generator, str, Floats], Source]

HOST_TYPES = {"SER": 0.55, "DEV": 0.3, "REX": 0.15}
"""Catalogue types of lens hosts."""
NEGATIVE_KINDS: dict[str, dict[Maker, float]] = {
    "SER": {
        sources.early: 0.64,
        sources.disc: 0.12,
        confusers.ring: 0.06,
        confusers.edge_on: 0.08,
        confusers.spiral: 0.06,
        confusers.merger: 0.04,
    },
    "DEV": {sources.early: 0.82, confusers.ring: 0.12, confusers.merger: 0.06},
    "REX": {sources.early: 0.66, sources.blue: 0.16, confusers.clumpy: 0.18},
}
"""What the pool galaxies of each catalogue type truly are."""
FALSE_KINDS = (confusers.ring, confusers.spiral, confusers.merger)
"""What listed objects truly are that are graded as lenses and are none."""
LENS_SEPARATION_ARCSEC = 14.0
"""Least distance between lens hosts, beyond the pool's exclusion radius of 11". Other galaxies come as near to a lens
as to each other: were lenses lonelier, a network could find them by that."""
EDGE_MARGIN_PX = STAMP_PIXELS // 2 + 6
EDGE_SHARE = 0.04
"""Share of the galaxies that may lie too near the edge for a stamp."""
MAX_TRIES = 4000


class Layout:
    """Positions taken so far, each with the distance it keeps."""

    def __init__(self, rng: Generator, pixels: int) -> None:
        self.rng, self.pixels = rng, pixels
        self.taken = np.zeros((0, 2))
        self.kept_px = np.zeros(0)

    def place(self, separation_arcsec: float, margin_px: float) -> Floats:
        """A random free position at least ``margin_px`` from the edge, which then keeps ``separation_arcsec``."""
        wanted = separation_arcsec / PIXEL_SCALE_ARCSEC
        for _ in range(MAX_TRIES):
            position = self.rng.uniform(margin_px, self.pixels - 1 - margin_px, 2)
            distance = np.hypot(*(self.taken - position).T)
            if np.all(distance >= np.maximum(self.kept_px, wanted)):
                self.taken = np.vstack([self.taken, position])
                self.kept_px = np.append(self.kept_px, wanted)
                return position
        raise invalid("demo.sources", "few enough sources to fit a brick", f"no room after {self.kept_px.size}")


def populate(rng: Generator, params: DemoParams, roles: list[str], bright_star: bool) -> list[Source]:
    """All sources of a brick; the hosts of ``roles`` come first."""
    layout = Layout(rng, params.brick_pixels)
    found = [_sample_member(rng, layout, role) for role in roles]
    if bright_star:
        place = layout.place(LENS_SEPARATION_ARCSEC, 40.0)
        found.append(sources.star(rng, (12.5, 14.5), place, kind="bright_star"))
    separation = params.sources.separation_arcsec
    layout.kept_px[:] = separation / PIXEL_SCALE_ARCSEC
    for type_ in _negative_types(rng, found, params.sources.negatives_per_lens):
        kinds = NEGATIVE_KINDS[type_]
        make = list(kinds)[int(rng.choice(len(kinds), p=list(kinds.values())))]
        margin = 4.0 if rng.uniform() < EDGE_SHARE else float(EDGE_MARGIN_PX)
        found.append(make(rng, type_, layout.place(separation, margin)))
    count = params.sources
    found += [sources.disc(rng, "EXP", layout.place(separation, 4.0)) for _ in range(count.exponential)]
    found += [sources.star(rng, (16.5, 21.0), layout.place(separation, 4.0)) for _ in range(count.stars)]
    layout.kept_px = np.minimum(layout.kept_px, 4.0 / PIXEL_SCALE_ARCSEC)
    return found + [sources.faint(rng, (20.1, 21.8), layout.place(4.0, 4.0)) for _ in range(count.faint)]


def background(rng: Generator, params: DemoParams) -> list[Source]:
    """Galaxies that are painted and stay below the catalogue's limit."""
    places = rng.uniform(0, params.brick_pixels - 1, (params.sources.background, 2))
    return [sources.faint(rng, (22.0, 24.5), place) for place in places]


def _sample_member(rng: Generator, layout: Layout, role: str) -> Source:
    place = layout.place(LENS_SEPARATION_ARCSEC, float(EDGE_MARGIN_PX))
    type_ = str(rng.choice(list(HOST_TYPES), p=list(HOST_TYPES.values())))
    if role not in NO_LENS:
        return replace(sources.early(rng, type_, place), role=role)
    kinds = (confusers.ring, confusers.merger) if role == "contaminant" else FALSE_KINDS
    make = kinds[int(rng.integers(len(kinds)))]
    return replace(make(rng, "DEV" if type_ == "DEV" else "SER", place), role=role)


def _negative_types(rng: Generator, hosts: list[Source], per_lens: float) -> list[str]:
    """Catalogue types of the pool galaxies, in proportion to those of the listed objects."""
    listed = [host.type for host in hosts if host.role.startswith("tier")]
    types = [type_ for type_ in listed for _ in range(int(per_lens))]
    return types + [type_ for type_ in listed if rng.uniform() < per_lens % 1]
