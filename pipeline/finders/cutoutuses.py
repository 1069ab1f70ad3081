"""What the objects of a labelled set can be used for: which can host injections, and the thirds of the negatives."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from injection.optics import declared
from lake import tables
from lake.config import SplitParams
from lake.sky.healpix import pixel
from lake.sky.photometry import depth_mag_from_psfdepth
from lake.sky.split import HOST, NEGATIVE_USES, TEST, thirds
from pipeline.experiment.cutouthosts import Labelled, seeing_and_depth

log = logging.getLogger(__name__)

_CHECK = "check psf, noise, zero_point_mag and pixel_scale_arcsec"


def with_known_optics(found: Labelled) -> Labelled:
    """The lenses, and the negatives whose PSF in every band and noise in the reference band are known, with a seeing
    and a depth that a table of injections can hold."""
    imaging, stated = found.imaging, _stated(found)
    for name in (*imaging.psf_columns, imaging.noise_columns[imaging.reference]):
        if not pa.types.is_nested(found.facts[name].type):
            good = (declared.floats(found.facts, name) > 0) | (found.objects["label"] == 1).to_numpy()
            lacks = (
                f"it has no positive '{stated[name]}'" if name in stated else "none can be measured in its outer pixels"
            )
            found = found.where(good, f"its PSF or noise is not known: {lacks}")
    spec, band, at = tables.spec("set_injections"), imaging.reference_band, imaging.reference
    for name, what in (("host_psf_fwhm_nea_arcsec", "seeing"), ("host_depth_mag", "5-sigma depth")):
        widths, depths = seeing_and_depth(found.facts, imaging)
        values = widths[:, at] if what == "seeing" else depth_mag_from_psfdepth(depths[:, at])
        column = spec.column(name)
        low, high = column.low or 0.0, column.high or np.inf
        good = (values > low) & (values <= high) | (found.objects["label"] == 1).to_numpy()
        range_ = f"above {low:g} and at most {high:g} {column.unit}"
        found = found.where(good, f"its {what} in {band} must be {range_}: {_CHECK}")
    return found


def _stated(found: Labelled) -> dict[str, str]:
    """By the columns of host tables with PSF and noise, the user's own columns that they are read from."""
    known, imaging = found.described, found.imaging
    noise = getattr(known.noise, "value", getattr(known.noise, "mag", None))
    both = ((imaging.psf_columns, getattr(known.psf, "arcsec", None)), (imaging.noise_columns, noise))
    pairs = [
        pair for names, value in both if value is not None for pair in zip(names, known.per_band(value), strict=True)
    ]
    return {name: own for name, own in pairs if isinstance(own, str)}


def with_uses(found: Labelled, split: SplitParams) -> Labelled:
    """The objects with the use of each negative, and the splits that follow; lenses are only tested."""
    objects, negative = found.objects, (found.objects["label"] == 0).to_numpy()
    names = objects.loc[negative, "galaxy_id"].to_numpy(str)
    ra, dec = found.conditions(["ra", "dec"])[negative].T
    placed = np.isfinite(ra) & np.isfinite(dec)
    keys = names.astype(object)
    keys[placed] = pixel(ra[placed], dec[placed], split.negatives_nside).astype(str)
    keys = keys.astype(str)
    uses = np.full(len(objects), None, dtype=object)
    uses[negative] = _uses(keys, names, split.seed, found.described.name)
    where = np.where((objects["label"] == 1) | (uses == TEST), "test", "val")
    return replace(found, objects=objects.assign(negative_use=uses, split=where))


def _uses(keys: NDArray[np.str_], names: NDArray[np.str_], seed: int, of: str) -> NDArray[np.str_]:
    """A third of the negatives for each use, by pixels of the sky (``keys``), or by their names where pixels are too
    few or too unequal for that; fewer than three negatives are all hosts, without which nothing is measured."""
    fewest = len(NEGATIVE_USES)
    if not len(names):
        return names
    if len(names) < fewest:
        log.warning("%s has %d negatives, fewer than %d: all are hosts, and no false-positive rate is measured",
                    of, len(names), fewest)  # fmt: skip
        return np.full(len(names), HOST)
    by_pixel = thirds(keys, seed)
    if set(by_pixel) == set(NEGATIVE_USES):
        return by_pixel
    log.warning("the negatives of %s lie in too few sky pixels to be divided by pixel: they are divided one by one", of)
    return thirds(names, seed)
