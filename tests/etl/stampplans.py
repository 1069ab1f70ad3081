"""A plan of simulated stamps in two bricks, and a renderer that takes no time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from astropy.wcs import WCS

from etl.simulated.shards import PLANNED
from tests.etl.survey_files import stamp_cutting

SIZE, SIDE = 200, 64
CUTTING = stamp_cutting(coadd_pixels=SIZE, shards=2)
PLACES = {"1000p000": (100.0, 0.0), "1001p000": (100.3, 0.0)}
PIXELS = {"a": (60, 70), "b": (120, 130), "c": (100, 100), "edge": (20, 100), "hole": (150, 50)}


def renderer(rows: pa.Table, hosts: np.ndarray, usable: np.ndarray, of: np.ndarray) -> Any:
    """Adds theta_E to every pixel; lenses of 2.5 arcsec fail."""
    theta = rows["theta_e_arcsec"].to_numpy()
    failed = ["too large" if one == 2.5 else None for one in theta]
    columns = pa.table({"arc_snr": usable[of].sum(axis=(1, 2)).astype(float), "lens_q": rows["x_offset_px"].to_numpy()})
    return hosts[of] + theta[:, None, None, None].astype(np.float32), columns, failed


def planned(wcs: dict[str, WCS]) -> pa.Table:
    """Every galaxy as lens and control in two configurations, and one that no brick holds."""
    rows = []
    for brick in PLACES:
        for name, (x, y) in PIXELS.items():
            ra, dec = (float(value) for value in wcs[brick].all_pix2world(x + 0.25, y - 0.125, 0))
            for config, theta in enumerate((1.0, 2.5)):
                for label in (0, 1):
                    rows.append(plan_row(f"{brick}/{name}", brick, config, theta, label, ra, dec))
    rows.append(plan_row("nowhere", "", 0, 1.0, 1, 10.0, 10.0))
    schema = [("shard", pa.int32()), ("brick", pa.string())]
    table = pa.Table.from_pylist(rows)
    return table.cast(pa.schema([*(f for f in table.schema if f.name not in ("shard", "brick")), *schema]))


def plan_row(name: str, brick: str, config: int, theta: float, label: int, ra: float, dec: float) -> dict[str, Any]:
    known = None if name.endswith("/b") else 1.2
    row = {
        "stamp_id": f"{name}/{config:04d}{'CL'[label]}", "galaxy_id": name, "label": label, "config_id": config,
        "theta_e_arcsec": theta, "src_dmag": 1.0, "src_re_arcsec": 0.1, "src_e": 0.0, "shear": 0.0, "ra": ra,
        "dec": dec, "split": "train", "healpix_128": 3, "mag_r": 19.0,
        **{f"psfsize_{band}": known for band in "grz"}, **{f"psfdepth_{band}": 500.0 for band in "grz"},
    }  # fmt: skip
    assert set(row) == set(PLANNED)
    return {**row, "shard": 1, "brick": brick}
