"""Differences of older releases: morphological types that were renamed, and shapes per component.

Up to DR8 a source has ``shapedev_*`` (de Vaucouleurs) and ``shapeexp_*`` (exponential) instead of one ``shape_*``, and
no ``sersic``. DEV takes the first; EXP and REX (and SIMP before it) the second; COMP, the sum of both, the one with the
larger share ``fracdev`` of the flux. The index follows from the type: 4 for DEV, 1 for EXP and REX, 0 for PSF; COMP has
none. SIMP (round exponential of fixed size, until DR4) became REX, and COMP became SER in DR9
(https://www.legacysurvey.org/dr9/description/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

RENAMED = {"SIMP": "REX", "COMP": "SER"}
"""Types of older releases and their successors."""

DERIVABLE: dict[str, tuple[str, ...]] = {
    **{f"shape_{part}": ("type", f"shapedev_{part}", f"shapeexp_{part}", "fracdev") for part in ("r", "e1", "e2")},
    "sersic": ("type", "shapedev_r"),
}
"""Columns that follow from others, and from which. ``shapedev_r`` marks a release before the Sersic type."""

SOURCES = frozenset(source for each in DERIVABLE.values() for source in each)
"""Columns from which others are derived."""

_INDEX = {"DEV": 4.0, "EXP": 1.0, "REX": 1.0, "SIMP": 1.0, "PSF": 0.0}


def derive(columns: Mapping[str, pa.Array], wanted: Sequence[str]) -> dict[str, pa.Array]:
    """The wanted derived columns, and ``type`` in today's names."""
    types = columns["type"]
    kind = types.to_numpy(zero_copy_only=False).astype(object)
    derived = {name: _shape(columns, kind, name) for name in wanted if name != "sersic"}
    if "sersic" in wanted:
        derived["sersic"] = pa.array([_INDEX.get(name) for name in kind], pa.float32())
    for old, new in RENAMED.items():
        types = pc.if_else(pc.equal(types, old), new, types)
    return {**derived, "type": types}


def _shape(columns: Mapping[str, pa.Array], kind: np.ndarray, name: str) -> pa.Array:
    part = name.removeprefix("shape_")
    dev, exp = (columns[f"shape{model}_{part}"].to_numpy(zero_copy_only=False) for model in ("dev", "exp"))
    fraction = columns["fracdev"].to_numpy(zero_copy_only=False)
    mostly_dev = (kind == "DEV") | ((kind == "COMP") & (fraction > 0.5))
    values = np.where(mostly_dev, dev, exp)
    point = ~np.isin(kind, ["DEV", "EXP", "REX", "SIMP", "COMP"])
    return pa.array(np.where(point, 0.0, values), pa.float32(), from_pandas=True)
