"""What is read of a set of cut-outs before it is audited: its description, its fields, the uses of its negatives."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from etl.config import CutoutsParams
from etl.cutouts.description import Description, Images
from injection.config import GridParams
from injection.priors.registry import load_prior
from lake import yamltext
from lake.config import SurveyParams
from lake.errors import DataError, ParameterError
from modeling.scoring.finder import Contract
from pipeline.experiment.cutouthosts import Labelled, read, setting_of
from pipeline.finders import cutoutaudit
from pipeline.finders.audit import TrainedOn
from pipeline.finders.cutoutaudit import Request
from pipeline.finders.cutoutuses import _uses, with_known_optics, with_uses
from tests.cutoutsets import SIDE, described, write_set
from tests.pipeline.checkout import project_in


@pytest.mark.parametrize(("second", "kept"), [("tile2", True), ("", False), ("  ", False), (None, False)])
def test_a_blank_field_is_none(second: str | None, kept: bool) -> None:
    held = Mock(objects=pd.DataFrame({"galaxy_id": ["a", "b"], "field": ["tile1", second]}))
    made = Labelled.with_fields(held, pd.DataFrame({"galaxy_id": ["b", "a"]}))
    assert made.get("field", pd.Series([])).to_list() == (["tile2", "tile1"] if kept else [])


@pytest.mark.parametrize(
    ("pixels", "uses"), [([1] * 9, 3), ([1] * 8 + [2], 3), ([1, 1, 1, 2, 2, 2, 3, 3, 3], 3), ([1, 1], 1)]
)
def test_negatives_in_few_pixels_of_the_sky_have_all_uses(pixels: list[int], uses: int) -> None:
    names = np.array([f"own:{row}" for row in range(len(pixels))])
    found = _uses(np.array(pixels, dtype=str), names, 7, "own")
    assert len(set(found)) == uses
    if len(set(pixels)) == 3:
        assert all(len(set(found[np.array(pixels) == pixel])) == 1 for pixel in pixels), "neighbours stay together"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"theta_e_arcsec": [0.8, 5.0]}, r"'grid\.theta_e_arcsec' must be below half a stamp of own \(4\.1 arcsec\)"),
        (
            {"sky_annulus_px": [30, 40]},
            r"'grid\.sky_annulus_px' must be a ring that begins below half a stamp \(20\.5 pixels\)",
        ),
        ({"psf_moffat_beta": [3.0, 3.0, 3.0]}, r"grid of own: 'psf_moffat_beta' .* \(g, i\) or one for all, .* `grid`"),
    ],
)
def test_what_a_set_cannot_have_in_its_grid_is_said_before_it_is_read(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    values = described(stamp_pixels=SIDE, psf={"kind": "fwhm_nea", "arcsec": 0.8}, grid={"psf_moffat_beta": [3.0]})
    (tmp_path / "set.yaml").write_text(yamltext.text(values | {"table": None, "grid": values["grid"] | changes}))
    project = project_in(tmp_path)
    base, cutouts = project.section(GridParams, "grid"), project.section(CutoutsParams, "cutouts")
    with pytest.raises(ParameterError, match=said):
        read(tmp_path / "gone", tmp_path / "set.yaml", base, cutouts, (), tmp_path / "pixels")


def test_the_example_of_the_page_is_a_description(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "auditing-cutouts.md").read_text()
    example, prior = (
        yamltext.values(text) for text in re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    )
    known = Description.load(example, "set.yaml")
    (tmp_path / "prior.yaml").write_text(yamltext.text(prior))
    imaging = known.imaging((1.0, 1.0, 1.0))
    assert set(imaging.source_columns) <= set(load_prior(str(tmp_path / "prior.yaml")).direct(imaging))
    Contract.load(known.finder, "finder")
    GridParams.load({**project_in(tmp_path).values["grid"], **known.grid}, "grid")
    for files in re.findall(r"\| `(\{files:.*?\})`", page):
        Images.model_validate(yamltext.values(files))
    kinds = [yamltext.values(text) for text in re.findall(r"^\| `(\{kind:.*?\})`", page, re.MULTILINE)]
    for kind in kinds:
        place = "psf" if kind["kind"] in ("image", "fwhm", "fwhm_nea") else "noise"
        Description.load({**example, place: kind}, "set.yaml")
    assert len(kinds) == 7


def labelled(folder: Path, conditions: tuple[str, ...] = (), **changes: Any) -> Labelled:
    """Eight cut-outs, two of them lenses, as an audit reads them."""
    path = write_set(folder / "set", 8, 2, **changes)
    project = project_in(folder)
    base, cutouts = project.section(GridParams, "grid"), project.section(CutoutsParams, "cutouts")
    return read(folder / "set", path, base, cutouts, conditions, folder / "pixels")


def test_a_column_that_no_object_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no object has a 'seing', which the description names; did you mean 'seeing'"):
        labelled(tmp_path, psf={"kind": "fwhm_nea", "arcsec": "seing"}, grid={"psf_moffat_beta": [3.0]})
    with pytest.raises(DataError, match="no object has a 'airmass', which the finder needs"):
        labelled(tmp_path, ("seeing", "airmass"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"psf": {"kind": "fwhm_nea", "arcsec": 60.0}}, "its seeing in i must be above 0 and at most 10 arcsec: check"),
        (
            {"noise": {"kind": "depth", "mag": 99.0}},
            "its 5-sigma depth in i must be above 10 and at most 35 mag: check",
        ),
        ({"psf": {"kind": "fwhm_nea", "arcsec": "kind"}}, "its PSF or noise is not known: it has no positive 'kind'"),
        (
            {"grid": {"sky_annulus_px": [19.05, 19.06]}},
            "its PSF or noise is not known: none can be measured in its outer",
        ),
    ],
)
def test_negatives_that_cannot_host_an_injection_are_not_used(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    found = with_known_optics(labelled(tmp_path, **{"grid": {"psf_moffat_beta": [3.0]}, **changes}))
    assert (found.objects["label"] == 1).all()
    assert len(found.rejected) == 6
    assert all(said in row["reason"] for row in found.rejected)


def test_a_position_keeps_its_neighbours_together_though_others_have_none(tmp_path: Path) -> None:
    made = labelled(tmp_path)
    facts = made.facts
    for name, values in (("ra", [10.0, 20.0] * 3 + [np.nan] * 2), ("dec", [1.0, -60.0] * 3 + [np.nan] * 2)):
        facts = facts.append_column(name, pa.array(values))
    found = with_uses(replace(made, facts=facts), project_in(tmp_path).section(SurveyParams, "survey").split)
    uses = found.objects["negative_use"].to_list()
    assert uses[2] == uses[4]
    assert uses[3] == uses[5]


def test_edges_without_a_host_are_refused(tmp_path: Path) -> None:
    made = labelled(tmp_path, grid={"prior": "prior.yaml", "per_cell": 4, "depth_edges_mag": [11.0, 12.0]})
    found = with_uses(made, project_in(tmp_path).section(SurveyParams, "survey").split)
    said = (
        r"no host of own lies in a cell of the declared edges: their seeing is 0\.\d+ to 0\.\d+ arcsec, their depth 2"
    )
    with pytest.raises(DataError, match=said):
        setting_of(found, found.grid, 1, np.zeros(len(found.objects), dtype=bool))


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("galaxy_id\no003\nDES J0123\n", [place == 3 for place in range(8)]),
        ("galaxy_id\nDES J0123\n", [None] * 8),
        ("ra,dec\n10,1\n", [None] * 8),
    ],
)
def test_a_list_of_objects_that_cannot_be_compared_does_not_say_that_none_was_seen(
    tmp_path: Path, text: str, known: list[bool | None]
) -> None:
    """Identifiers of another catalogue, or positions where the set has none."""
    made = labelled(tmp_path)
    (tmp_path / "list.csv").write_text(text)
    request = Request("a:b", tmp_path, tmp_path, "a", trained_on=TrainedOn(tmp_path / "list.csv", 1.0))
    seen = cutoutaudit._seen(request, made)
    assert [None if pd.isna(value) else value for value in seen] == known
