"""Checks of what a long run needs: files of the survey, bricks, disk space, the bank of sources."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from etl.config import CutoutsParams
from etl.cutouts import cutting
from etl.cutouts.cutting import Sources
from etl.files import sweepfiles
from etl.files.candidatelist import read_list
from injection.config import GridParams
from injection.galaxies.models import source_model
from lake.errors import DarkHaloError
from lake.files import storage
from lake.sky.survey import BANDS
from lake.store import cards, delta
from pipeline.project import simulated
from pipeline.project.project import Project

_COPIES = 3
"""Stamps are written as partial work, as shards, and to DVC's cache."""
_PIXEL_BYTES = 4
_POOL_SHARE = 0.3
"""Bytes of the pool's tables per byte of the sweeps, at most: a sweep's row has 505 bytes, and a quarter is kept."""


@dataclass(frozen=True)
class Finding:
    """The result of one check, and whether it passed (None: not known yet)."""

    what: str
    found: str
    good: bool | None = True

    def line(self, width: int) -> str:
        state = {True: "ok", False: "PROBLEM", None: "later"}[self.good]
        return f"{state:<8} {self.what:<{width}}  {self.found}"


def findings(project: Project) -> list[Finding]:
    """Everything that a run from the survey's files needs."""
    params = project.section(CutoutsParams, "cutouts")
    sweeps = list(_sweeps(project))
    wanted = _wanted(project)
    return [
        *sweeps,
        _candidates(project),
        *_cutouts(project, params, wanted),
        _space(project, params, wanted),
        _sources(project),
        *_banks(project),
    ]


def _folder(project: Project) -> str:
    folder = project.survey.folder
    return folder if "://" in folder else str(project.folder / folder)


def _sweeps(project: Project) -> Iterator[Finding]:
    try:
        files = sweepfiles.find(f"{_folder(project)}/sweeps")
    except DarkHaloError as error:
        yield Finding("sweeps", str(error), False)
        return
    read = [file for file in files if file.problem is None]
    yield Finding("sweeps", f"{len(read)} files, {_sweep_bytes(project) / 1e9:.2f} GB")
    for file in files:
        if file.problem is not None:
            yield Finding("sweeps", f"{file.name} is not read: {file.problem}", False)


def _sweep_bytes(project: Project) -> int:
    return sum(facts.size or 0 for _, facts in storage.files(f"{_folder(project)}/sweeps"))


def _candidates(project: Project) -> Finding:
    survey = project.survey
    try:
        found = read_list(f"{_folder(project)}/{survey.candidate_list.file}", survey.grades, survey.candidate_list).rows
    except DarkHaloError as error:
        return Finding("candidates", str(error), False)
    tiers = found["tier"].to_pylist()
    told = ", ".join(f"{tiers.count(tier)} of tier {tier}" for tier in ("A", "B"))
    return Finding("candidates", f"{found.num_rows} positions, {told}")


def _wanted(project: Project) -> Sources | None:
    """Sources whose cut-outs a run needs; None until the stages `candidates` and `negatives` have run."""
    root = project.data
    tables = ("negatives", "lens_candidates", "tractor_near_candidates")
    if not all(cards.slices(root, table) for table in tables):
        return None
    negatives, candidates, near = (delta.read(root, table) for table in tables)
    return Sources.of(cutting.requests(negatives, candidates, near, cutting.KNOWN.empty_table()))


def _cutouts(project: Project, params: CutoutsParams, wanted: Sources | None) -> Iterator[Finding]:
    if wanted is None:
        yield Finding("cut-outs", "which bricks are needed is known after `dhs repro candidates negatives`", None)
        return
    by_service = len(wanted)
    if params.source != "service":
        survey = _folder(project)
        try:
            placed = wanted.in_bricks(survey, params)
        except DarkHaloError as error:
            yield Finding("bricks", str(error), False)
            return
        there = cutting.with_coadds(survey, placed)
        by_service = int((~there).sum())
        yield _bricks(placed, there, params.source == "coadds")
    if params.source != "coadds" and by_service:
        hours = by_service / params.service.web.requests_per_second / 3600
        yield Finding("service", f"{by_service} cut-outs from {params.service.url}: at least {hours:.1f} hours")


def _bricks(placed: Sources, there: np.ndarray, needed: bool) -> Finding:
    needs, has = set(placed.brick.tolist()) - {""}, set(placed.brick[there].tolist())
    lacking = sorted(needs - has)
    told = f"{len(has)} of {len(needs)} are there for {int(there.sum())} of {len(placed)} sources"
    if not lacking:
        return Finding("bricks", told)
    images = ", ".join(f"image-{band}" for band in BANDS)
    return Finding(
        "bricks", f"{told}; {', '.join(lacking[:5])}{', ...' * (len(lacking) > 5)} lack one of {images}", not needed
    )


def _space(project: Project, params: CutoutsParams, wanted: Sources | None) -> Finding:
    root = project.data.local
    place = next(folder for folder in (root, *root.resolve().parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e9
    planned = _planned_stamps(project)
    pixels = 0 if wanted is None else len(wanted) * params.stamp_pixels**2
    if planned:
        pixels += planned * int(project.values["stamps"]["cutting"]["stamp_pixels"]) ** 2
    needed = (pixels * len(BANDS) * _PIXEL_BYTES * _COPIES + _POOL_SHARE * _sweep_bytes(project)) / 1e9
    unknown = [what for what, count in (("cut-outs", wanted), ("simulated stamps", planned)) if count is None]
    about = f" without {' and '.join(unknown)}, whose number is not known yet" if unknown else ""
    return Finding("disk", f"{free:.1f} GB are free in {place}, about {needed:.1f} GB are needed{about}", free > needed)


def _planned_stamps(project: Project) -> int | None:
    """Most stamps of all simulated sets (controls of one galaxy share one); None until all their plans are made."""
    rows = {entry.card.slice: entry.card.rows for entry in cards.slices(project.data, "injection_manifest")}
    plans = [str(entry["plan"]) for entry in project.values.get("simulated", {}).get("sets", {}).values()]
    return sum(rows[plan] for plan in plans) if rows.keys() >= set(plans) else None


def _sources(project: Project) -> Finding:
    try:
        return Finding("sources", source_model(project.section(GridParams, "grid")).describe())
    except DarkHaloError as error:
        return Finding("sources", str(error), False)


def _banks(project: Project) -> Iterator[Finding]:
    """Banks of real galaxies that sets of simulated stamps are rendered with."""
    sets = project.values.get("simulated", {}).get("sets", {})
    for name, bank in ((name, entry["bank"]) for name, entry in sets.items()):
        if bank != simulated.NO_FILE:
            lacking = simulated.bank_missing(bank)
            yield Finding(f"stamps {name}", lacking or f"real galaxies of {bank}", lacking is None)
