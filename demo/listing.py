"""The candidate list in the lenscat format, and the survey's brick table."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
from astropy.io import fits

from demo.grid import Brick
from demo.sources import Source

COLUMNS = ("name", "ra", "dec", "zlens", "type", "grading", "ref")
GRADING = {"tier_a": "confident", "tier_b": "probable", "tier_b_false": "probable"}
REFERENCE = "Simulated sky (Dark Halo Scope demo)"
POSITION_ERROR_ARCSEC = 0.1


def listed(rng: np.random.Generator, source: Source, ra_deg: float, dec_deg: float) -> dict[str, Any]:
    """The list's row of a source; a lens redshift is given for most."""
    offset = rng.normal(0, POSITION_ERROR_ARCSEC / 3600, 2)
    known = rng.uniform() < 0.94
    return row(
        ra_deg + offset[0] / np.cos(np.deg2rad(dec_deg)),
        dec_deg + offset[1],
        GRADING[source.role],
        f"{source.redshift:.4f}" if known else "",
    )


def row(ra_deg: float, dec_deg: float, grading: str, redshift: str) -> dict[str, Any]:
    """One row, named by its position."""
    name = f"SIM-{ra_deg:08.4f}{dec_deg:+08.4f}"
    place = {"ra": f"{ra_deg:.5f}", "dec": f"{dec_deg:.5f}"}
    return {"name": name, **place, "zlens": redshift, "type": "galaxy", "grading": grading, "ref": REFERENCE}


def outside(
    rng: np.random.Generator, count: int, ra_range: tuple[float, float], north_of_deg: float
) -> list[dict[str, Any]]:
    """Listed positions north of the survey."""
    places = zip(rng.uniform(*ra_range, count), rng.uniform(north_of_deg + 1, north_of_deg + 3, count), strict=True)
    return [row(float(ra), float(dec), "probable", "") for ra, dec in places]


def to_csv(rows: list[dict[str, Any]]) -> str:
    """The list as text, ordered by name."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda each: str(each["name"])))
    return text.getvalue()


def brick_table(bricks: list[Brick]) -> fits.BinTableHDU:
    """survey-bricks in the official columns."""
    values = [
        ("BRICKNAME", "8A", [b.name for b in bricks]),
        ("BRICKID", "J", [b.brickid for b in bricks]),
        ("BRICKQ", "I", [b.row % 2 * 2 + b.column % 2 for b in bricks]),
        ("BRICKROW", "J", [b.row for b in bricks]),
        ("BRICKCOL", "J", [b.column for b in bricks]),
        ("RA", "D", [b.ra_deg for b in bricks]),
        ("DEC", "D", [b.dec_deg for b in bricks]),
        ("RA1", "D", [b.ra_edges_deg[0] for b in bricks]),
        ("RA2", "D", [b.ra_edges_deg[1] for b in bricks]),
        ("DEC1", "D", [b.dec_edges_deg[0] for b in bricks]),
        ("DEC2", "D", [b.dec_edges_deg[1] for b in bricks]),
    ]
    return fits.BinTableHDU.from_columns([fits.Column(name, code, array=data) for name, code, data in values])
