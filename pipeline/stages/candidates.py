"""The published candidate list, matched to its Tractor sources."""

from __future__ import annotations

from etl.catalogues import candidates
from etl.config import CandidatesParams
from etl.files.candidatelist import read_list
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: CandidatesParams) -> None:
    survey = context.survey
    place = f"{survey.folder}/{survey.candidate_list.file}"
    listed = read_list(place, survey.grades, survey.candidate_list)
    matched = candidates.match(listed.rows, context.read("tractor_near_candidates"), params, survey.split)
    context.note_input("file:candidates", place)
    context.publish(matched, "lens_candidates", rejected=listed.rejected)
