"""Contract of ``test_lenses``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec
from lake.sky.survey import SURVEY

_BAND = SURVEY.reference_band

SPEC = TableSpec(
    name="test_lenses",
    meaning="A listed lens of the untouched test split: one model's score of it, found or missed, and what list and "
    "catalogue say of it",
    slice_by=("checkpoint_id", "generation"),
    columns=(
        columns.CHECKPOINT_ID,
        columns.GENERATION,
        columns.GALAXY_ID,
        Column("name", "string", "name in the list, if any", nullable=True),
        Column("reference", "string", "publication of the candidate", nullable=True),
        Column("grading", "string", "grade as written in the list", nullable=True),
        Column("tier", "string", "A spectroscopy or HST, B visual grade only", nullable=True, allowed=columns.TIERS),
        Column("anchor", "string", "programme with spectroscopic lenses that it is from: SLACS, ...", nullable=True),
        *columns.POSITION,
        Column("z_lens", "double", "redshift of the lens galaxy", nullable=True, low=0),
        Column("theta_e_arcsec", "double", "Einstein radius in the list", "arcsec", nullable=True, low=0, high=60),
        Column("score", "double", "raw logit"),
        Column("probability", "double", "logistic of the raw logit; not calibrated", low=0, high=1),
        Column("threshold_id", "string", "threshold that decides whether it is missed", nullable=True),
        Column("missed", "boolean", "not above that threshold (null: it has no value)", nullable=True),
        columns.share("matched_rank", "rank of its score among injections like it (null: too few)"),
        Column("matched_injections", "double", "effective number of those", nullable=True, low=0),
        Column("type_bin", "string", "Tractor type", allowed=columns.TYPES),
        Column("nobs_z_bin", "string", "bin of nobs_z", allowed=columns.NOBS_BINS),
        Column(f"psfsize_{_BAND}", "double", f"seeing in {_BAND}, as psfsize", "arcsec", nullable=True, low=0),
        Column(f"depth_{_BAND}_mag", "double", f"5-sigma point-source depth in {_BAND}", "mag", nullable=True),
        Column(f"mag_{_BAND}", "double", f"AB magnitude in {_BAND}, as observed", "mag", nullable=True),
        Column("g_minus_r", "double", "colour, as observed", "mag", nullable=True),
        Column("r_minus_z", "double", "colour, as observed", "mag", nullable=True),
        Column("shape_r", "double", "half-light radius, major axis", "arcsec", nullable=True, low=0),
        Column("sersic", "double", "Sersic index", nullable=True, low=0),
    ),
)
