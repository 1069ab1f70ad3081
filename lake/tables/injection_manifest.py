"""Contract of ``injection_manifest``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

PLAN = Column("plan", "string", "name of the plan", role="key")
STAMP_ID = Column("stamp_id", "string", "stamp within its plan: galaxy, configuration, lens or control", role="key")
LABEL = Column("label", "int", "1 lens, 0 control: the bare galaxy", low=0, high=1)
CONFIGURATION = (
    Column("config_id", "int", "place of the configuration in the grid", low=0),
    Column("theta_e_arcsec", "double", "Einstein radius of the configuration", "arcsec", low=0),
    Column("src_dmag", "double", "source minus host magnitude in r, both as observed and unlensed", "mag"),
    Column("src_re_arcsec", "double", "half-light radius of the source, intermediate axis", "arcsec", low=0),
    Column("src_e", "double", "ellipticity of the source: q = (1 - e) / (1 + e)", low=0, high=1),
    Column("shear", "double", "modulus of the external shear", low=0, high=0.9),
)
"""What the grid of a plan fixes; controls have the configuration whose lens they are compared with."""

SPEC = TableSpec(
    name="injection_manifest",
    meaning="A planned simulated training stamp: its host and its configuration",
    engine="spark",
    slice_by=("plan",),
    columns=(
        PLAN,
        STAMP_ID,
        Column("galaxy_id", "string", "the host"),
        LABEL,
        *CONFIGURATION,
        *columns.POSITION,
        columns.SPLIT,
        Column("healpix_128", "bigint", "HEALPix pixel, nside 128, NESTED", low=0),
        Column("brickname", "string", "survey brick of the host"),
        Column("mag_r", "float", "magnitude of the host in r, as observed", "mag"),
        *columns.CONDITIONS,
    ),
)
