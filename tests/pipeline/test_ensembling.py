"""What an ensemble is fitted to: hosts, thresholds and tests of its audit are others."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from lake.errors import ParameterError
from pipeline.experiment.trainedon import LISTED, seen_by
from pipeline.finders import ensembling
from pipeline.finders.ensembling import fits
from pipeline.project import params
from pipeline.project.project import Project
from tests.fulldisk import no_file_over
from tests.pipeline.checkout import PROJECT


def test_lenses_and_half_of_the_possible_hosts_fit_a_meta_learner() -> None:
    uses = ["threshold", "host", "test"] * 200
    rows = pd.DataFrame({"galaxy_id": [f"ls-dr10:{n}" for n in range(600)], "label": 0, "negative_use": uses})
    rows.loc[:49, ["label", "negative_use"]] = [1, None]
    chosen = rows[fits(rows)]
    assert (chosen["label"] == 1).sum() == 50
    negatives = chosen[chosen["label"] == 0]
    assert set(negatives["negative_use"]) == {"host"}
    assert 60 < len(negatives) < 125, "about half of 183"
    again = rows.sample(frac=1.0, random_state=1)
    assert set(again[fits(again)]["galaxy_id"]) == set(chosen["galaxy_id"]), "whatever the order"


@pytest.mark.parametrize(
    ("conditions", "sentence"),
    [
        (["label"], "psfsize_<band> and psfdepth_<band> alone, as others may reveal the label, got 'label'"),
        (["psfsize_r", "split"], "alone, as others may reveal the label"),
        (["psfsize_r", "psfsize_r"], "'conditions' must be different columns"),
    ],
)
def test_a_meta_learner_takes_no_columns_that_may_reveal_the_label(conditions: list[str], sentence: str) -> None:
    project = params.load(PROJECT)
    with pytest.raises(ParameterError, match=sentence):
        ensembling.fit(project, ensembling.Request("both", ["demo1", "demo2"], "logistic", conditions))


def test_a_full_disk_under_the_list_of_trained_objects_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(project: Project, members: list[str], fitted: list[str], path: Path) -> None:
        with no_file_over(1000):
            pd.DataFrame({"galaxy_id": fitted}).to_csv(path)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ensembling, "_trained_on", listed)
    project = Project(tmp_path / "project", {"survey": params.load(PROJECT).values["survey"]})
    fitted = [f"ls-dr10:{n}" for n in range(1000)]
    with pytest.raises(OSError, match=rf"'{tmp_path}/tmp\w+'$") as raised:
        ensembling._audit(project, "both", ["demo1", "demo2"], "{}", fitted)
    assert raised.value.errno in (errno.EFBIG, errno.ENOSPC)


def test_objects_outside_the_manifest_are_known_not_to_have_been_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"galaxy_id": ["ls-dr10:1", "ls-dr10:2"], "ra": [10.0, 20.0], "dec": [1.0, 2.0], "split": ["train", "val"]}
    monkeypatch.setattr(ensembling.delta, "read", lambda *given, **more: pa.table(rows))
    for name in ("seen_by", "trained_by"):
        monkeypatch.setattr(ensembling, name, lambda folder, rows: pa.array([True, False]))
    project = Project(tmp_path / "project", {"survey": params.load(PROJECT).values["survey"]})
    ensembling._trained_on(project, ["demo1"], ["ls-dr10:2"], tmp_path / LISTED)
    assert seen_by(tmp_path, pa.table(rows)).to_pylist() == [True, True]
    elsewhere = pa.table({"galaxy_id": ["ls-dr10:3"], "ra": [30.0], "dec": [3.0]})
    assert seen_by(tmp_path, elsewhere).to_pylist() == [False]
