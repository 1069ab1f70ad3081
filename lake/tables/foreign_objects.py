"""Contract of ``foreign_objects``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="foreign_objects",
    meaning="A simulated lens of another team, found or missed by their finder, as `dhs import objects` read it",
    slice_by=("import_name",),
    columns=(
        columns.IMPORT_NAME,
        Column("object_id", "string", "the simulated lens, as its authors name it", role="key"),
        Column("found", "boolean", "whether the finder found it"),
        columns.share("score", "the finder's probability (null: not given)"),
        Column("theta_e_arcsec", "double", "Einstein radius (null: not given)", "arcsec", nullable=True, low=0),
        Column("src_mag", "double", "source magnitude, of the family declared (null: not given)", "mag", nullable=True),
    ),
)
