"""Validation of injections with one finder: inject, score, compare with real arcs and other codes, and say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit

from analysis.comparisons.validation import BARE, INJECTIONS, LENSES, REFERENCE, Evidence, judge, once_per_host, scored
from analysis.config import EvaluateParams
from analysis.figures.stamps import Line, cropped
from analysis.figures.style import Picture
from analysis.figures.validation import validation_sheet
from analysis.records import Measure, Outcome, plain
from analysis.reporting.declarations import gate_of
from injection.config import GridParams
from injection.engine.accuracy import flux_errors, lenstronomy_differences
from injection.engine.tracing import Images
from injection.experiment.arc_finder import FOUND_SNR, FoundArcs, find_arcs
from injection.experiment.grid import Plan, one_cell, plan
from injection.experiment.setting import Drawn, Setting
from injection.experiment.stream import batches, run_batch
from injection.priors.registry import draw
from lake.errors import DataError, invalid
from lake.files import atomic
from lake.progress import track
from lake.scorer import Scorer
from lake.sky.hashing import key_hash
from lake.sky.survey import SURVEY as IMAGING
from lake.store import delta
from lake.store.stamps import PLACE, StampStore
from modeling.scoring.scorer import load_scorer
from pipeline.experiment.choosing import SURVEY, imported_cutouts
from pipeline.project.project import Project

NO_LENSES = "none"
_CHUNK = 128
_ACCURACY_DRAWS, _LENSTRONOMY_DRAWS = 100, 10
_SHOWN, _FIELD_ARCSEC = 8, 16.0


@dataclass(frozen=True)
class Validated:
    """What a validation says."""

    facts: dict[str, Any]
    """Scorer, prior, hosts, parameters"""
    outcome: Outcome
    picture: Picture


def validate_injections(
    project: Project, setting: Setting, generation: str | None, count: int, radius_arcsec: float, lenses: str
) -> Validated:
    """Validate ``count`` injections, spread over the grid's Einstein radii, with one finder (None: the first audited).

    ``radius_arcsec`` is the core suppression of the comparison, ``lenses`` the real arcs: see :func:`real_arcs`.
    """
    name, scorer = _finder(project, generation)
    real = real_arcs(project, lenses, count, setting.seed)
    bare, suppressed = (_plan(setting, count, radius) for radius in (None, radius_arcsec))
    rows = _run(bare, scorer, "inject and score")
    without_core = _run(suppressed, scorer, "the same with core suppression")
    plain, used = bare.setting, scored(rows)
    arcs = _arcs(used, plain)
    if real is not None:
        arcs[LENSES] = find_arcs(real, plain.grid.sky_annulus_px, IMAGING)
    evidence = Evidence(rows, without_core, arcs, setting.hosts.imaging, *_accuracy(used, plain))
    outcome = judge(evidence, project.section(EvaluateParams, "evaluate").probability_thresholds)
    facts = {
        "generation": name,
        "prior": plain.prior.name,
        "sources": plain.sources.describe(),
        "hosts": plain.hosts.name,
        "injections": bare.rows.num_rows,
        "seed": plain.seed,
        "checkpoint_id": scorer.checkpoint_id,
        "core_suppression_radius_arcsec": radius_arcsec,
        "grid": plain.grid.model_dump(mode="json"),
    }
    what = f"{bare.rows.num_rows} injections of prior {plain.prior.name}, {plain.sources.describe()}"
    title = f"{name}: {what}\ninto {plain.hosts.name}"
    picture = validation_sheet(evidence, outcome, _gallery(used, plain, real), title)
    return Validated(facts, outcome, picture)


def real_arcs(project: Project, source: str, count: int, seed: int) -> Images | None:
    """Cut-outs of real lenses: the survey's listed lenses, a folder or file of cut-outs; None for ``none``."""
    if source == NO_LENSES:
        return None
    if source != SURVEY:
        return imported_cutouts(project, Path(source)).stamps
    root, manifest = project.data, project.survey.audit_manifest
    rows = delta.read(root, "manifest", ["galaxy_id", *PLACE, "label"], slices=[manifest])
    listed = rows.filter(pc.equal(rows["label"], 1)).combine_chunks()
    if not listed.num_rows:
        raise DataError(f"manifest {manifest} lists no lens; give cut-outs of some, or '{NO_LENSES}'")
    chosen = listed.take(pa.array(np.argsort(key_hash(seed, listed["galaxy_id"]), kind="stable")[:count]))
    return StampStore(root.cutouts).get(chosen)


def _finder(project: Project, generation: str | None) -> tuple[str, Any]:
    """The finder asked for, or the first audited, and its name."""
    audited = project.audited
    name = generation or (audited[0] if audited else None)
    there = project.data.finders()
    if name not in there:
        raise invalid("generation", f"one that is trained or audited here ({', '.join(there) or 'none is yet'})", name)
    return name, load_scorer(project.data.checkpoints(name))


