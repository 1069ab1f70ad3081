"""What is imported early is spared from garbage collection; DuckDB, which would report leaks, is not among it."""

from __future__ import annotations

import subprocess
import sys

_IMPORTED = """
import gc, sys
from lake import gc_tuning
from lake.contract import rules
from lake.store import delta
assert "duckdb" not in sys.modules
gc_tuning.search_seldom()
assert gc.get_threshold()[0] > 700
gc_tuning.spare_imported()
print(gc.get_freeze_count() > 10_000)
import duckdb
gc.unfreeze()
gc_tuning.spare_imported()
print(gc.get_freeze_count())
"""


def test_what_is_imported_is_spared_but_for_duckdb() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORTED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0"]
    assert "leaked" not in done.stderr


_STARTED = """
import gc
from lake import gc_tuning
gc_tuning.search_seldom()
from lake.contract import rules
from lake.store import delta
assert gc.get_freeze_count() == 0
from lake.store import query
print(gc.get_freeze_count() > 10_000)
import duckdb
held = [duckdb.connect()]
held.append(held)
print(held[0].sql("select 42 as answer").fetchall()[0][0])
"""


def test_what_is_there_before_duckdb_is_spared_and_duckdb_reports_no_leak() -> None:
    done = subprocess.run([sys.executable, "-c", _STARTED], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["True", "42"], "")
