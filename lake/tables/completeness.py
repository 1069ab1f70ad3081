"""Contract of ``completeness``."""

from lake.contract import columns
from lake.contract.spec import Column, Rule, TableSpec

ORIGINS = ("own", "foreign")
_UNDECLARED = " (null: no range is declared)"
_UNLESS = " (null: no range is declared, or threshold chosen beforehand, or empty cell)"


def _centre(name: str, meaning: str, unit: str) -> Column:
    return Column(name, "double", f"{meaning}, centre of the cell (null: over all)", unit, nullable=True)


SPEC = TableSpec(
    name="completeness",
    meaning="Completeness of one cell at one threshold in one source-magnitude bin; cell 'marginal' is over all cells",
    slice_by=("grid_id", "checkpoint_id", "generation"),
    columns=(
        columns.GRID_ID,
        columns.GRID_NAME,
        columns.CHECKPOINT_ID,
        columns.GENERATION,
        Column("origin", "string", "own: measured here; foreign: imported, see `imports`", allowed=ORIGINS),
        Column(
            "weighting_id",
            "string",
            "the prior: all injections count the same; <prior>+lens_hosts: hosts weighted to follow the lenses' hosts; "
            "never sum over weightings",
            role="key",
        ),
        Column("cell", "string", "cell of the grid, theta_E/PSF/depth indices, or 'marginal'", role="key"),
        Column("threshold_id", "string", "name of the threshold, a row of `thresholds`: p0.3, fpr1e-3@val", role="key"),
        Column("source_mag_bin", "string", "source r magnitude bin, or 'all'", role="key"),
        Column(
            "source_mag_family",
            "string",
            "magnitudes that the bin divides: unlensed, or as an import declares; never sum over families (null: all)",
            nullable=True,
        ),
        Column("prior", "string", "name of the prior (imports: or 'not recorded')"),
        Column("threshold", "double", "threshold on the probability", low=0, high=1),
        columns.share("fpr_reached", "fraction of test negatives above the threshold"),
        *columns.interval("fpr", "Clopper-Pearson 95 % interval of fpr_reached"),
        *columns.interval("fpr_unlisted", "fpr_reached over the declared numbers of unlisted lenses", _UNDECLARED),
        Column("theta_e_arcsec", "double", "Einstein radius (null: over all)", "arcsec", nullable=True, low=0),
        *(
            Column(f"{name}_{end}", "double", f"{what}, {edge} edge of the cell (null: over all)", unit, nullable=True)
            for name, what, unit in (
                ("psf_fwhm_nea_arcsec", "r-band psfsize", "arcsec"),
                ("depth_mag", "r-band 5-sigma depth", "mag"),
            )
            for end, edge in (("low", "lower"), ("high", "upper"))
        ),
        _centre("psf_centre_arcsec", "r-band psfsize; imports: PSF width of the kind in `imports`", "arcsec"),
        _centre("depth_centre_mag", "r-band 5-sigma depth", "mag"),
        Column("n", "bigint", "scored injections: the denominator", low=0),
        Column("detected", "bigint", "injections with a probability above the threshold", low=0),
        Column("failed", "bigint", "injections that could not be made or scored; in no denominator", low=0),
        Column("hosts", "bigint", "distinct hosts among the scored injections (null: not known)", nullable=True, low=0),
        Column(
            "n_eff",
            "double",
            "effective number of weighted injections (null: all count the same)",
            nullable=True,
            low=0,
        ),
        columns.share(
            "completeness", "detected / n, of weighted injections the sums of weights; null in an empty cell"
        ),
        *columns.interval("jeffreys_68", "jeffreys 68 % interval"),
        *columns.interval("jeffreys_95", "jeffreys 95 % interval"),
        *columns.interval("host_clustered_95", "host clustered 95 % interval"),
        *columns.interval(
            "joint_95",
            "95 % interval with the uncertainty of a derived threshold, host-clustered",
            " (null: threshold chosen beforehand, or empty cell)",
        ),
        *columns.interval(
            "field_clustered_95",
            "95 % interval for the sky: injections of one brick are one cluster, a derived threshold is uncertain",
            " (null: a cell, or fields not known)",
        ),
        *columns.interval(
            "unlisted", "completeness over the declared numbers of unlisted lenses among its negatives", _UNLESS
        ),
        *columns.interval("unlisted_bound", "joint 95 % bounds of the ends of `unlisted`; of marginals", _UNLESS),
        Column("mean_score", "double", "mean raw logit", nullable=True),
        Column("mean_arc_snr", "double", "mean arc SNR in r", nullable=True),
    ),
    extra_rules=(Rule("detected_within_n", "detected <= n", "'detected' must be at most 'n'"),),
)
