"""A Spark session shared by the tests of the jobs, and tables of a survey file by file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lake.root import DataRoot


@pytest.fixture(scope="session")
def jobs_spark(spark_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One Spark session for all tests of pure transforms."""
    from etl.spark.session import session

    made = session(DataRoot.of(tmp_path_factory.mktemp("jobs")), "jobs", compile_queries=False)
    yield made
    made.stop()
