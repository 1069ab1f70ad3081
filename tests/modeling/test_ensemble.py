"""Ensembles: one file, several finders, one logit; damaged files and changed members are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lake.errors import DarkHaloError
from modeling.scoring.card import FINDER
from modeling.scoring.ensemble import MetaLearner, averaged, kind_of
from modeling.scoring.scorer import load_scorer


def brightest(stamps: NDArray[np.float32]) -> NDArray[np.float32]:
    return stamps.max((1, 2, 3))


class Seeing:
    """A finder that takes the seeing."""

    conditions = ("psfsize_r",)
    output = "logits"

    def score(self, stamps: NDArray[np.float32], conditions: NDArray[np.float32]) -> NDArray[np.float32]:
        return stamps.mean((1, 2, 3)) - conditions[:, 0]


def content(folder: Path, **changed: Any) -> Path:
    """An ensemble of two finders in ``folder`` that takes the depth as well."""
    members = []
    for name in ("brightest", "Seeing"):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        facts = {"finder": f"tests.modeling.test_ensemble:{name}", "output": "logits"}
        (place / FINDER).write_text(json.dumps(facts))
        members.append({"folder": f"../{name}", "checkpoint_id": load_scorer(place).checkpoint_id})
    layers = [[[[1.0, -1.0], [0.5, 0.5], [0.1, 0.2]], [0.1, 0.2]], [[[2.0], [1.0]], [-0.5]]]
    values = {"members": members, "conditions": ["psfdepth_r"], "mean": [0.1, 0.2, 3.0], "scale": [1.0, 2.0, 0.5]}
    path = folder / "both" / "ab.ensemble"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**values, "layers": layers, **changed}))
    return path


def test_an_ensemble_gives_its_meta_learners_logit_of_its_members_in_any_batch(tmp_path: Path) -> None:
    scorer = load_scorer(content(tmp_path))
    assert scorer.conditions == ("psfsize_r", "psfdepth_r")
    rng = np.random.default_rng(2)
    stamps = rng.normal(size=(40, 3, 12, 12)).astype(np.float32)
    stamps[0, 0, 0, 0] = np.nan
    conditions = rng.uniform(0.5, 24.0, (40, 2))
    found = scorer.score(stamps, conditions)
    filled = np.nan_to_num(stamps)
    given = conditions.astype(np.float32)
    inputs = np.stack([brightest(filled), Seeing().score(filled, given), np.log(given[:, 1].astype(float))], axis=1)
    hidden = np.maximum(
        (inputs - [0.1, 0.2, 3.0]) / [1.0, 2.0, 0.5] @ np.array([[1, -1], [0.5, 0.5], [0.1, 0.2]]) + [0.1, 0.2], 0
    )
    np.testing.assert_allclose(found, hidden @ [2.0, 1.0] - 0.5, rtol=1e-6)
    parts = [scorer.score(stamps[s], conditions[s]) for s in (slice(0, 7), slice(7, 8), slice(8, 40))]
    assert np.array_equal(np.concatenate(parts), found)


def test_a_meta_learners_logit_does_not_depend_on_its_batch() -> None:
    rng = np.random.default_rng(3)
    learner = MetaLearner(
        np.zeros(4), np.ones(4), [(rng.normal(size=(4, 300)), np.zeros(300)), (rng.normal(size=(300, 1)), np.zeros(1))]
    )
    inputs = rng.normal(size=(257, 4))
    alone = np.concatenate([learner.logits(inputs[k : k + 1]) for k in range(len(inputs))])
    assert np.array_equal(alone, learner.logits(inputs))


def test_an_averaged_network_is_a_finder_of_its_own(trained: Path, tmp_path: Path) -> None:
    plain = shutil.copytree(trained, tmp_path / "demo1")
    whole = load_scorer(plain, averaged=True)
    path = tmp_path / "demo1-averaged" / "one.ensemble"
    path.parent.mkdir()
    path.write_text(averaged("../demo1", whole.checkpoint_id))
    found = load_scorer(path)
    assert len({found.checkpoint_id, whole.checkpoint_id, load_scorer(plain).checkpoint_id}) == 3
    stamps = np.random.default_rng(0).normal(size=(6, 3, 64, 64)).astype(np.float32)
    stamps[0, 0, 0, 0] = np.nan
    np.testing.assert_array_equal(found.score(stamps), whole.score(stamps))
    assert not np.allclose(found.score(stamps), load_scorer(plain).score(stamps), atol=1e-4)
    assert kind_of(str(path)) == "demo1, averaged over orientations"
    assert kind_of(str(content(tmp_path / "two"))) == "an ensemble of brightest, Seeing"
    assert kind_of("my_finder:finder") == "a user's own finder"
    path.write_text(averaged("../demo1", "another"))
    with pytest.raises(DarkHaloError, match="audit it again with `dhs audit --average`"):
        load_scorer(path)


def test_a_member_that_has_changed_is_refused(tmp_path: Path) -> None:
    path = content(tmp_path)
    facts = {"finder": "tests.modeling.test_ensemble:brightest", "output": "logits", "version": "2"}
    (tmp_path / "brightest" / FINDER).write_text(json.dumps(facts))
    with pytest.raises(
        DarkHaloError, match=r"was fitted to \.\./brightest as it was .*fit it again with `dhs ensemble`"
    ):
        load_scorer(path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"mean": [0.0]}, "its layers do not lead from 3 inputs to one logit"),
        ({"conditions": []}, "a layer of 3 inputs follows 2 values"),
        ({"layers": []}, "layers"),
        ({"members": []}, "members"),
        ({"more": 1}, "more"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(DarkHaloError, match=words):
        load_scorer(content(tmp_path, **changed))


def test_a_file_that_is_no_ensemble_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ensemble"
    path.write_bytes(b"\x80\x04K\x00.")
    with pytest.raises(DarkHaloError, match=r"x\.ensemble cannot be read as an ensemble"):
        load_scorer(path)
