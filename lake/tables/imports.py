"""Contract of ``imports``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

SELECTIONS = (">", ">=", "not recorded")
WIDTHS = ("fwhm_nea", "fwhm", "not recorded")

SPEC = TableSpec(
    name="imports",
    meaning="A selection function measured elsewhere, as `dhs import` read it: its files and what they declare",
    slice_by=("import_name",),
    columns=(
        columns.IMPORT_NAME,
        Column("kind", "string", "counts per cell, or one row per simulated lens", allowed=("cells", "objects")),
        Column("file_name", "string", "name of the file"),
        Column("file_sha256", "string", "hash of its content"),
        Column("prior", "string", "prior of the injections, or 'not recorded'"),
        Column("prior_content", "string", "its distributions as JSON (null: not recorded)", nullable=True),
        Column("selection", "string", "a score equal to the threshold is found (>=) or not (>)", allowed=SELECTIONS),
        Column("psf_width", "string", "kind of the widths in psf_centre_arcsec", allowed=WIDTHS),
        Column("source_mag_families", "string", "prefixes of magnitude bins and what each bins, as JSON"),
        Column("rows_read", "bigint", "rows in the file", low=0),
        Column("rows_rejected", "bigint", "rows in `quarantine`, with their reasons", low=0),
        Column("disagreements", "bigint", "rows in `import_disagreements`", low=0),
        Column("meta", "string", "the file of declarations as JSON"),
    ),
)
