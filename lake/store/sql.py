"""Which tables of the lake a query names, and at which version."""

from __future__ import annotations

from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from lake import tables
from lake.errors import ParameterError, invalid
from lake.store import views

EXECUTING = ("reflect", "java_method", "try_reflect", "identifier")
"""Spark functions that call any static Java method, and the clause that turns text into a name."""

_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_CUT = """CASE WHEN typeof({value}) IN ('FLOAT', 'DOUBLE') OR typeof({value}) LIKE 'DECIMAL%'
THEN TRY_CAST(trunc(TRY_CAST({value} AS DOUBLE)) AS {kind}) ELSE TRY_CAST({value} AS {kind}) END"""


@dataclass(frozen=True)
class Named:
    """A table that a query names, at a version or (None) as pinned, and the view in its place."""

    table: str
    version: int | None
    view: str


@dataclass(frozen=True)
class Statement:
    """A query whose tables are all known; ``tree`` names the views."""

    tree: exp.Query
    named: tuple[Named, ...]


def parse(text: str) -> Statement:
    """A Spark SQL query about tables of the lake; ``<table> VERSION AS OF <n>`` becomes a view of its own."""
    tree = _tree(text)
    _refuse_execution(tree)
    named: dict[str, Named] = {}
    for node in list(tree.find_all(exp.Table)):
        if not isinstance(node.this, exp.Identifier) or _is_common(node):
            continue
        found = _resolve(node)
        named[found.view] = found
    return Statement(tree, tuple(named.values()))


def to_duckdb(tree: exp.Query) -> str:
    """The query in DuckDB's SQL; as in Spark, a number loses what follows its point when it becomes an integer."""
    return tree.transform(_cut_fraction).sql(dialect="duckdb")


def _cut_fraction(node: exp.Expr) -> exp.Expr:
    """A cast to an integer type, which DuckDB would round."""
    if isinstance(node, exp.Anonymous) and node.name.lower() in _INTEGERS and len(node.expressions) == 1:
        node = exp.TryCast(this=node.expressions[0], to=exp.DataType.build(node.name))
    if not isinstance(node, exp.Cast) or not node.to.is_type(*_INTEGERS):
        return node
    value, kind = node.this.sql(dialect="duckdb"), node.to.sql(dialect="duckdb")
    return sqlglot.parse_one(_CUT.format(value=value, kind=kind), dialect="duckdb")


def _tree(text: str) -> exp.Query:
    try:
        found = sqlglot.parse(text, dialect="spark")
    except sqlglot.errors.ParseError as error:
        first = error.errors[0]
        raise ParameterError(f"not understood as SQL (line {first['line']}): {first['description']}") from error
    except (sqlglot.errors.SqlglotError, IndexError, RecursionError) as error:
        raise ParameterError(f"not understood as SQL: {error}") from error
    if len(found) != 1 or not isinstance(found[0], exp.Query):
        raise invalid("SQL", "one query (SELECT or WITH)", text)
    return found[0]


def _refuse_execution(tree: exp.Query) -> None:
    """Refuse anything that makes Spark run a program or call Java, and names that only Spark would resolve."""
    if tree.find(exp.QueryTransform):
        raise invalid("SQL", "a query that does not run a program", "TRANSFORM ... USING")
    for node in tree.find_all(exp.Func):
        name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()
        if name in EXECUTING:
            raise invalid("SQL", "a query without functions that call Java or resolve names at run time", name)


def _is_common(node: exp.Table) -> bool:
    """Whether a name stands for a common table expression that is in scope there."""
    if node.db:
        return False
    inner: exp.Expr = node
    while (outer := inner.parent) is not None:
        if isinstance(outer, exp.With):
            position = outer.expressions.index(inner) + bool(outer.recursive)
            visible = outer.expressions[:position]
        else:
            clause = outer.args.get("with_")
            visible = clause.expressions if clause is not None and clause is not inner else []
        if any(cte.alias_or_name.lower() == node.name.lower() for cte in visible):
            return True
        inner = outer
    return False


def _resolve(node: exp.Table) -> Named:
    table = node.name.lower()
    if node.db or table not in views.known():
        raise invalid("table", f"one of {', '.join(views.known())}", node.sql(dialect="spark"))
    version = node.args.get("version")
    if version is not None and table not in tables.names():
        raise invalid(
            "version", f"that of a table; the view '{table}' reads pinned versions", version.sql(dialect="spark")
        )
    if version is None:
        return Named(table, None, table)
    number = version.expression.name
    if version.name.upper() != "VERSION" or not number.isdigit():
        raise invalid("version", f"given as '{table} VERSION AS OF <number>'", version.sql(dialect="spark"))
    view = f"{table}_version_{number}"
    if not node.alias:
        node.set("alias", exp.TableAlias(this=exp.to_identifier(table)))
    node.set("this", exp.to_identifier(view))
    node.set("version", None)
    return Named(table, int(number), view)
