"""Groups of stamps as a finder sees them: what the diagnostics of realism compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lake.errors import DataError

Floats = NDArray[np.float64]
Strings = NDArray[np.str_]

EMBEDDING, TEXTURE = "embedding", "texture"
"""Feature spaces: a finder's own features before its last layer, and flux-free texture of the pixels. Blocks of a
network are spaces too, by their names in order."""

LISTED, TIER_A, TIER_B = "listed lenses", "Tier A", "Tier B"
INJECTIONS, BARE_HOSTS, NEGATIVES = "injections", "bare hosts", "negatives"
MATCHED_INJECTIONS, MATCHED_NEGATIVES = "injections in matched hosts", "matched negatives"
"""Those whose galaxies follow the hosts of lenses in the catalogue."""
LOW_OFFSET, HIGH_OFFSET = "bright arcs, small offset", "bright arcs, large offset"
TRUE_LENSES = "true lenses"
"""Lenses of a simulated survey whose truth is known, as painted."""
OWN_HOSTS, LENS_LIKE, EARLY, ALL_HOSTS = "own hosts", "lens-like hosts", "early conditioned hosts", "all hosts"
"""True lenses' parameters rendered into their own hosts, into hosts like those of lenses, early types with lenses
shaped like them, and all hosts."""


@dataclass(frozen=True)
class Population:
    """One group of stamps."""

    hosts: Strings
    """The galaxy that each stamp shows, without or with an injected arc"""
    scores: Floats
    """The finder's logits"""
    spaces: Mapping[str, Floats]
    """Features (object, feature) by the name of their space"""
    lenses: Strings
    """The lens whose parameters the arc has; that of the host for all others"""

    def __len__(self) -> int:
        return len(self.hosts)

    def part(self, mask: NDArray[np.bool_]) -> Population:
        """Some of its objects."""
        spaces = {name: values[mask] for name, values in self.spaces.items()}
        return Population(self.hosts[mask], self.scores[mask], spaces, self.lenses[mask])


@dataclass(frozen=True)
class Populations:
    """All groups of one finder, by name."""

    groups: Mapping[str, Population]
    absent: Mapping[str, str]
    """Why a group could not be made"""
    blocks: tuple[str, ...] = ()
    """Feature spaces of the finder's blocks, from first to last"""
    embeds: bool = True
    """Whether the finder has an embedding"""

    def why_not(self, names: tuple[str, ...], space: str, least: int, hosts: int = 1) -> str | None:
        """Why groups cannot be compared in a space, or None if they can: each has enough objects, with features, that
        show at least so many galaxies."""
        if space != TEXTURE and not self.embeds:
            return "the finder has no embedding"
        for name in names:
            if name not in self.groups:
                return self.absent.get(name, f"there are no {name}")
            if len(self.groups[name]) < least:
                return f"{len(self.groups[name])} {name}, fewer than {least}"
            if (shown := len(np.unique(self.groups[name].hosts))) < hosts:
                return f"{name} of {shown} galaxy, fewer than {hosts}"
            if lost := int((~np.isfinite(self.groups[name].spaces[space])).any(axis=1).sum()):
                return f"the {space} of {lost} of {len(self.groups[name])} {name} is not finite"
        return None

    def of(self, name: str) -> Population:
        """A group. DataError if it is absent."""
        if name not in self.groups:
            raise DataError(self.absent.get(name, f"there are no {name}"))
        return self.groups[name]
