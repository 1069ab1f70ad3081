"""Networks that see observing conditions beside the pixels, as scorers; and logits that no company changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lake.errors import DataError, ParameterError
from modeling.config import TrainParams
from modeling.networks import inference
from modeling.networks.factory import build
from modeling.networks.inference import Arithmetic, BatchedNetwork
from modeling.networks.preprocess import normalise
from modeling.scoring.checkpoint import Manifest, publish
from modeling.scoring.scorer import CheckpointScorer
from modeling.training.train import train
from tests.modeling.conftest import arrays, ring_stamps

ROWS = 150


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> CheckpointScorer:
    """The small network with the fusion of convnext_tiny, which alone takes conditions and trains for minutes."""
    from modeling.config import resolve_generation
    from tests.modeling.conftest import SMALL

    folder = tmp_path_factory.mktemp("conditions")
    params: TrainParams = resolve_generation("demo1", {**SMALL, "loop": {**SMALL["loop"], "epochs": 1}})
    fused = params.network.model_copy(update={"metadata_columns": ("psfsize_r",)})
    params = params.model_copy(update={"network": fused})
    splits = arrays(folder / "train", params, 48, 1), arrays(folder / "val", params, 30, 2)
    result = train(params, *splits, folder / "work")
    return CheckpointScorer(publish(result, folder / "demo1", Manifest("m", "f00d"), *splits))


@pytest.mark.usefixtures("whole_stage")
def test_a_network_with_conditions_scores_them_as_it_was_trained_on_them(scorer: CheckpointScorer) -> None:
    stamps, _ = ring_stamps(6, 3)
    seeing = np.linspace(0.9, 1.9, 6)[:, None]
    logits = scorer.score(stamps, seeing)
    with torch.inference_mode():
        log = torch.from_numpy(seeing.astype(np.float32)).log()
        padded = torch.zeros(64, 3, 32, 32)
        padded[:6] = normalise(torch.from_numpy(stamps), scorer.preprocessing)
        expected = scorer._network(padded, torch.cat([log, torch.zeros(58, 1)]))[:6].double().numpy()
    assert np.array_equal(logits, expected)
    assert not np.array_equal(logits, scorer.score(stamps, seeing[::-1])), "conditions matter"
    assert scorer.embed(stamps, seeing).shape == (6, 24 + 32)


def test_conditions_that_are_not_known_are_refused(scorer: CheckpointScorer) -> None:
    stamps, _ = ring_stamps(3, 3)
    with pytest.raises(DataError, match=r"needs the observing conditions of each stamp \(psfsize_r\), which are not"):
        scorer.score(stamps)
    with pytest.raises(ParameterError, match=r"'conditions' must be \(3, 1\)"):
        scorer.score(stamps, np.ones((3, 2)))
    with pytest.raises(DataError, match="needs psfsize_r, but 2 of 3 stamps lack positive values"):
        scorer.score(stamps, np.array([[1.2], [0.0], [np.nan]]))


def test_a_logit_depends_on_no_other_stamp_of_the_batch(scorer: CheckpointScorer) -> None:
    stamps, _ = ring_stamps(ROWS, 4)
    seeing = np.linspace(0.9, 1.9, ROWS)[:, None]
    whole = scorer.score(stamps, seeing)
    assert ROWS % inference.BATCH["cpu"] > 0, "the last batch is padded"
    order = np.random.default_rng(0).permutation(ROWS)
    assert np.array_equal(scorer.score(stamps[order], seeing[order]), whole[order])
    for rows in (slice(0, 1), slice(0, 64), slice(63, 65), slice(100, ROWS)):
        assert np.array_equal(scorer.score(stamps[rows], seeing[rows]), whole[rows])


class Shapes(torch.nn.Module):
    """Notes the size of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor, metadata: torch.Tensor | None = None) -> torch.Tensor:
        self.seen.append(len(x))
        return x.mean(dim=(1, 2, 3))


@pytest.mark.parametrize(("batch", "expected"), [(64, [64, 64, 64]), (1024, [1024])])
def test_every_forward_pass_has_the_one_size_of_its_device(
    batch: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inference.BATCH == {"cpu": 64, "cuda": 1024}
    monkeypatch.setitem(inference.BATCH, "cpu", batch)
    network, x = Shapes(), torch.rand(ROWS, 3, 4, 4)
    found = BatchedNetwork(network, Arithmetic(torch.device("cpu"), torch.float32, False)).logits(x)  # type: ignore[arg-type]
    assert network.seen == expected
    assert torch.equal(found, x.mean(dim=(1, 2, 3)).double())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_logit_depends_on_no_other_stamp_of_a_gpus_batch(small: TrainParams) -> None:
    network = build(small.network, 3)
    arithmetic = Arithmetic(torch.device("cuda"), torch.float32, False)
    arithmetic.place(network)
    x = torch.rand(1500, 3, 32, 32)
    batched, order = BatchedNetwork(network, arithmetic), torch.randperm(1500)
    whole = batched.logits(x).cpu()
    assert torch.equal(batched.logits(x[order]).cpu(), whole[order])
    assert torch.equal(batched.logits(x[1000:1100]).cpu(), whole[1000:1100])
