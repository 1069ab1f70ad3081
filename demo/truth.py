"""The truth about the simulated sky, for tests and closure checks only."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from demo.brick import Plan, Scene
from demo.catalogue import Rows
from demo.sources import Source
from lake.sky.survey import BANDS


def source_truth(plan: Plan, sources: list[Source], rows: Rows) -> pa.Table:
    """One row per catalogued source: what it is, where, its true fluxes and shape."""
    records = [
        {
            "brickname": plan.brick.name,
            "objid": index,
            "kind": source.kind,
            "role": source.role,
            "type": source.type,
            "is_lens": source.role in ("tier_a", "tier_b", "unlisted", "unlisted_faint"),
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


def brick_truth(plans: list[Plan]) -> pa.Table:
    """One row per brick: split and observing conditions."""
    records = []
    for plan in plans:
        conditions = plan.conditions
        bands = {
            f"{name}_{band}": float(values[index])
            for index, band in enumerate(BANDS)
            for name, values in (
                ("psfsize_arcsec", conditions.psfsize_arcsec),
                ("depth_mag", conditions.depth_mag),
                ("pixel_sigma_nmgy", conditions.pixel_sigma_nmgy),
                ("nobs", conditions.nobs),
            )
        }
        records.append(
            {
                "brickname": plan.brick.name,
                "split": plan.brick.split,
                **bands,
                "short_strip": conditions.strip is not None,
                "bad_pixels": conditions.bad_pixels,
                "bright_star": conditions.bright_star,
                "lost_band": conditions.lost_band,
                "unobserved_band": conditions.unobserved_band,
            }
        )
    return pa.Table.from_pylist(records)
