"""Stages as EMR would run them: what is shipped, unpacked and run as a cluster does, gives what a local run gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.etl.rehearsal import project as remote
from tests.etl.rehearsal.cloud import cloud
from tests.etl.rehearsal.nodes import Nodes, serving
from tests.etl.rehearsal.tools import SPARK_4
from tests.pipeline.checkout import Checkout


@pytest.mark.usefixtures("spark_server")
def test_a_stage_runs_from_the_shipped_archive_and_gives_the_local_fingerprints(tmp_path: Path) -> None:
    project = Checkout.make(tmp_path / "project")
    for command in (("params", "use", "test"), ("run", "demo"), ("run", "pool")):
        project.dhs(*command)
    local = project.cards()
    with cloud() as aws:
        remote.move(project, aws)
        nodes = Nodes(tmp_path / "cluster", aws, SPARK_4, tables=False)
        with serving(nodes), remote.submitting(project, aws):
            made = remote.submit("pool", None, remote.describe(project, aws, SPARK_4))
        assert {name: local[name] for name in remote.cards(project, "pool", None)} == project.cards()
        assert "data/lake/tractor_pool/_witness/whole.json" in made
