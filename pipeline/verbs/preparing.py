"""What a first run would wait for, done once: loops are compiled, and Spark's classes archived."""

from __future__ import annotations

import compileall
import logging
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from analysis.fitted.embedding import placed
from etl.spark.session import stop_server
from injection.config import IM1, GridParams
from injection.experiment.hostset import Conditions, blank_sky
from injection.experiment.hoststamps import host_stamps
from injection.experiment.setting import Setting
from lake.progress import track
from lake.sky.survey import SURVEY
from pipeline.project.codecards import PACKAGES, PROJECT
from pipeline.project.project import Project
from pipeline.stage import run_stage
from pipeline.verbs.rendering import examples

_STAGES = ("demo", "pool", "candidates", "negatives", "cutouts")
"""Stages that start Spark, and those whose loops need a survey's files."""
_REMOTE = ("lake_uri", "work_uri", "shards_uri")
"""Parameters that name places in an object store."""
_PIXELS, _SEED = 101, 1


def prepare(survey: Mapping[str, Any]) -> None:
    """Run the first stages on a small survey in a temporary folder, and some injections beside them.

    ``survey``: the parameters of a survey of a few bricks, whose places are not used. Numba keeps what it compiles
    next to the modules, and Spark's server archives its classes when it ends. The project's data is not touched.
    """
    for package in PACKAGES:
        compileall.compile_dir(PROJECT / package, quiet=2)
    with tempfile.TemporaryDirectory(prefix="dhs-prepare-", ignore_cleanup_errors=True) as place:
        # Relative places are those of the working directory, which is the project's; base.yaml may name others.
        here = {"folder": f"{place}/survey", "data_root": f"{place}/data", **dict.fromkeys(_REMOTE)}
        small = Project(Path(place), {**survey, "survey": {**survey["survey"], **here}})
        with ThreadPoolExecutor(1) as beside:
            loops = beside.submit(compile_loops, small.section(GridParams, "grid"))
            _run(small)
            loops.result()


def _run(small: Project) -> None:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # what the stages say of that survey
    try:
        for stage in track(_STAGES, "Preparing"):
            run_stage(small, stage, None)
    finally:
        logging.disable(before)
        stop_server(small.data)


def compile_loops(grid: GridParams) -> None:
    """Inject a batch into blank sky, with noise of its own, and place some points as the report's picture does."""
    plain = {"host_selection": IM1.selection, "lens_shape": IM1.lens_shape, "poisson_gain_e_per_nmgy": 150.0}
    sky = Conditions(psf_fwhm_nea_arcsec=1.3, depth_mag=(24.0,) * len(SURVEY.bands))
    setting = Setting.of(grid.model_copy(update=plain), blank_sky(sky, _PIXELS, IM1, _SEED, SURVEY), _SEED)
    host_stamps(setting, setting.hosts.choose(1, _SEED, "prepare"))
    setting.measured(examples(setting, grid.batch_size, {}))
    placed(np.random.default_rng(_SEED).normal(size=(50, 8)), components=4, neighbours=10, seed=_SEED)
