"""The candidate list in the lenscat format, the survey's brick table, and the truth for tests and closure checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy.io import fits
from numpy.typing import NDArray

from demo.brick import Plan, Scene
from demo.catalogue import Rows
from demo.grid import Brick
from demo.sources import NO_LENS, Source
from lake.sky.survey import BANDS, STAMP_PIXELS

COLUMNS = ("name", "ra", "dec", "zlens", "type", "grading", "ref", "theta_e")
GRADING = {"tier_a": "confident", "tier_b": "probable", "tier_b_false": "probable", "contaminant": "rejected"}
"""Grades of what is listed, by role."""
CONTAMINANTS = {"ring": "ring galaxy", "merger": "merger"}
"""Types that the list gives objects that it rejects, by what they truly are."""
REFERENCE = "Simulated sky (Dark Halo Scope demo)"
CONFIRMED = "Simulated spectroscopy (Dark Halo Scope demo)"
"""Reference of the confirmed lenses."""
POSITION_ERROR_ARCSEC = 0.1
MODELLED = {"tier_a": 1.0, "tier_b": 0.3}
"""Share of the listed lenses with a measured Einstein radius: all that are confirmed, some of the others."""
RADIUS_ERROR = 0.03
"""Relative error of a measured Einstein radius."""


def listed(rng: np.random.Generator, source: Source, ra_deg: float, dec_deg: float) -> dict[str, Any]:
    """The list's row of a source; most rows have a lens redshift."""
    east, north = rng.normal(0, POSITION_ERROR_ARCSEC / 3600, 2)
    redshift = f"{source.redshift:.4f}" if rng.uniform() < 0.94 else ""
    found = row(ra_deg + east / np.cos(np.deg2rad(dec_deg)), dec_deg + north, GRADING[source.role], redshift)
    if source.role == "contaminant":
        found["type"] = CONTAMINANTS[source.kind]
    return found | {"ref": CONFIRMED} if source.role == "tier_a" else found


def with_radius(rng: np.random.Generator, listed_row: dict[str, Any], role: str, theta_e_arcsec: float) -> None:
    """Add a measured Einstein radius to the row of a lens, if it has been modelled."""
    modelled, error = rng.uniform() < MODELLED[role], rng.normal(0.0, RADIUS_ERROR)
    if modelled:
        listed_row["theta_e"] = f"{theta_e_arcsec * np.exp(error):.3f}"


def row(ra_deg: float, dec_deg: float, grading: str, redshift: str) -> dict[str, Any]:
    """One row, named by its position."""
    name = f"SIM-{ra_deg:08.4f}{dec_deg:+08.4f}"
    place = {"ra": f"{ra_deg:.5f}", "dec": f"{dec_deg:.5f}"}
    return {
        "name": name,
        **place,
        "zlens": redshift,
        "type": "galaxy",
        "grading": grading,
        "ref": REFERENCE,
        "theta_e": "",
    }


def outside(
    rng: np.random.Generator, count: int, ra_range: tuple[float, float], north_of_deg: float
) -> list[dict[str, Any]]:
    """Listed positions north of the survey."""
    places = zip(rng.uniform(*ra_range, count), rng.uniform(north_of_deg + 1, north_of_deg + 3, count), strict=True)
    return [row(float(ra), float(dec), "probable", "") for ra, dec in places]


def to_csv(rows: list[dict[str, Any]]) -> str:
    """The list as text, ordered by name."""
    ordered = sorted(rows, key=lambda each: str(each["name"]))
    return pd.DataFrame(ordered, columns=list(COLUMNS)).to_csv(index=False, lineterminator="\n")


