"""The published candidate list, matched to its Tractor sources."""

from __future__ import annotations

from pathlib import Path

from etl.catalogues import candidates
from etl.config import CandidatesParams
from etl.files.candidatelist import read_list
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: CandidatesParams) -> None:
    path = Path(context.survey.folder) / "candidates.csv"
    listed = read_list(path, context.survey.grades)
    matched = candidates.match(listed.rows, context.read("tractor_near_candidates"), params, context.survey.split)
    context.note_input("file:candidates", str(path))
    context.publish(matched, "lens_candidates", rejected=listed.rejected)
