"""The pool's cuts on raw rows of a sweep: most rows go no further and are only counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from etl.catalogues.near import Listed
from etl.config import PoolParams
from etl.files import sweeps
from etl.files.shapes import RENAMED
from etl.files.values import numbers, words
from lake.sky.photometry import magnitude_from_flux
from lake.sky.survey import BANDS

_NUMBERS = ("ra", "dec", "flux_z", "maskbits", *(f"nobs_{band}" for band in BANDS))
_PRINTED = (0x21, 0x7E)
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Held:
    """A column of numbers: values, and where there are none (None: nowhere; among floats NaN says so)."""

    values: NDArray[Any]
    absent: Mask | None = None

    def where(self, condition: NDArray[np.generic], absent: bool = False) -> Mask:
        """The condition on the values; ``absent`` where there is none."""
        met: Mask = condition.astype(bool) if self.absent is None else np.where(self.absent, absent, condition)
        return met


Cut = Callable[[Mapping[str, Held]], Mask]


def cuts(params: PoolParams) -> dict[str, Cut]:
    """The pool's cuts in order: name, and which rows pass it; what has no value passes only the first.

    There is none on a column that the catalogue is declared to lack.
    """
    bits = np.int64(sum(1 << bit for bit in params.maskbits))
    faintest = np.float64(params.mag_z_max)

    def exposed(name: str) -> Cut:
        return lambda held: held[name].where(held[name].values >= params.min_nobs)

    every: dict[str, Cut] = {
        sweeps.PRIMARY: lambda held: held[sweeps.PRIMARY].where(held[sweeps.PRIMARY].values, absent=True),
        "type": lambda held: held["type"].where(held["type"].values),
        **{f"nobs_{band}": exposed(f"nobs_{band}") for band in BANDS},
        "mag_z": lambda held: magnitude_from_flux(held["flux_z"].values).astype(np.float32) < faintest,
        "dec": lambda held: (held["dec"].values > params.dec_min_deg) & (held["dec"].values < params.dec_max_deg),
        "maskbits": lambda held: held["maskbits"].where((held["maskbits"].values & bits) == 0),
    }
    absent = sweeps.lacked(params.catalogue)
    return {name: cut for name, cut in every.items() if name not in absent}


class Sieve:
    """The cuts on rows of one file."""

    def __init__(self, file: sweeps.Reading, params: PoolParams, listed: Listed) -> None:
        self._fields = {name: file.found.fields[name] for name in file.dtype.names or ()}
        self._types, self._listed, self._cuts = set(params.types), listed, cuts(params)
        self.counts: Counter[str] = Counter()
        """Rows that go no further, by the cut that rejects them."""
        self.renamed: Counter[str] = Counter()
        """Of these, types of older releases."""
        self.misplaced = 0
        """Number of rows with impossible coordinates, whatever becomes of them."""

    def __call__(self, raw: NDArray[np.void]) -> tuple[NDArray[np.intp], NDArray[np.int8]]:
        """The rows to look at more closely, and the number of the first cut that each fails, or -1.

        They pass the cuts, may be near a listed position, or have a column that may not be as it should.
        """
        held, odd = self._held(raw)
        texts, which = words(self._fields["type"], raw)
        names = np.array([RENAMED.get(text, text) in self._types for text in texts], dtype=bool)
        held["type"] = Held(names[which])
        first = np.full(len(raw), -1, np.int8)
        for number, cut in reversed(list(enumerate(self._cuts.values()))):
            first[~cut(held)] = number
        further = odd | (first < 0)
        for number, name in enumerate(self._cuts):
            self.counts[name] += int(np.count_nonzero((first == number) & ~further))
        for place, text in enumerate(texts):
            if text in RENAMED:
                self.renamed[text] += int(np.count_nonzero((which == place) & ~further))
        chosen = np.flatnonzero(further)
        return chosen, first[chosen]

    def _held(self, raw: NDArray[np.void]) -> tuple[dict[str, Held], Mask]:
        """Columns of the cuts, and which rows are odd or may be near a listed position."""
        held: dict[str, Held] = {sweeps.PRIMARY: Held(np.ones(len(raw), dtype=bool))}
        odd = ~self._printed(raw["brickname"]) if "brickname" in self._fields else np.zeros(len(raw), dtype=bool)
        for name, each in self._fields.items():
            kind = sweeps.type_of(name)
            if pa.types.is_string(kind):
                continue
            found, absent, bad = numbers(each, raw, kind)
            if bad is not None:
                odd |= bad
            if name == "objid" and absent is not None:
                odd |= absent
            if name in _NUMBERS or name == sweeps.PRIMARY:
                held[name] = Held(found, absent)
        return held, odd | self._misplaced_or_near(held["ra"].values, held["dec"].values)

    def _misplaced_or_near(self, ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> Mask:
        placed = (ra_deg >= 0) & (ra_deg <= 360) & (np.abs(dec_deg) <= 90)
        found: Mask = ~placed
        self.misplaced += int(np.count_nonzero(found))
        where = slice(None) if placed.all() else np.flatnonzero(placed)
        ra, dec = ra_deg[where], dec_deg[where]
        near = self._listed.maybe(ra, dec)
        asked = np.flatnonzero(near)
        near[asked] = self._listed.nearest(ra[asked], dec[asked])[0] >= 0
        found[where] = near
        return found

    @staticmethod
    def _printed(text: NDArray[np.generic]) -> Mask:
        """Whether a text surely has something in it: it begins with a printed letter of ASCII."""
        begin = text.astype("S1").view(np.uint8)
        seen: Mask = (begin >= _PRINTED[0]) & (begin <= _PRINTED[1])
        return seen
