"""A survey of three small bricks, made once for all tests of this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.io import fits
from numpy.typing import NDArray

from demo.config import DemoParams
from demo.survey import write_survey
from etl.files.candidatelist import LENSCAT
from lake.config import SplitParams, SurveyParams

SPLIT = SplitParams(seed=42, train_below=0.70, val_below=0.85, threshold_share=0.5, negatives_nside=4096)


def demo_params(**sections: dict[str, Any]) -> DemoParams:
    """The demo's parameters with small changes by section; ``top`` holds what is in no section."""
    text = (Path(__file__).resolve().parents[2] / "params" / "demo.yaml").read_text()
    values = yaml.safe_load(text)["demo"]
    values.update(sections.pop("top", {}))
    for name, changes in sections.items():
        values[name] = {**values[name], **changes}
    return DemoParams.load(values, "demo")


def survey_params() -> SurveyParams:
    """What the demo needs of the survey section."""
    return SurveyParams(
        name="Tiny survey",
        simulated=True,
        folder="data/survey",
        collection="ls-dr10",
        seed=42,
        split=SPLIT,
        audit_manifest="audit_70_15_15",
        data_root="data",
        compile_queries=False,
        candidate_list=LENSCAT,
        grades={"confident": "A", "probable": "B"},
        lake_uri=None,
        work_uri=None,
        shards_uri=None,
    )


def tiny_params(**top: Any) -> DemoParams:
    """Three bricks of 320 pixels with nine lenses."""
    return demo_params(
        top={"brick_pixels": 320, "workers": 1, **top},
        sky={"train_bricks": 1, "val_bricks": 1, "test_bricks": 1},
        conditions={
            "bright_star_fraction": 0.4,
            "bad_pixel_fraction": 0.4,
            "lost_band_bricks": 0,
            "unobserved_band_bricks": 0,
        },
        lenses={
            "tier_a": 3,
            "tier_b": 2,
            "tier_b_false": 1,
            "unlisted": 2,
            "unlisted_faint": 1,
            "contaminant": 2,
            "outside_footprint": 1,
        },
        sources={"negatives_per_lens": 4, "faint": 4, "background": 0, "duplicate_fraction": 0.1, "nan_rows": 2},
    )


@dataclass(frozen=True)
class Made:
    """A survey on disk with its truth."""

    params: DemoParams
    folder: Path
    truth: Path

    def rows(self) -> NDArray[Any]:
        """All sweep rows, in native byte order."""
        files = sorted((self.folder / "sweeps").glob("*.fits"))
        parts = [np.asarray(fits.getdata(path)) for path in files]
        return np.concatenate([part.astype(part.dtype.newbyteorder("=")) for part in parts])

    def table(self, name: str) -> list[dict[str, Any]]:
        """Records of one truth table."""
        return pq.read_table(self.truth / f"{name}.parquet").to_pylist()

    def plane(self, brick: str, product: str, band: str) -> tuple[NDArray[np.float32], fits.Header]:
        """One coadd image with its header."""
        path = self.folder / "coadds" / brick[:3] / brick / f"legacysurvey-{brick}-{product}-{band}.fits.fz"
        with fits.open(path) as file:
            return np.asarray(file[1].data), file[1].header


def make(params: DemoParams, folder: Path) -> Made:
    """Write a survey below ``folder``."""
    write_survey(params, survey_params(), folder / "survey", folder / "truth")
    return Made(params, folder / "survey", folder / "truth")


@pytest.fixture(scope="session")
def survey(once: Callable[[str, Callable[[Path], object]], Path]) -> Made:
    """The tiny survey, by one process for all of a run; read, never changed."""
    folder = once("tiny_survey", lambda place: make(tiny_params(), place))
    return Made(tiny_params(), folder / "survey", folder / "truth")