def _plan(setting: Setting, count: int, radius_arcsec: float | None) -> Plan:
    per_radius = -(-count // len(setting.grid.theta_e_arcsec))
    values = one_cell(setting.grid, setting.hosts, per_radius).model_dump(mode="json")
    grid = GridParams.load({**values, "core_suppression_radius_arcsec": radius_arcsec}, "grid")
    return plan(replace(setting, grid=grid))


def _run(planned: Plan, scorer: Scorer, words: str) -> pa.Table:
    parts = [run_batch(planned, rows, scorer) for rows in track(batches(planned), words)]
    return pa.concat_tables(parts).combine_chunks()


def _arcs(rows: pa.Table, setting: Setting) -> dict[str, FoundArcs]:
    """Arcs found on the stamps of injections, drawn again, and on the bare hosts, each once.

    Only injections whose true SNR could be found: fainter ones would give the structure of their hosts.
    """
    how = setting.grid.sky_annulus_px, setting.hosts.imaging
    bright = rows.filter(pc.greater_equal(rows["arc_snr"], FOUND_SNR)).combine_chunks()
    once = once_per_host(rows)
    found = [find_arcs(drawn.images, *how) for drawn in _drawn(bright, setting, "look for arcs")]
    bare = [find_arcs(drawn.bare, *how) for drawn in _drawn(rows.take(pa.array(once)), setting, "on bare hosts")]
    return {
        name: FoundArcs(*(np.concatenate([getattr(part, value) for part in parts]) for value in ("snr", "colour")))
        for name, parts in ((INJECTIONS, found), (BARE, bare))
        if parts
    }


def _drawn(rows: pa.Table, setting: Setting, words: str) -> Iterator[Drawn]:
    for start in track(range(0, rows.num_rows, _CHUNK), words):
        yield setting.again(rows.slice(start, _CHUNK))


def _accuracy(rows: pa.Table, setting: Setting) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Errors of the lensed flux of some injections, and differences from lenstronomy of draws of the prior."""
    imaging = setting.hosts.imaging
    how = setting.hosts.stamp_pixels, setting.grid.quadrature, imaging.pixel_scale_arcsec
    step = max(rows.num_rows // _ACCURACY_DRAWS, 1)
    chosen = rows.take(pa.array(range(0, rows.num_rows, step)[:_ACCURACY_DRAWS]))
    parts = [
        flux_errors(chosen.slice(start, 10), *how, setting.sources)
        for start in track(range(0, chosen.num_rows, 10), "integrate to convergence")
    ]
    ids = pa.array([f"lenstronomy-{k}" for k in range(_LENSTRONOMY_DRAWS)])
    profiles = draw(setting.prior, ids, setting.seed, imaging)
    others = [
        lenstronomy_differences(profiles.slice(row, 1), *how)
        for row in track(range(_LENSTRONOMY_DRAWS), "compare with lenstronomy")
    ]
    return np.concatenate(parts), np.concatenate(others)


def _gallery(rows: pa.Table, setting: Setting, real: Images | None) -> list[Line]:
    """Injections with the highest, the middle and the lowest scores, and real lenses."""
    imaging = setting.hosts.imaging
    order = np.argsort(-rows["score"].to_numpy(), kind="stable")
    middle = max((len(order) - _SHOWN) // 2, 0)
    places = {"highest scores": order[:_SHOWN], "middle": order[middle : middle + _SHOWN], "lowest": order[-_SHOWN:]}
    lines: list[Line] = []
    for heading, index in places.items():
        chosen = rows.take(pa.array(index))
        labels = [
            f"p {expit(row['score']):.3f}  {imaging.reference_band} {row[imaging.source_columns[0]]:.1f}\n"
            f'$\\theta_E$ {row["lens_theta_e_arcsec"]:.2f}"  SNR {row["arc_snr"] or np.nan:.0f}'
            for row in chosen.to_pylist()
        ]
        lines.append(
            (heading, cropped(setting.again(chosen).images, _FIELD_ARCSEC, imaging.pixel_scale_arcsec), labels)
        )
    if real is not None:
        some = real[:_SHOWN]
        lines.append((LENSES, cropped(some, _FIELD_ARCSEC, IMAGING.pixel_scale_arcsec), [""] * len(some)))
    return lines


def write(validated: Validated, folder: Path) -> None:
    """Leave ``validation.json`` and ``validation.png`` in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    outcome = validated.outcome
    numbers = {
        **validated.facts,
        "measures": [plain(asdict(measure)) for measure in outcome.measures],
        "gates": [plain(asdict(gate)) for gate in outcome.gates],
    }
    atomic.write_text(folder / "validation.json", json.dumps(numbers, indent=1) + "\n")
    atomic.write_bytes(folder / "validation.png", validated.picture.content)


def table(validated: Validated) -> str:
    """Measures and gates as text."""
    facts, outcome = validated.facts, validated.outcome
    lines = [f"{facts['generation']}: {facts['injections']} injections of prior {facts['prior']}, {facts['sources']}"]
    lines += [f"hosts: {facts['hosts']}; seed {facts['seed']}", ""]
    lines.append(f"{'measured':42s} {'value':>9s}  {'95 % interval':17s} {'n':>5s}  reference")
    for measure in outcome.measures:
        low, high = _number(measure, measure.low), _number(measure, measure.high)
        interval = "" if np.isnan(measure.low) else f"{low} - {high}"
        reference = REFERENCE.get(measure.name, "")
        words = f"{measure.name:42s} {_number(measure, measure.value):>9s}  {interval:17s} {measure.n:5d}  {reference}"
        lines.append(words.rstrip())
    lines.append("")
    for gate in outcome.gates:
        lines.append(f"{gate.status:12s} {gate.name}: {gate.value:.3g}; {gate.rule}")
        if gate.status in ("FAIL", "WARN") and (asked := gate_of(gate.name)) is not None:
            lines.append(f"{'':12s} -> {asked.consequence}")
    return "\n".join(lines)


def _number(measure: Measure, value: float) -> str:
    return f"{value:.1%}" if measure.unit == "share" else f"{value:.3g}"