def brick_table(bricks: list[Brick]) -> fits.BinTableHDU:
    """The table ``survey-bricks`` with the official columns."""
    names = ["BRICKNAME", "BRICKID", "BRICKQ", "BRICKROW", "BRICKCOL", "RA", "DEC", "RA1", "RA2", "DEC1", "DEC2"]
    dtype = np.dtype(list(zip(names, ["S8", "i4", "i2", "i4", "i4", *["f8"] * 6], strict=True)))
    rows = []
    for b in bricks:
        place = (b.ra_deg, b.dec_deg, *b.ra_edges_deg, *b.dec_edges_deg)
        rows.append((b.name, b.brickid, b.row % 2 * 2 + b.column % 2, b.row, b.column, *place))
    return fits.BinTableHDU(np.array(rows, dtype))


def source_truth(plan: Plan, sources: list[Source], rows: Rows) -> pa.Table:
    """One row per catalogued source: what it is, where, its true fluxes and shape."""
    records = [
        {
            "brickname": plan.brick.name,
            "objid": index,
            "kind": source.kind,
            "role": source.role,
            "type": source.type,
            "is_lens": source.role not in NO_LENS,
            "ra": float(row["RA"]),
            "dec": float(row["DEC"]),
            "x_px": float(source.position[0]),
            "y_px": float(source.position[1]),
            **{f"flux_{band}_nmgy": float(v) for band, v in zip(BANDS, source.flux_nmgy, strict=True)},
            "radius_arcsec": source.ellipse.radius_arcsec,
            "axis_ratio": source.ellipse.axis_ratio,
            "angle_rad": source.ellipse.angle,
            "sersic": source.ellipse.index,
            "redshift": source.redshift,
        }
        for index, (source, row) in enumerate(zip(sources, rows, strict=False))
    ]
    return pa.Table.from_pylist(records)


def lens_truth(plan: Plan, scene: Scene) -> list[dict[str, Any]]:
    """One record per lens system, keyed by its host's brickname and objid."""
    return [
        {
            "brickname": plan.brick.name,
            "objid": index,
            "role": scene.sources[index].role,
            "x_px": float(scene.sources[index].position[0]),
            "y_px": float(scene.sources[index].position[1]),
            "redshift": scene.sources[index].redshift,
            **lensed.truth,
        }
        for index, lensed in scene.lensed.items()
    ]


def bare_hosts(plan: Plan, scene: Scene) -> NDArray[np.float32]:
    """Stamps (lens, band, y, x) of the lens hosts without their arcs, cut like cut-outs; none of the training split."""
    half, found = STAMP_PIXELS // 2, np.zeros((0, len(BANDS), STAMP_PIXELS, STAMP_PIXELS), np.float32)
    if plan.brick.split == "train":
        return found
    corners = [np.round(scene.sources[index].position).astype(int) - half for index in scene.lensed]
    cut = [scene.bare[:, y : y + STAMP_PIXELS, x : x + STAMP_PIXELS] for x, y in corners]
    return np.stack(cut) if cut else found


def numbered(lenses: list[dict[str, Any]], plans: list[Plan]) -> pa.Table:
    """The table of lenses; `bare_row` is the place of a lens among the bare hosts, null in the training split."""
    training = {plan.brick.name for plan in plans if plan.brick.split == "train"}
    kept = np.array([lens["brickname"] not in training for lens in lenses], dtype=bool)
    places = pa.array(np.cumsum(kept) - 1, mask=~kept)
    return pa.Table.from_pylist(lenses).append_column("bare_row", places)


def brick_truth(plans: list[Plan]) -> pa.Table:
    """One row per brick: split and observing conditions."""
    by_band = ("psfsize_arcsec", "depth_mag", "pixel_sigma_nmgy", "nobs")
    flaws = ("bad_pixels", "bright_star", "lost_band", "unobserved_band")
    records = [
        {"brickname": plan.brick.name, "split": plan.brick.split}
        | {f"{name}_{b}": float(getattr(plan.conditions, name)[i]) for i, b in enumerate(BANDS) for name in by_band}
        | {"short_strip": plan.conditions.strip is not None}
        | {name: getattr(plan.conditions, name) for name in flaws}
        for plan in plans
    ]
    return pa.Table.from_pylist(records)
