"""A table's contract, compiled for the engines that judge rows by it, and applied to Arrow rows.

Delta's CHECK takes the rules as they are (``TableSpec.constraints``); Spark and DuckDB get one expression that names
the first rule a row breaks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake import provenance
from lake.contract.asking import ask
from lake.contract.fingerprint import row_hashes
from lake.contract.spec import ORIGIN, TableSpec
from lake.errors import ContractError

Dialect = Literal["spark", "duckdb"]


def literal(text: str, dialect: Dialect) -> str:
    """A string literal: Spark escapes by a backslash, DuckDB doubles quotes."""
    if dialect == "spark":
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + text.replace("'", "''") + "'"


def in_list(values: Sequence[str], dialect: Dialect) -> str:
    """String literals with commas between them."""
    return ", ".join(literal(value, dialect) for value in values)


def reason_sql(
    spec: TableSpec,
    dialect: Dialect,
    where: Mapping[str, str] | None = None,
    lineage: bool = True,
    met: Set[str] = frozenset(),
) -> str:
    """The first rule a row breaks, in words, or NULL; ``where`` is the slice that it must belong to.

    Without ``lineage``, for rows in which the writer has yet to fill it in; without the rules of columns in ``met``.
    """
    left = {c.name for c in spec.columns if c.role == "lineage" and not lineage} | met
    skipped = {f"{name}_valid" for name in left}
    tests = [
        (f"{name} IS NOT DISTINCT FROM {literal(value, dialect)}", f"'{name}' must be {value}, the slice being written")
        for name, value in sorted((where or {}).items())
    ]
    tests += [(rule.sql, rule.text) for rule in spec.rules() if rule.name not in skipped]
    whens = " ".join(f"WHEN NOT ({sql}) THEN {literal(text, dialect)}" for sql, text in tests)
    return f"CASE {whens} END" if whens else "CAST(NULL AS STRING)"


def duplicate_reason(key: Sequence[str]) -> str:
    """Why a row is rejected whose key another row keeps."""
    return f"duplicate key ({', '.join(key)})"


def conform(spec: TableSpec, rows: pa.Table, where: Mapping[str, str] | None = None) -> pa.Table:
    """The table's columns in order and type; a missing or unknown column is an error.

    Lineage and the columns of the slice are filled in where ``rows`` lack them.
    """
    for name, value in {**(where or {}), **provenance.lineage()}.items():
        if name in spec.names and name not in rows.column_names:
            rows = rows.append_column(name, pa.repeat(pa.scalar(value, spec.column(name).arrow.type), rows.num_rows))
    require_names(spec, rows.column_names)
    fields = [pa.field(c.name, c.arrow.type) for c in spec.columns]
    return rows.select(list(spec.names)).cast(pa.schema(fields))


def require_names(spec: TableSpec, names: Sequence[str]) -> None:
    """Refuse columns other than those of the contract."""
    missing = [name for name in spec.names if name not in names]
    unknown = [name for name in names if name not in spec.names]
    if missing or unknown:
        raise ContractError(f"'{spec.name}': columns missing {missing}, not in the contract {unknown}")


def audit(spec: TableSpec, rows: pa.Table, where: Mapping[str, str] | None = None) -> tuple[pa.Table, pa.Table]:
    """The rows that meet the contract, and the others with the first rule that each breaks in ``broken_rule``.

    Of rows that share a key the lowest (file, row) is kept. Where rows have no origin, their content decides, which
    does not depend on their order.
    """
    rows = conform(spec, rows, where)
    met = {column.name for column in spec.columns if column.met(rows[column.name].null_count, rows.num_rows)}
    reason = reason_sql(spec, "duckdb", where, met=met)
    broken = _broken(spec, rows, reason) if rows.num_rows else pa.nulls(0, pa.string())
    good = pc.is_null(broken)
    return rows.filter(good), rows.append_column("broken_rule", broken).filter(pc.invert(good))


def _broken(spec: TableSpec, rows: pa.Table, reason: str) -> pa.ChunkedArray:
    """The first rule that each row breaks, by the expression ``reason``, or that its key is another row's."""
    judged = rows.append_column("_place", pa.array(np.arange(rows.num_rows)))
    if rows.select(spec.key).group_by(list(spec.key)).aggregate([]).num_rows == rows.num_rows:
        return ask(f"SELECT {reason} AS broken_rule FROM rows ORDER BY _place", {"rows": judged})["broken_rule"]
    key = ", ".join(spec.key)
    order = ORIGIN if spec.has_origin else ("_content",)
    judged = judged.append_column("_content", pa.array(row_hashes(rows, spec)))
    query = f"""
        WITH judged AS (SELECT *, {reason} AS broken_rule FROM rows),
        ranked AS (
            SELECT _place, broken_rule, row_number() OVER (
                PARTITION BY {key}, broken_rule IS NULL ORDER BY {", ".join(order)}, _place
            ) AS _rank FROM judged
        )
        SELECT CASE WHEN broken_rule IS NULL AND _rank > 1
               THEN {literal(duplicate_reason(spec.key), "duckdb")} ELSE broken_rule END AS broken_rule
        FROM ranked ORDER BY _place
    """
    return ask(query, {"rows": judged})["broken_rule"]


def require(spec: TableSpec, rows: pa.Table, where: Mapping[str, str] | None = None) -> pa.Table:
    """The rows, conformed, where all of them must meet the contract."""
    kept, rejected = audit(spec, rows, where)
    if rejected.num_rows:
        first = rejected.slice(0, 1).to_pylist()[0]
        row = {name: first[name] for name in spec.key}
        raise ContractError(
            f"'{spec.name}': {rejected.num_rows} of {rows.num_rows} rows break the contract; "
            f"first {row}: {first['broken_rule']}"
        )
    return kept
