"""dhs score on a folder: one row per file."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy.special import logit

from analysis.results.discoveries import CALIBRATOR
from analysis.statistics.calibrators import METHODS
from lake.errors import ParameterError
from pipeline.cli import dhs
from pipeline.project.context import RunContext, stage_run
from pipeline.verbs import foreign
from tests.npzfiles import write_npz
from tests.pipeline.checkout import project_in


@pytest.mark.parametrize(("name", "said"), [("a.txt", "a file ending in"), ("no/a.csv", "a file in a folder")])
@pytest.mark.parametrize("command", [["score", "{here}", "--generation", "x"], ["query", "select 1"], ["discoveries"]])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, command: list[str], name: str, said: str
) -> None:
    """Hours of scoring are not lost to a misspelt folder."""
    words = [word.format(here=tmp_path) for word in command]
    found = CliRunner().invoke(dhs, [*words, "--out", str(tmp_path / name)], standalone_mode=False)
    assert isinstance(found.exception, ParameterError)
    assert f"'out' must be {said}" in str(found.exception)


def test_a_generation_that_does_not_exist_is_refused_before_files_are_read(
    tmp_path: Path,
) -> None:
    with pytest.raises(ParameterError, match="'scorer' must be a checkpoint folder"):
        foreign.score_folder(project_in(tmp_path), Path("no such folder"), ["nobody"])


def test_a_misspelt_generation_is_answered_with_the_nearest(tmp_path: Path) -> None:
    project = project_in(tmp_path)
    (project.data.checkpoints("demo1")).mkdir(parents=True)
    for name in ("demoo1", "demoo1@3"):
        with pytest.raises(ParameterError, match=rf"'generation' must be one of demo1, got '{name}'; did you mean"):
            foreign.score_folder(project, Path("no such folder"), [name])


@pytest.mark.parametrize("command", ["score", "discoveries"])
def test_every_calibrator_can_be_named_and_the_shown_one_is_the_default(command: str) -> None:
    (option,) = (one for one in dhs.get_command(click.Context(dhs), command).params if one.name == "calibrator")
    assert tuple(option.type.choices) == METHODS  # type: ignore[attr-defined]
    assert option.default == CALIBRATOR


class Finder:
    """Gives the mean of each stamp."""

    name, checkpoint_id, bands = "mean", "mean-1", None
    conditions: tuple[str, ...] = ()

    def score(self, stamps: NDArray[np.float32], conditions: object = None) -> NDArray[np.float64]:
        return np.asarray(np.nanmean(stamps.astype(np.float64), axis=(1, 2, 3)))


def test_each_file_has_a_row_with_a_score_or_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = {"galaxy_id": "1_2", "ra": 10.0, "dec": 2.0, "pixel_scale": 0.262}
    folder = tmp_path / "mine"
    (folder / "more").mkdir(parents=True)
    stamp = np.random.default_rng(0).normal(1, 0.1, (3, 101, 101)).astype(np.float32)
    hole = stamp + 1
    hole[:, 50] = 0
    write_npz(folder / "good.npz", stamp, meta)
    write_npz(folder / "hole.npz", hole, meta)
    write_npz(folder / "more" / "good.npz", stamp, meta)
    (folder / "notes.txt").write_text("x")
    monkeypatch.setattr(foreign, "load_scorer", lambda folder, **more: Finder())
    project = project_in(tmp_path, collection="x")
    of = {"checkpoint_id": Finder.checkpoint_id, "generation": "any"}
    platt = {"method": "platt", "fold": "some", "lenses": 10, "negatives": 30, "holds_at": 0.25, "sky_share": 0.01}
    with stage_run("evaluate", "any", project, RunContext) as context:
        context.write("calibrations", [{**of, **platt, "a": 2.0, "b": 2.0, "c": -1.0}], "any", of)
    rows = {row["source_file"]: row for row in foreign.score_folder(project, folder, ["any"]).to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "good.npz": "ok", "hole.npz": "rejected", "more/good.npz": "not read", "notes.txt": "not read",
    }  # fmt: skip
    assert rows["good.npz"]["score"] == pytest.approx(1.0, abs=0.01)
    assert logit(rows["good.npz"]["calibrated"]) == pytest.approx(2.0 * rows["good.npz"]["score"] - 1.0)
    offset = logit(0.01) - logit(0.25)
    assert logit(rows["good.npz"]["sky_probability"]) == pytest.approx(2.0 * rows["good.npz"]["score"] - 1.0 + offset)
    assert (rows["good.npz"]["holds_at"], rows["good.npz"]["sky_share"]) == (0.25, 0.01)
    assert (rows["hole.npz"]["calibrated"], rows["notes.txt"]["holds_at"]) == (None, None)
    others = foreign.score_folder(project, folder, ["any"], calibrator="beta").to_pylist()
    assert {row["calibrated"] for row in others} == {None}
    assert (rows["good.npz"]["galaxy_id"], rows["good.npz"]["reason"]) == ("x:1_2", None)
    assert (rows["hole.npz"]["galaxy_id"], rows["hole.npz"]["score"]) == ("x:1_2@hole.npz", None)
    assert rows["hole.npz"]["reason"] == "pixels within 8 px of the centre are not finite"
    assert rows["more/good.npz"]["reason"] == "more/good.npz has the same pixels as good.npz"
    assert rows["notes.txt"]["reason"] == "notes.txt: it is neither an .npz nor a .fits file"
