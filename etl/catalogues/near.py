"""Sources near a listed position: found by the HEALPix pixels round the positions, then by chord length.

The pixels that a circle round each position touches are listed once and broadcast; a source looks only at the positions
listed for its own pixel.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from lake.sky.healpix import pixel
from lake.sky.sphere import ARCSEC_PER_RADIAN, chord, unit_vectors


def covering_pixels(ra_deg: np.ndarray, dec_deg: np.ndarray, radius_arcsec: float, nside: int) -> list[np.ndarray]:
    """NESTED pixels that the circle round each position may touch."""
    import healpy

    radius = radius_arcsec / ARCSEC_PER_RADIAN * (1 + 1e-6)
    vectors = unit_vectors(ra_deg, dec_deg)
    own = pixel(ra_deg, dec_deg, nside)
    return [
        np.union1d(healpy.query_disc(nside, vector, radius, inclusive=True, nest=True), [me])
        for vector, me in zip(vectors, own, strict=True)
    ]


def listing(spark: SparkSession, listed: pa.Table, radius_arcsec: float, nside: int) -> DataFrame:
    """One row per touched pixel: ``near_pixel`` and the positions ``listed`` (id, x, y, z) that may be near it."""
    ra, dec = (listed.column(n).to_numpy() for n in ("ra", "dec"))
    vectors = unit_vectors(ra, dec)
    by_pixel: dict[int, list[tuple[str, float, float, float]]] = {}
    for candidate_id, vector, pixels in zip(
        listed.column("candidate_id").to_pylist(), vectors, covering_pixels(ra, dec, radius_arcsec, nside), strict=True
    ):
        for place in pixels:
            by_pixel.setdefault(int(place), []).append((candidate_id, *(float(v) for v in vector)))
    schema = "near_pixel bigint, listed array<struct<id:string,x:double,y:double,z:double>>"
    return spark.createDataFrame(sorted(by_pixel.items()), schema)


def with_nearest(rows: DataFrame, places: DataFrame, pixel_column: str, radius_arcsec: float) -> DataFrame:
    """Rows with ``candidate_id`` and ``separation_arcsec`` of the nearest listed position within the radius, or null.

    Separations are rounded to 1e-6": they do not depend on the last bit of a cosine.
    """
    joined = rows.join(F.broadcast(places), F.col(pixel_column) == F.col("near_pixel"), how="left")
    place = (
        "named_struct('x', cos(radians(dec)) * cos(radians(ra)), 'y', cos(radians(dec)) * sin(radians(ra)), "
        "'z', sin(radians(dec)))"
    )
    distances = (
        "transform(listed, c -> named_struct('chord', "
        "sqrt(power(c.x - _place.x, 2) + power(c.y - _place.y, 2) + power(c.z - _place.z, 2)), 'id', c.id))"
    )
    nearest = f"array_min(filter({distances}, c -> c.chord <= {chord(radius_arcsec)!r}D))"
    return (
        joined.withColumn("_place", F.expr(place))
        .withColumn("_nearest", F.expr(nearest))
        .withColumn("candidate_id", F.col("_nearest.id"))
        .withColumn(
            "separation_arcsec", F.expr(f"round(2 * asin(_nearest.chord / 2) * {float(ARCSEC_PER_RADIAN)!r}D, 6)")
        )
        .drop("near_pixel", "listed", "_place", "_nearest")
    )
