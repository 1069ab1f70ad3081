"""Finders as people bring them: each is given what it declares, and audited rightly or refused in one sentence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit

from lake.errors import DataError, ParameterError
from lake.plugins import imported
from lake.scorer import check_bands
from lake.sky.survey import SURVEY
from modeling.scoring import finder as module
from modeling.scoring.finder import PROBABILITY_CLIP, SUSPECT_ANSWERS, Contract, ExternalScorer, FinderParams
from modeling.scoring.scorer import load_scorer
from tests.conftest import REAL_DATA

SIDE = 9
HERE = __name__
NAN = np.float32(np.nan)


def stamps(rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Noise, with a hole in the first row's g band and no z band at all in the second row."""
    made = np.random.default_rng(seed).normal(0.2, 1.0, (rows, 3, SIDE, SIDE)).astype(np.float32)
    made[0, 0, :2] = NAN
    made[1:2, 2] = NAN
    return made


def scorer(finder: str, **values: Any) -> ExternalScorer:
    return ExternalScorer(FinderParams(finder=f"{HERE}:{finder}", **values))


class Base:
    version = "1"
    given: tuple[NDArray[Any], ...] = ()

    def score(self, *given: NDArray[Any]) -> Any:
        type(self).given = given
        return given[0][:, 1].mean(axis=(1, 2), dtype=np.float64) * 5


class Plain(Base):
    pass


class Leaves(Base):
    def score(self, *given: NDArray[Any]) -> Any:
        raise SystemExit(3)


class MasksOne(Base):
    def score(self, *given: NDArray[Any]) -> Any:
        return np.ma.masked_greater(np.arange(len(given[0])), 0)


class Faint(Base):
    fill = -0.25


class Median(Base):
    fill = "median"


class Masked(Base):
    wants_mask = True


class TakesNan(Base):
    accepts_nan, wants_mask = True, True


class Probabilities(Base):
    def score(self, *given: NDArray[Any]) -> Any:
        return expit(super().score(*given))


class Declared(Probabilities):
    output = "probabilities"


def test_no_finder_is_given_nan_unless_it_says_so() -> None:
    pixels = stamps(4)
    observed = np.isfinite(pixels)
    for finder, fill in ((Plain, 0.0), (Faint, -0.25)):
        scorer(finder.__name__).score(pixels)
        (given,) = finder.given
        assert np.array_equal(given, np.where(observed, pixels, np.float32(fill)))
    scorer("Median").score(pixels)
    (given,) = Median.given
    assert (given[0, 0, :2] == np.median(pixels[0, 0, 2:])).all()
    assert (given[1, 2] == 0.0).all(), "a band without any pixel"
    assert np.array_equal(given[observed], pixels[observed])
    scorer("Masked").score(pixels)
    given, mask = Masked.given
    assert np.isfinite(given).all()
    assert np.array_equal(mask, observed)
    scorer("TakesNan").score(pixels)
    assert np.array_equal(TakesNan.given[0], pixels, equal_nan=True)
    pixels[2, 0, 0, 0] = np.inf
    scorer("Plain").score(pixels)
    assert Plain.given[0][2, 0, 0, 0] == 0.0


def test_a_finder_cannot_change_the_stamps_of_the_lake() -> None:
    pixels = stamps(4)
    before = pixels.copy()
    scorer("TakesNan").score(pixels)
    TakesNan.given[0][:] = 0.0
    assert np.array_equal(pixels, before, equal_nan=True)


@pytest.mark.parametrize(("finder", "values"), [("Declared", {}), ("Probabilities", {"output": "probabilities"})])
def test_declared_probabilities_become_their_logits(finder: str, values: dict[str, Any]) -> None:
    pixels = stamps(200)
    np.testing.assert_allclose(scorer(finder, **values).score(pixels), scorer("Plain").score(pixels), rtol=1e-12)


