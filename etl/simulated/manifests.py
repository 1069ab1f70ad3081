"""Named manifests of simulated stamps, with their checks, and hard negatives."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from etl.cutouts.manifest import Check
from etl.stampconfig import StampManifestParams, StampManifestSpec
from lake import tables
from lake.errors import DataError, not_one_of

_DECIMALS = 6
"""Positions that agree to this many decimals of a degree are one object."""
_STANDARD_ERRORS = 3.0


def named(params: StampManifestParams, manifest_id: str) -> StampManifestSpec:
    """The manifest's parameters; ParameterError if it has none."""
    if manifest_id not in params.manifests:
        raise not_one_of("manifest_id", params.manifests, manifest_id)
    return params.manifests[manifest_id]


def rows(stamps: DataFrame, spec: StampManifestSpec) -> DataFrame:
    """Rows of a manifest: the stamps of its set that were made, resolved, and not masked where it matters."""
    kept = f"status = 'ok' AND theta_e_over_fwhm_nea >= {spec.theta_e_over_fwhm_nea_min}D"
    if not spec.masked_rings:
        kept += " AND NOT ring_masked"
    made = {"tier": "cast(NULL as string)", "hard_negative": "false"}
    names = [name for name in tables.spec("stamp_manifest").row_schema().names if name != "manifest_id"]
    return stamps.where(kept).selectExpr(*(f"{made[name]} AS {name}" if name in made else name for name in names))


def check(made: pa.Table, spec: StampManifestSpec, manifest_id: str) -> list[Check]:
    """Checks of a manifest's collected rows; DataError where its controls are not what the manifest declares."""
    galaxies, label = made["galaxy_id"], made["label"].to_numpy()
    lenses, controls = (set(galaxies.filter(pa.array(label == value)).to_pylist()) for value in (1, 0))
    shared, total = len(lenses & controls), len(lenses | controls)
    detail = f"{shared} of {total} galaxies have lenses and controls"
    if not lenses or not controls:
        raise DataError(
            f"manifest '{manifest_id}': {len(lenses)} lenses and {len(controls)} controls, and it needs both"
        )
    if spec.controls == "unpaired" and shared:
        raise DataError(f"manifest '{manifest_id}': {detail}, and its controls must be unpaired")
    if spec.controls == "paired" and shared < total:
        raise DataError(f"manifest '{manifest_id}': {detail}, and its controls must be paired")
    wanted = 0.0 if spec.controls == "unpaired" else 1.0
    found = [Check("pairing", shared / total, wanted, wanted, True, total, detail), _control_share(label, galaxies)]
    split = made["split"].to_numpy()
    for name in ("galaxy_id", "healpix_128"):
        values = {s: set(made[name].filter(pa.array(split == s)).to_pylist()) for s in np.unique(split)}
        both = sum(len(values[a] & values[b]) for a, b in combinations(sorted(values), 2))
        count = len(set().union(*values.values()))
        found.append(Check(f"overlap/{name}", float(both), 0.0, 0.0, both == 0, count, f"{both} in two splits"))
    return found


def _control_share(label: NDArray[np.generic], galaxies: pa.ChunkedArray) -> Check:
    """Share of controls against a half; the standard error has galaxies as its unit."""
    share, count = float((label == 0).mean()), len(pc.unique(galaxies))
    allowed = _STANDARD_ERRORS * 0.5 / np.sqrt(count)
    passed = bool(abs(share - 0.5) <= allowed)
    detail = f"{share:.3f} of {len(label)} stamps are controls, 0.5 +- {allowed:.3f} expected of {count} galaxies"
    return Check("controls", share, 0.5 - allowed, 0.5 + allowed, passed, count, detail)


def hardened(made: pa.Table, stamp_ids: pa.Array, probabilities: NDArray[np.float64], above: float) -> pa.Table:
    """A manifest's rows with the flags of its hard negatives, besides those that are there.

    ``probabilities`` are those of the stamps ``stamp_ids``, which are controls. Of the stamps at one position (right
    ascension and declination to 6 decimals) one is flagged.
    """
    hard = pa.array(stamp_ids.to_numpy(zero_copy_only=False)[probabilities > above], pa.string())
    mined = made.filter(pc.is_in(made["stamp_id"], hard)).sort_by("stamp_id")
    place = np.stack([np.round(mined[name].to_numpy(), _DECIMALS) for name in ("ra", "dec")], axis=1)
    _, first = np.unique(place, axis=0, return_index=True)
    flagged = pc.is_in(made["stamp_id"], mined["stamp_id"].combine_chunks().take(pa.array(first)))
    flags = pc.or_(flagged, pc.fill_null(made["hard_negative"], fill_value=False))
    return made.set_column(made.column_names.index("hard_negative"), "hard_negative", flags)
