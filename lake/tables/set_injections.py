"""Contract of ``set_injections``."""

from __future__ import annotations

import re
from dataclasses import replace

from lake.contract.spec import Column, TableSpec
from lake.sky.survey import BANDS, SURVEY
from lake.tables import injections

_BAND = SURVEY.reference_band
OF_REFERENCE = {
    "host_psf_fwhm_nea_{}_arcsec": "host_psf_fwhm_nea_arcsec",
    "host_depth_{}_mag": "host_depth_mag",
    "src_mag_{}": "src_mag",
    "arc_flux_{}_nmgy": "arc_flux_nmgy",
    "arc_peak_{}_nmgy_arcsec2": "arc_peak_nmgy_arcsec2",
}
"""Columns of ``injections`` that name a band, and those of the reference band here."""
_NAMED = {name.format(_BAND): own for name, own in OF_REFERENCE.items()}
_OTHERS = {name.format(band) for name in OF_REFERENCE for band in BANDS}
_OTHERS |= {*SURVEY.source_columns, *injections.HOST_FACTS}


def _own(column: Column) -> Column:
    """A column of ``injections`` without the survey's band."""
    meaning = re.sub(
        rf"\b{_BAND}\b", "reference-band", re.sub(rf"\bin {_BAND}\b", "in the reference band", column.meaning)
    )
    meaning = meaning.replace(f"unlensed {_BAND} ", "unlensed reference-band ")
    return replace(column, name=_NAMED.get(column.name, column.name), meaning=meaning)


_KEPT = tuple(
    _own(column)
    for column in injections.SPEC.columns
    if column.role != "lineage" and (column.name in _NAMED or column.name not in _OTHERS)
)

SPEC = TableSpec(
    name="set_injections",
    meaning="An injection into a host of a set of labelled cut-outs (`dhs audit --cutouts`), in any bands",
    slice_by=("grid_id", "generation"),
    columns=(
        Column("generation", "string", "the audit: name of the finder and of the set, joined by '-'", role="key"),
        *_KEPT,
        Column("reference_band", "string", "band of the magnitude, widths, depth, fluxes and signal to noise"),
        Column(
            "by_band",
            "string",
            "JSON: colours by their name, and by band host_psf_fwhm_nea_arcsec, arc_flux_nmgy, arc_peak_nmgy_arcsec2",
        ),
    ),
)
