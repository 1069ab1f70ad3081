"""SQL on Arrow tables: a query sees what it was given, in any thread and any process."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import duckdb
import pyarrow as pa
import pytest

from lake.contract.asking import ask


def total(number: int) -> int:
    return ask("SELECT sum(n) AS total FROM rows", {"rows": pa.table({"n": [number, 1]})})["total"][0].as_py()


def test_queries_of_several_threads_see_their_own_tables() -> None:
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(total, range(40))) == [number + 1 for number in range(40)]


def test_a_table_is_gone_after_its_query() -> None:
    assert total(1) == 2
    with pytest.raises(duckdb.CatalogException, match="rows does not exist"):
        ask("SELECT * FROM rows", {})


def test_a_process_makes_one_database_and_a_forked_one_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    connect = duckdb.connect
    monkeypatch.setattr(duckdb, "connect", lambda config: made.append(connect(config=config)) or made[-1])
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert [total(1), total(2)] == [2, 3]
    assert len(made) == 1
    monkeypatch.setattr(os, "getpid", lambda: -2)
    assert total(3) == 4
    assert len(made) == 2


def test_settings_are_those_of_the_query() -> None:
    """Each is asked twice: a database that is kept has its own settings, too."""
    asked = "SELECT current_setting('threads') AS threads, current_setting('memory_limit') AS memory"
    free = ask(asked, {}).to_pylist()
    for _ in range(2):
        assert ask(asked, {}, threads=1, memory_limit="256MB").to_pylist() == [{"threads": 1, "memory": "244.1 MiB"}]
        assert ask(asked, {}).to_pylist() == free
