"""Negatives and manifest as a plain DuckDB script makes them.

``python -m benchmarks.negatives.plain negatives|limited|manifest <data root>``

No contract, fingerprint, Delta, checks or guard between splits; DuckDB's own hash. ``negatives`` is the query as one
writes it; ``limited`` first works out below which hash there are rows enough, as the stage does.
"""

from __future__ import annotations

import sys

import duckdb

CONFUSER = """CASE
    WHEN (type = 'DEV' OR (type = 'SER' AND sersic > 4)) AND flux_r > 5 THEN 'ring'
    WHEN sqrt(shape_e1 * shape_e1 + shape_e2 * shape_e2) > 0.5 AND shape_r >= 0.6 THEN 'edge_on'
    WHEN g_minus_r < 0.4 AND mag_r < 20.5 THEN 'blue_clumpy'
    WHEN shape_r > 2 AND flux_r > 3 THEN 'large' END AS confuser_category"""
COPIED = "galaxy_id, ra, dec, brickname, type_bin, nobs_z_bin, split, healpix_128"
STRATUM = "type_bin, nobs_z_bin"
CONDITIONS = [f"{kind}_{band}" for kind in ("psfsize", "psfdepth") for band in "grz"]
WANTED = f"""CREATE TABLE wanted AS SELECT {STRATUM}, 100 * count(*) AS n, 15 * count(*) AS n2
    FROM near JOIN candidates USING (galaxy_id) WHERE match_reason = 'matched' GROUP BY ALL"""
AS_WRITTEN = f"""CREATE TABLE source AS SELECT {COPIED}, {CONFUSER}, n, n2,
    hash(concat('N1/42/', galaxy_id)) AS place1, hash(concat('N2/42/', galaxy_id)) AS place2
    FROM pool JOIN wanted USING ({STRATUM})"""
COUNTED = f"""CREATE TABLE limits AS
    WITH held AS (
        SELECT {STRATUM}, count(*) AS galaxies, count(confuser_category) AS confusers
        FROM (SELECT {STRATUM}, {CONFUSER} FROM pool) GROUP BY ALL
    )
    SELECT wanted.*, 2 ^ 64 * (n + 8 * sqrt(n) + 64) / galaxies AS below1,
        2 ^ 64 * (n2 + 8 * sqrt(n2) + 64) / confusers AS below2
    FROM wanted JOIN held USING ({STRATUM})"""
LIMITED = f"""CREATE TABLE source AS SELECT {COPIED}, {CONFUSER}, n, n2,
    hash(concat('N1/42/', galaxy_id)) AS place1, hash(concat('N2/42/', galaxy_id)) AS place2
    FROM pool JOIN limits USING ({STRATUM})
    WHERE place1 < below1 OR (confuser_category IS NOT NULL AND place2 < below2)"""
RANKED = f"""CREATE TABLE drawn AS
    WITH confusers AS (
        SELECT *, row_number() OVER (PARTITION BY {STRATUM} ORDER BY place2) AS rank
        FROM source WHERE confuser_category IS NOT NULL QUALIFY rank <= n2
    ), random AS (
        SELECT *, row_number() OVER (PARTITION BY {STRATUM} ORDER BY place1) AS rank
        FROM source ANTI JOIN confusers USING (galaxy_id) QUALIFY rank <= n - n2
    )
    SELECT {COPIED}, confuser_category, rank, 'N2' AS pool FROM confusers
    UNION ALL SELECT {COPIED}, confuser_category, rank, 'N1' AS pool FROM random"""
CHOSEN = ", ".join(f"CASE WHEN s.{name} > 0 THEN s.{name} ELSE cutouts.{name} END AS {name}" for name in CONDITIONS)
MANIFEST = f"""
    WITH sources AS (
        SELECT pool.*, negatives.pool AS drawn_from, NULL AS tier, 0 AS label,
            CASE WHEN negatives.pool = 'N2' THEN confuser_category END AS confuser_category
        FROM pool JOIN negatives USING (galaxy_id)
        UNION ALL BY NAME
        SELECT near.*, 'P' AS drawn_from, tier, 1 AS label, NULL AS confuser_category
        FROM near JOIN candidates USING (galaxy_id) WHERE match_reason = 'matched'
    )
    SELECT 'audit_70_15_15' AS manifest_id, s.galaxy_id, printf('bucket-%04d.npy#%d', shard, shard_row) AS cutout_path,
        cutout_version, shard, shard_row, sha256, s.ra, s.dec, s.type_bin, s.nobs_z_bin, s.split, drawn_from AS pool,
        confuser_category, {CHOSEN},
        s.ebv, s.healpix_128, label, tier
    FROM sources AS s JOIN cutouts USING (galaxy_id) WHERE status = 'ok'"""
STEPS = {"negatives": (WANTED, AS_WRITTEN, RANKED), "limited": (WANTED, COUNTED, LIMITED, RANKED)}


def run(what: str, root: str, memory: str = "7GB") -> None:
    """Make negatives, or the manifest of the negatives that the lake holds, as a Parquet file."""
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = 2; SET memory_limit = '{memory}'; SET preserve_insertion_order = false")
        connection.execute(f"SET temp_directory = '{root}/duckdb'")
        for name, table in {
            "pool": "tractor_pool", "near": "tractor_near_candidates", "candidates": "lens_candidates",
            "negatives": "negatives", "cutouts": "cutouts",
        }.items():  # fmt: skip
            place = f"{root}/lake/{table}"
            if what == "manifest" or name not in ("negatives", "cutouts"):
                connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{place}/*.parquet')")
        for step in STEPS.get(what, ()):
            connection.execute(step)
        rows = MANIFEST if what == "manifest" else "SELECT * FROM drawn"
        connection.execute(f"COPY ({rows}) TO '{root}/{what}.parquet' (FORMAT parquet, COMPRESSION zstd)")


if __name__ == "__main__":
    run(*sys.argv[1:3])
