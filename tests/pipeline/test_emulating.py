"""`dhs completeness --at` and `--compare-emulator`."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from lake.errors import ParameterError
from pipeline.commands.selection import completeness
from pipeline.experiment.emulating import columns_of, completeness_at, emulator_compared, parsed
from pipeline.project import params
from tests.pipeline.checkout import Checkout

KNOWN = {"theta_e": "lens_theta_e_arcsec", "src_mag": "src_mag_r", "src_mag_r": "src_mag_r"}


def test_a_point_is_names_and_numbers() -> None:
    assert parsed("theta_e=1.4, src_mag_r=24") == {"theta_e": 1.4, "src_mag_r": 24.0}
    for text in ("theta_e", "theta_e=x", "=3", "theta_e=1,theta_e=2", "theta_e=nan", "theta_e=1,"):
        with pytest.raises(ParameterError, match=rf"'at' must be NAME=NUMBER.*, got '{re.escape(text)}'"):
            parsed(text)


def test_axes_and_columns_name_the_same_parameters() -> None:
    assert columns_of({"theta_e": 1.0, "src_mag_r": 24.0}, KNOWN) == {"lens_theta_e_arcsec": 1.0, "src_mag_r": 24.0}
    with pytest.raises(ParameterError, match="'at' must be one of theta_e, src_mag, src_mag_r, got 'src_magn'; did"):
        columns_of({"src_magn": 24.0}, KNOWN)
    with pytest.raises(ParameterError, match="one value of src_mag_r"):
        columns_of({"src_mag": 24.0, "src_mag_r": 24.0}, KNOWN)


@pytest.mark.parametrize(("options", "named"), [
    (["--at", "theta_e=1", "--by", "depth"], "by"),
    (["--compare-emulator", "--prior", "v1"], "priors"),
    (["--at", "theta_e=1", "--compare-emulator"], "compare-emulator"),
])  # fmt: skip
def test_options_that_do_not_go_together(options: list[str], named: str) -> None:
    error = CliRunner().invoke(completeness, options).exception
    assert isinstance(error, ParameterError)
    assert f"'{named}' must be left out where" in str(error)


@pytest.mark.timeout(900)
def test_on_a_finished_lake(finished: Checkout) -> None:
    project = params.load(finished.folder)
    rows = completeness_at(project, [{"theta_e": 1.4, "src_mag": 24.0}, {"src_mag": 30.0}], None, "p0.3").to_pandas()
    assert rows["at"].to_list() == ["theta_e=1.4, src_mag=24", "src_mag=30"]
    assert rows["support"].to_list() == ["inside", "outside"]
    assert 0 < rows["low_95"][0] < rows["completeness"][0] < rows["high_95"][0] < 1
    cells = emulator_compared(project, None, "p0.3").to_pandas()
    assert cells["inside"].mean() > 0.8
    assert (cells["completeness"] * cells["n"]).to_numpy() == pytest.approx(cells["detected"].to_numpy())
