"""Checkpoints and scorers: round trip, refusals, external finders."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from lake.errors import DataError, ParameterError
from lake.scorer import Scorer
from lake.sky.survey import SURVEY
from modeling.config import TrainParams, resolve_generation
from modeling.scoring import scorer as scorer_module
from modeling.scoring.checkpoint import Checkpoint, checkpoint_id, problems, publish, run_id
from modeling.scoring.scorer import CheckpointScorer, ExternalScorer, load_scorer, score_together
from modeling.training.data import TrainingArrays
from modeling.training.train import train
from tests.modeling.checkpoints import reseal
from tests.modeling.conftest import MANIFEST, SMALL, ring_stamps

Splits = tuple[TrainingArrays, TrainingArrays]


@pytest.fixture
def checkpoint(tmp_path: Path, trained: Path) -> Checkpoint:
    return Checkpoint.load(Path(shutil.copytree(trained, tmp_path / "checkpoints" / "demo1")))


def test_round_trip(checkpoint: Checkpoint, splits: Splits) -> None:
    again = Checkpoint.load(checkpoint.folder)
    assert again.card == checkpoint.card
    assert again.card.preprocessing.annulus == (10.0, 15.0)
    assert again.has_seen(splits[0].galaxy_ids).all()
    assert again.has_seen(splits[1].galaxy_ids).all()
    assert not again.has_seen(pa.array(["other:1"])).any()
    assert {p.name for p in again.folder.iterdir()} == {
        *("best.safetensors", "last.safetensors", "epoch-0002.safetensors"),
        *("checkpoint.json", "epochs.json", "seen.parquet"),
    }


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value of a JSON document with the keys that lead to it."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 + 1
    return "fp16" if value is None else {"float32": "bfloat16", "fp32": "bf16"}.get(value, f"{value}x")


def test_any_changed_field_of_the_card_is_noticed(checkpoint: Checkpoint) -> None:
    path = checkpoint.folder / "checkpoint.json"
    whole = json.loads(path.read_text())
    fields = list(leaves(whole))
    assert {("dtype",), ("stamp_pixels",), ("config", "network", "dropout"), ("manifest_fingerprint",)} <= dict(
        fields
    ).keys()
    for keys, value in fields:
        values = json.loads(json.dumps(whole))
        inner = values
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = other(value)
        path.write_text(json.dumps(values))
        with pytest.raises((DataError, ParameterError), match=r"checkpoint\.json"):
            Checkpoint.load(checkpoint.folder)
        assert len(problems(checkpoint.folder)) == 1, keys


def test_a_checkpoint_older_than_declared_bands_saw_the_survey_s(checkpoint: Checkpoint) -> None:
    path = checkpoint.folder / "checkpoint.json"
    values = json.loads(path.read_text())
    for later in ("bands", "imported_from", "seen_known", "card_sha256"):
        del values[later]
    values["card_sha256"] = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(values))
    assert Checkpoint.load(checkpoint.folder).card.bands == ("g", "r", "z")
    assert problems(checkpoint.folder) == []


def test_any_flipped_bit_of_the_files_is_noticed(checkpoint: Checkpoint) -> None:
    assert problems(checkpoint.folder) == []
    rng = random.Random(7)
    for name in ("best.safetensors", "last.safetensors", "epoch-0002.safetensors", "epochs.json", "seen.parquet"):
        path = checkpoint.folder / name
        whole = path.read_bytes()
        for _ in range(8):
            flipped = bytearray(whole)
            flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            (found,) = problems(checkpoint.folder)
            assert f"{name} was altered" in found
            assert "remove it and run `dhs train demo1`" in found
            if name in ("best.safetensors", "epochs.json", "seen.parquet"):
                with pytest.raises(DataError, match=f"{name} was altered"):
                    Checkpoint.load(checkpoint.folder)
        path.unlink()
        assert f"{name} was altered: it is missing" in problems(checkpoint.folder)[0]
        path.write_bytes(whole)
    assert problems(checkpoint.folder) == []


def test_a_checkpoint_holds_nothing_but_what_it_is(
    tmp_path: Path, small: TrainParams, splits: Splits, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lake.provenance.git_commit", lambda: "another commit")
    again = publish(train(small, *splits, tmp_path / "elsewhere"), tmp_path / "again" / "demo1", MANIFEST, *splits)
    for path in sorted(checkpoint.folder.iterdir()):
        assert path.read_bytes() == (again.folder / path.name).read_bytes(), path.name


def test_arithmetic_and_stamp_side_are_part_of_the_identity(checkpoint: Checkpoint) -> None:
    card, weights = checkpoint.card, checkpoint.weights()
    names = {
        checkpoint_id(weights, card.config, card.preprocessing, pixels, dtype)
        for pixels in (33, 35)
        for dtype in ("float32", "bfloat16")
    }
    assert len(names) == 4
    assert card.checkpoint_id in names
    reseal(checkpoint.folder, dtype="bfloat16")
    with pytest.raises(DataError, match="was altered"):
        load_scorer(checkpoint.folder)


def test_scorer_gives_the_validation_metric(checkpoint: Checkpoint) -> None:
    from modeling.training.selection import auc

    stamps, labels = ring_stamps(30, 2)
    scorer = load_scorer(checkpoint.folder)
    assert load_scorer(checkpoint.folder / "best.safetensors").checkpoint_id == scorer.checkpoint_id
    assert isinstance(scorer, Scorer)
    assert scorer.checkpoint_id == checkpoint.card.checkpoint_id
    assert auc(scorer.score(stamps), labels.astype(float)) == checkpoint.card.best_val_auc


@pytest.mark.parametrize("name", ["last.safetensors", "epoch-0002.safetensors", "gone.safetensors"])
def test_other_weights_than_the_best_are_not_taken_for_them(checkpoint: Checkpoint, name: str) -> None:
    words = r"'scorer' must be a checkpoint's folder, best\.safetensors in it, or FOLDER@EPOCH .*, got '.*" + name
    with pytest.raises(ParameterError, match=words):
        load_scorer(checkpoint.folder / name)


def test_weights_without_a_card_say_how_they_are_brought_in(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_bytes((checkpoint.folder / "best.safetensors").read_bytes())
    with pytest.raises(DataError, match=r"has no checkpoint\.json beside it, .* `dhs import checkpoint`"):
        load_scorer(tmp_path / "best.safetensors")


def test_scores_do_not_depend_on_the_batch(checkpoint: Checkpoint) -> None:
    stamps, _ = ring_stamps(150, 3)
    scorer = load_scorer(checkpoint.folder)
    whole = scorer.score(stamps)
    parts = np.concatenate([scorer.score(stamps[:1]), scorer.score(stamps[1:90]), scorer.score(stamps[90:])])
    assert whole.dtype == np.float64
    assert np.array_equal(whole, parts)


def test_changed_preprocessing_is_refused(checkpoint: Checkpoint) -> None:
    path = checkpoint.folder / "checkpoint.json"
    values = json.loads(path.read_text())
    values["preprocessing"]["annulus"] = [8.0, 15.0]
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"checkpoint\.json was altered: its fields are not those"):
        load_scorer(checkpoint.folder)
    reseal(checkpoint.folder)
    with pytest.raises(DataError, match="only valid with the preprocessing it was trained with"):
        load_scorer(checkpoint.folder)
    values["preprocessing"]["kind"] = "zscore"
    path.write_text(json.dumps(values))
    with pytest.raises(ParameterError, match=r"preprocessing.kind' must be"):
        load_scorer(checkpoint.folder)


def test_foreign_radii_are_another_scorer(checkpoint: Checkpoint) -> None:
    own, foreign = load_scorer(checkpoint.folder), load_scorer(checkpoint.folder, {"annulus": [6.0, 12.0]})
    stamps, _ = ring_stamps(8, 4)
    assert own.checkpoint_id != foreign.checkpoint_id
    assert not np.array_equal(own.score(stamps), foreign.score(stamps))


def test_pickles_are_never_opened(checkpoint: Checkpoint, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "exploded",))

    (checkpoint.folder / "best.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"best\.safetensors was altered"):
        Checkpoint.load(checkpoint.folder)
    reseal(checkpoint.folder)
    with pytest.raises(DataError, match="is not a safetensors file"):
        Checkpoint.load(checkpoint.folder)
    assert not (tmp_path / "exploded").exists()


def test_stamps_that_do_not_fit_are_refused(checkpoint: Checkpoint) -> None:
    scorer = load_scorer(checkpoint.folder)
    assert isinstance(scorer, CheckpointScorer)
    assert scorer.minimum_pixels == 32
    with pytest.raises(ParameterError, match="'stamps' must be"):
        scorer.score(np.zeros((2, 3, 20, 20), dtype=np.float32))
    larger = np.zeros((2, 3, 45, 45), dtype=np.float32)
    stamps, _ = ring_stamps(2, 5)
    larger[..., 6:39, 6:39] = stamps
    assert np.array_equal(scorer.score(larger), scorer.score(stamps))
    assert scorer.embed(stamps).shape == (2, 24)
    layers = scorer.layers(larger)
    assert list(layers) == ["block 1", "block 2", "block 3", "embedding", "logit"]
    assert np.array_equal(layers["embedding"], scorer.embed(stamps))
    assert np.allclose(layers["logit"], scorer.score(stamps), atol=1e-5)


def test_fine_tune_inherits_weights_and_seen_galaxies(checkpoint: Checkpoint, tmp_path: Path, splits: Splits) -> None:
    params = resolve_generation("demo2", {**SMALL, "loop": {**SMALL["loop"], "epochs": 1}})
    with pytest.raises(DataError, match="starts from demo1"):
        train(params, *splits, tmp_path / "w0")
    result = train(params, *splits, tmp_path / "w2", checkpoint.weights())
    other = [
        TrainingArrays(pa.array([f"n:{i}" for i in range(len(s))]), s.x, s.labels, s.weights, None, 33, SURVEY.bands)
        for s in splits
    ]
    tuned = publish(result, tmp_path / "checkpoints" / "demo2", MANIFEST, other[0], other[1], checkpoint)
    assert tuned.card.ancestors == (checkpoint.card.checkpoint_id,)
    assert tuned.has_seen(splits[0].galaxy_ids).all()
    assert run_id(params, "f00d", checkpoint) == tuned.card.run_id != run_id(params, "beef", checkpoint)


def brightness(stamps: np.ndarray) -> np.ndarray:
    return stamps.mean(axis=(1, 2, 3))


class Broken:
    name, stamp_pixels, version = "broken", 33, "1"

    def score(self, stamps: np.ndarray) -> np.ndarray:
        return np.full((len(stamps), 2 if len(stamps) > 1 else 1), np.nan)


def test_external_finders(tmp_path: Path) -> None:
    stamps, _ = ring_stamps(3, 1)
    function = load_scorer(f"{__name__}:brightness")
    assert isinstance(function, ExternalScorer)
    assert len(function.checkpoint_id) == 16
    np.testing.assert_allclose(function.score(stamps), stamps.mean(axis=(1, 2, 3)))
    (tmp_path / "scorer.json").write_text(json.dumps({"finder": f"{__name__}:Broken", "stamp_pixels": 33}))
    broken = load_scorer(tmp_path)
    assert broken.name == "broken"
    with pytest.raises(DataError, match="must return 3 logits"):
        broken.score(stamps)
    with pytest.raises(DataError, match=r"cannot be imported: .*; install its package, or put it into the"):
        load_scorer("no.such.package:thing")
    with pytest.raises(ParameterError, match="'scorer' must be"):
        load_scorer(tmp_path / "absent")


def test_a_finder_beside_the_data_is_given_the_middle_of_larger_stamps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
class Corner:
    stamp_pixels = 4

    def __call__(self, stamps):
        assert stamps.shape[1:] == (3, 4, 4)
        return stamps[:, 0, 2, 2]


finder = Corner()
"""
    (tmp_path / "finder_of_this_folder.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    stamps = np.zeros((2, 3, 9, 9), np.float32)
    stamps[1, 0, 4, 4] = 5.0
    np.testing.assert_allclose(load_scorer("finder_of_this_folder:finder").score(stamps), [0.0, 5.0])


def test_the_mean_over_orientations_and_kept_epochs_are_scorers_of_their_own(checkpoint: Checkpoint) -> None:
    stamps, _ = ring_stamps(70, 5)
    plain, averaged = (load_scorer(checkpoint.folder, averaged=one) for one in (False, True))
    kept = load_scorer(checkpoint.folder.with_name(f"{checkpoint.folder.name}@2"))
    assert kept.name == "demo1@2"
    assert len({plain.checkpoint_id, averaged.checkpoint_id, kept.checkpoint_id}) == 3
    assert isinstance(plain, CheckpointScorer)
    x = plain.normalised(torch.from_numpy(stamps)).numpy()
    turned = [
        np.ascontiguousarray(np.rot90(x[..., ::-1] if mirrored else x, turns, axes=(2, 3)))
        for mirrored in (False, True)
        for turns in range(4)
    ]
    alone = [plain.logits(torch.from_numpy(one), None) for one in turned]
    assert np.array_equal(alone[0], plain.score(stamps))
    np.testing.assert_allclose(averaged.score(stamps), np.mean(alone, axis=0), atol=1e-5)
    with pytest.raises(ParameterError, match=r"'epoch' must be one that demo1 kept \(2\), got 3"):
        load_scorer(checkpoint.folder.with_name("demo1@3"))


def test_several_checkpoints_are_scored_in_one_pass_as_if_each_were_alone(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps, _ = ring_stamps(70, 5)
    scorers = [
        CheckpointScorer(checkpoint),
        CheckpointScorer(checkpoint, epoch=2),
        CheckpointScorer(checkpoint, {"annulus": [8, 12]}),
    ]
    alone = [scorer.score(stamps) for scorer in scorers]
    seen: list[int] = []
    real = scorer_module.normalise
    monkeypatch.setattr(scorer_module, "normalise", lambda x, params: (seen.append(len(x)), real(x, params))[1])
    together = score_together(scorers, torch.from_numpy(stamps), [None] * 3)
    assert np.array_equal(together, np.stack(alone))
    assert seen == [70, 70], "once for each preprocessing"