def certain(given: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.resize([0.0, 1.0, 0.5], len(given))


def test_certain_probabilities_have_a_finite_logit() -> None:
    logits = scorer("certain", output="probabilities", version="1").score(stamps(3))
    assert logits[0] == pytest.approx(np.log(PROBABILITY_CLIP))
    assert logits[1] == pytest.approx(-np.log(PROBABILITY_CLIP), abs=0.2)
    assert logits[2] == 0.0


def beyond(given: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.linspace(-0.1, 1.2, len(given))


def rounded(given: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.resize(np.array([-1e-7, 1.0 + 1.2e-7], np.float32), len(given))


def test_a_probability_beyond_1_by_rounding_is_one_that_is_certain() -> None:
    found = scorer("rounded", output="probabilities", version="1").score(stamps(2))
    assert np.array_equal(found, scorer("certain", output="probabilities", version="1").score(stamps(2)))


def test_declared_probabilities_outside_0_and_1_are_refused() -> None:
    with pytest.raises(DataError, match=r"must return probabilities in \[0, 1\], as it declares, got .* -0.1 to 1.2"):
        scorer("beyond", output="probabilities", version="1").score(stamps(5))


def test_thousands_of_undeclared_answers_within_0_and_1_are_refused_with_the_cure() -> None:
    few, cure = scorer("Probabilities"), r'all 1000 values from finder .* within \[0, 1\].* output = "probabilities"'
    few.score(stamps(SUSPECT_ANSWERS - 1))
    assert few.may_answer_probabilities
    with pytest.raises(DataError, match=cure):
        few.score(stamps(1))
    scorer("Plain").score(stamps(SUSPECT_ANSWERS))


def test_declared_logits_within_0_and_1_are_taken_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    declared, undeclared = scorer("Probabilities", output="logits"), scorer("Probabilities")
    pixels = stamps(SUSPECT_ANSWERS)
    found = declared.score(pixels)
    assert np.array_equal(found[:9], undeclared.score(pixels[:9])), "no logit is taken of what is declared to be one"
    declared.score(pixels)
    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith(f"all {SUSPECT_ANSWERS} values from finder ")
    assert 'declare output = "probabilities" and audit it again' in told
    caplog.clear()
    scorer("Plain", output="logits").score(pixels)
    assert not caplog.records


def test_what_is_declared_twice_must_agree_and_is_part_of_the_identity() -> None:
    with pytest.raises(ParameterError, match=r"'output' must be what the finder declares \('probabilities'\)"):
        scorer("Declared", output="logits")
    ids = {scorer("Probabilities", output=output).checkpoint_id for output in (None, "logits", "probabilities")}
    assert len(ids) == 3
    own = scorer("Plain").checkpoint_id
    assert scorer("Plain", identity=own).checkpoint_id == own
    with pytest.raises(DataError, match="is not the one that was audited"):
        scorer("Plain", identity=own, version="2")


class Odd(Base):
    answer: Any = None

    def score(self, *given: NDArray[Any]) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.zeros((3, 2)), r"must return 3 logits, one number per stamp, got an array of shape \(3, 2\)"),
        (np.zeros(2), r"got an array of shape \(2,\)"),
        (0.5, r"got an array of shape \(\)"),
        (None, "got NoneType with values of type object"),
        (["a", "b", "c"], "got list with values of type <U1"),
        ([True, False, True], "got list with values of type bool"),
        ([1j, 0, 0], "got list with values of type complex128"),
        ([[1.0], [1.0, 2.0], [3.0]], "got a list of unequal lengths"),
        ([1.0, np.nan, np.inf], "returned 2 of 3 logits that are not finite"),
    ],
)
def test_answers_that_are_not_one_finite_number_each_are_refused(
    answer: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Odd, "answer", answer)
    with pytest.raises(DataError, match=said):
        scorer("Odd").score(stamps(3))


@pytest.mark.parametrize(
    "answer",
    [
        [1.0, 2.0, 3.0],
        np.ones((3, 1), np.float16),
        torch.ones(3, requires_grad=True),
        list(torch.ones(3, requires_grad=True)),
        list(torch.ones(3, dtype=torch.bfloat16)),
        torch.ones(3).to_sparse(),
    ],
)
def test_lists_columns_and_tensors_are_answers(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odd, "answer", answer)
    assert scorer("Odd").score(stamps(3)).shape == (3,)


def raising(given: NDArray[np.float32]) -> None:
    raise KeyError("weights")


def test_what_a_finder_raises_is_one_sentence() -> None:
    with pytest.raises(DataError, match=r"finder .*raising failed on 3 stamps: KeyError: 'weights'"):
        scorer("raising").score(stamps(3))


class NeedsPath:
    def __init__(self, path: str) -> None:
        self.path = path


class Wide(Base):
    stamp_pixels = SIDE + 1


class Nowhere(Base):
    stamp_pixels = "all"


class Undecided(Base):
    output = "chance"


def test_a_finder_that_cannot_be_made_or_asks_for_too_much_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"cannot be created: TypeError: .*path.*; its class is called without arguments"
    ):
        scorer("NeedsPath")
    with pytest.raises(DataError, match="takes stamps of 10 pixels, but these have 9"):
        scorer("Wide").score(stamps(2))
    with pytest.raises(ParameterError, match=rf"'{HERE}:Nowhere.stamp_pixels' must be"):
        scorer("Nowhere")
    with pytest.raises(ParameterError, match=rf"'{HERE}:Undecided.output' must be"):
        scorer("Undecided")


class Network(torch.nn.Module):
    stamp_pixels = 7

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))
        self.output = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1:] == (3, 7, 7)
        found: torch.Tensor = self.output(self.body(x).mean(dim=(2, 3)))
        return found


