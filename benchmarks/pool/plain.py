"""The pool as a plain script makes it: ``python -m benchmarks.pool.plain <folder of sweeps> <table>``.

astropy's memory map, NumPy cuts, healpy, delta-rs: no exclusion, contract, duplicates, counts, quarantine, fingerprint.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import healpy
import numpy as np
import pyarrow as pa
from astropy.io import fits
from deltalake import write_deltalake

TYPES = [b"SER", b"DEV", b"REX"]
NAME = ("release", "brickname", "objid")
MASK = sum(1 << bit for bit in (1, 5, 6, 7, 11, 12, 13))
SEED, TRAIN_BELOW, VAL_BELOW = 42, 0.70, 0.85
COPIED = (
    "release", "objid", "ra", "dec", "nobs_g", "nobs_r", "nobs_z", "flux_g", "flux_r", "flux_z", "flux_w1", "psfsize_g",
    "psfsize_r", "psfsize_z", "psfdepth_g", "psfdepth_r", "psfdepth_z", "galdepth_g", "galdepth_r", "galdepth_z", "ebv",
    "mw_transmission_g", "mw_transmission_r", "mw_transmission_z", "maskbits", "fitbits", "shape_r", "shape_e1",
    "shape_e2", "sersic",
)  # fmt: skip
WHOLE = {
    "release": "i8",
    "objid": "i8",
    "maskbits": "i8",
    "fitbits": "i8",
    "nobs_g": "i4",
    "nobs_r": "i4",
    "nobs_z": "i4",
}


def magnitude(flux):
    flux = flux.astype("f8")
    return 22.5 - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))


def place(pixel):
    return int.from_bytes(hashlib.sha256(f"{pixel}_{SEED}".encode()).digest()[:4], "big") / 2**32


def pool(path):
    with fits.open(path, memmap=True) as hdus:
        data = hdus[1].data
        keep = np.isin(data["type"].view(np.ndarray), [t.decode() for t in TYPES])
        for band in "grz":
            keep &= data[f"nobs_{band}"] >= 3
        keep &= magnitude(data["flux_z"]).astype("f4") < 20
        keep &= (data["dec"] > -18) & (data["dec"] < 32) & ((data["maskbits"] & MASK) == 0)
        rows = np.flatnonzero(keep)
        kept = {name: data[name][rows] for name in (*COPIED, "type", "brickname")}
    out = {name: kept[name].astype(WHOLE.get(name, kept[name].dtype.newbyteorder("="))) for name in COPIED}
    out["brickname"], out["type"] = kept["brickname"].tolist(), kept["type"].tolist()
    out["type_bin"] = out["type"]
    out["galaxy_id"] = [f"bench:{r}_{b}_{o}" for r, b, o in zip(*(out[n] for n in NAME), strict=True)]
    mag = {band: magnitude(out[f"flux_{band}"]) for band in ("g", "r", "z", "w1")}
    for band in "grz":
        out[f"mag_{band}"] = mag[band].astype("f4")
    for name, blue, red in (("g_minus_r", "g", "r"), ("r_minus_z", "r", "z"), ("z_minus_w1", "z", "w1")):
        out[name] = (mag[blue] - mag[red]).astype("f4")
    bins = np.array(["0", "1-2", "3-5", "6-10", "11+"])
    out["nobs_z_bin"] = bins[np.digitize(out["nobs_z"], [1, 3, 6, 11])]
    for nside in (64, 128):
        out[f"healpix_{nside}"] = healpy.ang2pix(nside, out["ra"], out["dec"], nest=True, lonlat=True)
    pixels, inverse = np.unique(out["healpix_128"], return_inverse=True)
    places = np.array([place(pixel) for pixel in pixels])
    out["split"] = np.array(["train", "val", "test"])[np.digitize(places, [TRAIN_BELOW, VAL_BELOW])][inverse]
    out["sweep_file"], out["row_index"] = [Path(path).name] * len(rows), rows
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in out.items()})


if __name__ == "__main__":
    for sweep in sorted(Path(sys.argv[1]).glob("sweep-*.fits")):
        write_deltalake(sys.argv[2], pool(sweep), mode="append")
