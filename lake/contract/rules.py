"""Checking Arrow rows against a table's contract, with the same SQL that Delta enforces."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lake.contract.spec import TableSpec
from lake.errors import ContractError


@dataclass(frozen=True)
class Audit:
    """Rows that meet the contract, and those that do not with the first rule each breaks in ``broken_rule``."""

    kept: pa.Table
    rejected: pa.Table


def conform(spec: TableSpec, rows: pa.Table) -> pa.Table:
    """The table's columns in order and type; a missing or unknown column is an error."""
    missing = [name for name in spec.names if name not in rows.column_names]
    unknown = [name for name in rows.column_names if name not in spec.names]
    if missing or unknown:
        raise ContractError(f"'{spec.name}': columns missing {missing}, not in the contract {unknown}")
    fields = [pa.field(c.name, c.arrow.type) for c in spec.columns]
    return rows.select(list(spec.names)).cast(pa.schema(fields))


def reason_sql(spec: TableSpec) -> str:
    """CASE expression: the first rule a row breaks, in words, or NULL."""
    whens = " ".join(f"WHEN NOT ({rule.sql}) THEN '{_quoted(rule.text)}'" for rule in spec.rules())
    return f"CASE {whens} END" if whens else "CAST(NULL AS STRING)"


def audit(spec: TableSpec, rows: pa.Table) -> Audit:
    """Split rows into kept and rejected; of rows that share a key the first is kept."""
    import duckdb  # late: see lake.garbage

    rows = conform(spec, rows).append_column("_place", pa.array(range(rows.num_rows), pa.int64()))
    key = ", ".join(spec.key)
    query = f"""
        WITH judged AS (SELECT *, {reason_sql(spec)} AS broken_rule FROM rows),
        ranked AS (
            SELECT *, row_number() OVER (PARTITION BY {key}, broken_rule IS NULL ORDER BY _place) AS _rank FROM judged
        )
        SELECT * EXCLUDE (broken_rule, _rank), CASE WHEN broken_rule IS NULL AND _rank > 1
               THEN 'duplicate key ({key})' ELSE broken_rule END AS broken_rule
        FROM ranked ORDER BY _place
    """
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        judged = connection.sql(query).arrow().read_all()
    good = judged.column("broken_rule").is_null()
    kept = judged.filter(good).drop_columns(["broken_rule", "_place"])
    rejected = judged.filter(pc.invert(good)).drop_columns(["_place"])
    return Audit(conform(spec, kept), rejected)


def require(spec: TableSpec, rows: pa.Table) -> pa.Table:
    """The rows, conformed, where all of them must meet the contract."""
    result = audit(spec, rows)
    if result.rejected.num_rows:
        first = result.rejected.slice(0, 1).to_pylist()[0]
        row = {name: first[name] for name in spec.key}
        raise ContractError(
            f"'{spec.name}': {result.rejected.num_rows} of {rows.num_rows} rows break the contract; "
            f"first {row}: {first['broken_rule']}"
        )
    return result.kept


def _quoted(text: str) -> str:
    return text.replace("'", "''")