def test_a_torch_module_is_a_finder_in_evaluation_mode_known_by_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = stamps(6)
    found = load_scorer(f"{HERE}:Network")
    logits = found.score(pixels)
    np.testing.assert_allclose(logits[2:], found.score(pixels[2:]), rtol=1e-6, atol=1e-7)
    other = Network()
    with torch.no_grad():
        other.output.bias += 1.0
    monkeypatch.setattr(module, "imported", lambda path, what: other)
    changed = load_scorer(f"{HERE}:Network")
    np.testing.assert_allclose(changed.score(pixels), logits + 1.0, rtol=1e-5)
    assert changed.checkpoint_id != found.checkpoint_id


WRAPPED = """import functools, torch
@torch.no_grad()
def decorated(stamps): return stamps[:, 0, 0, 0]
def plain(stamps, n): return stamps[:, n, 0, 0]
partial = functools.partial(plain, n=1)
"""


@pytest.mark.parametrize("name", ["decorated", "partial"])
def test_a_wrapped_finder_is_known_by_its_own_source(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of a decorated function is its decorator's: changes of the finder itself must be noticed."""
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / f"wrapped_{name}.py"
    source.write_text(WRAPPED)
    found = ExternalScorer(FinderParams(finder=f"wrapped_{name}:{name}"))
    source.write_text(WRAPPED + "# another\n")
    with pytest.raises(DataError, match="is not the one that was audited"):
        ExternalScorer(FinderParams(finder=f"wrapped_{name}:{name}", identity=found.checkpoint_id))


def test_a_finder_that_ends_the_process_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "leaving_script.py").write_text("import sys\nsys.exit('usage: script --weights')\n")
    with pytest.raises(DataError, match="cannot be imported: SystemExit: usage: script --weights; install"):
        imported("leaving_script:finder", "finder")
    with pytest.raises(DataError, match="failed on 2 stamps: SystemExit: 3"):
        scorer("Leaves").score(stamps(2))


def test_masked_answers_are_no_answers() -> None:
    with pytest.raises(DataError, match="one number per stamp, got 1 masked values"):
        scorer("MasksOne").score(stamps(2))


def test_more_stamps_than_a_finder_is_given_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)
    pixels = stamps(11)
    assert np.array_equal(scorer("Plain").score(pixels), pixels[:, 1].mean(axis=(1, 2), dtype=np.float64) * 5)
    assert len(Plain.given[0]) == 3
    assert scorer("Plain").score(pixels[:0]).shape == (0,)


def test_the_finders_of_shared_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finders that were brought by people and handled wrongly; read where they lie beside the project."""
    folder = REAL_DATA.parent / "cases" / "finders"
    if not folder.exists():
        pytest.skip(f"{folder} does not exist")
    monkeypatch.syspath_prepend(folder)
    pixels = np.zeros((70, 3, 101, 101), np.float32) + stamps(70)[..., :1, :1]
    pixels[3, :, 20:30] = NAN
    assert len(load_scorer("finders:PlainNetwork").score(pixels)) == 70
    with pytest.raises(DataError, match="takes stamps of 128 pixels, but these have 101"):
        load_scorer("finders:TooLarge").score(pixels)
    with pytest.raises(DataError, match="returned 10 of 70 logits that are not finite"):
        load_scorer("finders:SometimesNaN").score(pixels)
    asked = load_scorer("finders:Probabilities")
    asked.score(pixels)
    with pytest.raises(DataError, match="all 70 values from"):
        asked.refuse_undeclared_probabilities()  # type: ignore[union-attr]


class Infrared:
    bands = ("g", "r", "i")
    version = "1"

    def score(self, stamps: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.zeros(len(stamps), np.float32)


class Anything(Infrared):
    bands = None  # type: ignore[assignment]


def test_a_finder_is_not_given_bands_that_it_did_not_ask_for() -> None:
    with pytest.raises(
        ParameterError, match=r"'bands of .*Infrared' must be those of DESI .* \(g, r, z\), got 'g, r, i'"
    ):
        check_bands(scorer("Infrared"), SURVEY)
    check_bands(scorer("Infrared"), SURVEY.model_copy(update={"bands": ("g", "r", "i")}))
    check_bands(scorer("Anything"), SURVEY)


def test_bands_and_conditions_that_a_finder_does_not_declare_are_no_part_of_its_identity() -> None:
    """A finder that was added before it could declare them is still the one that was audited."""
    facts = Contract().model_dump(mode="json", exclude={"bands", "conditions"})
    old = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    known = hashlib.sha256(f"{HERE}:Anything 1 {old}".encode()).hexdigest()[:16]
    assert scorer("Anything").checkpoint_id == known
    assert scorer("Infrared").checkpoint_id != hashlib.sha256(f"{HERE}:Infrared 1 {old}".encode()).hexdigest()[:16]
