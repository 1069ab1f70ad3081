"""Spark SQL about the lake's tables by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

import sqlglot
from pyspark.sql import DataFrame, SparkSession
from sqlglot import exp

from etl.spark.session import session
from etl.tables.table import none, read, read_version
from lake import tables
from lake.errors import ParameterError, invalid, not_one_of
from lake.root import DataRoot
from lake.store import cards, views
from lake.store.status import REGISTRY, Reading, registered

EXECUTING = ("reflect", "java_method", "try_reflect", "identifier")
"""Spark functions that call any static Java method, and the clause that turns text into a name."""
_EXECUTION = re.compile(r"\b(ScriptTransformation|(?:try_)?reflect\(|java_method\()")


@dataclass(frozen=True)
class Named:
    """A table that a query names, at a version or (None) as pinned, and the view in its place."""

    table: str
    version: int | None
    view: str


def sql(spark: SparkSession, root: DataRoot, text: str, at: str | None = None, invalid_too: bool = False) -> DataFrame:
    """The result of a query about tables by name (no paths), each at its pinned version or ``VERSION AS OF <n>``.

    ``at`` is a git revision, whose committed pins then count. Results of invalidated runs are left out unless
    ``invalid_too``.
    """
    tree, named = parse(text)
    for one in named:
        if one.version is not None:
            read_version(spark, root, one.table, one.version).createOrReplaceTempView(one.view)
    pinned = {table for one in named if one.version is None for table in views.named(one.table)}
    of_views = {one.table for one in named if one.table in views.VIEWS}
    _register(spark, Reading(root, at, invalid_too), sorted(pinned), of_views)
    answer = spark.sql(tree.sql(dialect="spark") if any(one.version is not None for one in named) else text)
    _refuse_execution_in_plan(answer)
    return answer


def lake_session(root: DataRoot) -> SparkSession:
    """A Spark session of this process in which all tables and views have their names, at their pinned versions."""
    spark = session(root, "lake", str(os.getpid()))
    made = cards.tables(root)
    _register(spark, Reading(root), made, (name for name in views.VIEWS if set(views.VIEWS[name].needs) <= set(made)))
    return spark


def parse(text: str) -> tuple[exp.Query, list[Named]]:
    """A Spark SQL query and the tables it names; ``<table> VERSION AS OF <n>`` becomes a view of its own."""
    tree = _tree(text)
    _refuse_execution_in_text(tree)
    named: dict[str, Named] = {}
    for node in list(tree.find_all(exp.Table)):
        if not isinstance(node.this, exp.Identifier) or _is_common(node):
            continue
        found = _resolve(node)
        named[found.view] = found
    return tree, list(named.values())


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


def _refuse_execution_in_text(tree: exp.Query) -> None:
    """Refuse anything that makes Spark run a program or call Java, and names that only Spark would resolve."""
    if tree.find(exp.QueryTransform):
        raise invalid("SQL", "a query that does not run a program", "TRANSFORM ... USING")
    for node in tree.find_all(exp.Func):
        name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()
        if name in EXECUTING:
            raise invalid("SQL", "a query without functions that call Java or resolve names at run time", name)


def _is_common(node: exp.Table) -> bool:
    """Whether a name is that of a common table expression in scope."""
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
    if node.db or not views.exists(table):
        raise not_one_of("table", views.known(), node.sql(dialect="spark"))
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


def _register(spark: SparkSession, reading: Reading, names: Iterable[str], of_views: Iterable[str]) -> None:
    """Give tables at their pinned versions, then views of them, their names."""
    for table in names:
        slices = [entry.card.slice for entry in reading.slices(table)]
        rows = read(spark, reading.root, table, slices, at=reading.at) if slices else none(spark, table)
        if table == REGISTRY and reading.known:
            rows.createOrReplaceTempView("registry_as_stored")
            stored = "SELECT * FROM registry_as_stored"
            rows = spark.sql(registered(stored, tables.spec(table), reading.known, "spark"))
        rows.createOrReplaceTempView(table)
    for name in of_views:
        spark.sql(views.VIEWS[name].query(reading.invalid_too)).createOrReplaceTempView(name)


def _refuse_execution_in_plan(answer: DataFrame) -> None:
    """Refuse a plan that runs a program or calls Java, however the query was written."""
    plan = answer._explain_string(mode="extended")
    found = _EXECUTION.search(plan)
    if found:
        raise invalid("SQL", "a query that neither runs a program nor calls Java", found.group(0).strip())
