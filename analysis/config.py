"""Parameters of the stages evaluate, completeness, diagnose and report."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, field_validator

from lake.config import LensShares, Section


class EvaluateParams(Section):
    """How a model's scores on the test split are measured."""

    bootstrap_replicates: int = Field(ge=1)
    """Stratified resamples behind the intervals of TPR at FPR and partial AUC."""
    fpr_points: tuple[float, ...]
    """False-positive rates at which the true-positive rate is read, and whose thresholds (`fpr1e-3@val`) are fixed on
    the validation negatives kept for them; a rate with fewer than ten negatives expected above it is not measurable."""
    partial_auc_fprs: tuple[float, ...]
    """Upper false-positive rates of the partial AUC."""
    tpr_point: float = Field(gt=0, le=1)
    """True-positive rate at which the false-positive rate is read."""
    probability_thresholds: tuple[float, ...]
    """Fixed thresholds on the probability (`p0.5`)."""
    selective_fpr_max: float = Field(gt=0, lt=1)
    """A fixed threshold exceeded by more than this fraction of the test negatives is not selective: the report then
    shows the rate instead of a completeness."""
    unlisted_lenses_per_negative: LensShares | None
    """Fewest and most unlisted lenses per negative; figures at false-positive rates are given over this range.
    Null: not declared. DR10: an estimate of 10 to 50 lenses among the 447,000 negatives that the reference system drew.
    Demo: its truth, 33 lenses with visible arcs and 27 with faint ones among 3,982 negatives."""
    sky_lens_share: float | None = Field(gt=0, lt=1)
    """Fraction of galaxies on the sky that are lenses, to which calibrated probabilities are converted (the view
    `calibrated_scores`). Null: not declared, and they hold at the fraction of their fold alone. Demo: its truth."""
    calibration_bins: int = Field(ge=2)
    """Equal-width bins of ECE, MCE and the reliability curve."""
    positive_region_above: float = Field(ge=0, lt=1)
    """Calibration is measured a second time on objects above this probability."""
    saturated_below: float = Field(ge=0, le=1)
    """Probabilities below count as saturated."""
    saturated_above: float = Field(ge=0, le=1)
    """Probabilities above count as saturated."""
    condition_bins: int = Field(ge=2)
    """Equal-number bins of seeing and of depth, as strata."""
    min_stratum_positives: int = Field(ge=1)
    """Strata with fewer positives get counts but no AUC."""


class CompletenessParams(Section):
    """How injection outcomes become completeness."""

    source_mag_edges: tuple[float, ...] = Field(min_length=2)
    """Edges of the source-magnitude bins (reference band, AB mag, unlensed, as observed)."""
    host_covariates: tuple[str, ...] = Field(min_length=1)
    """Catalogue properties in which weighted hosts follow the lenses' hosts, see `analysis.fitted.propensity`."""

    @field_validator("source_mag_edges")
    @classmethod
    def _rising(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if any(high <= low for low, high in pairwise(edges)):
            raise ValueError("must be strictly increasing")
        return edges


class DiagnosticParams(Section):
    """Parameters of more than one diagnostic; those of a single one are in its module, see ``analysis.diagnostics``."""

    sample_per_class: int = Field(ge=2)
    """Stamps drawn per label for the diagnostics that read pixels."""
    ks_material_p: float = Field(gt=0, lt=1)
    """p-value below which two distributions (KS), or paired annuli (Wilcoxon), differ materially."""
    comparison_annuli_pixels: tuple[tuple[float, float], tuple[float, float]]
    """The two normalisation annuli (inner, outer radius) that the annulus comparison measures."""
    core_radius_pixels: float = Field(gt=0)
    """Radius of the core in the shortcut checks."""
    profile_rings: int = Field(ge=2)
    """Rings of the radial profile."""
    aperture_radius_pixels: float = Field(gt=0)
    """Radius of the aperture whose flux is compared with the catalogue."""
    anchor_lenses: dict[str, str]
    """Programmes with spectroscopic lenses, each with a pattern for the name or reference of its entries in a list."""
    paired_threshold: float = Field(gt=0, lt=1)
    """Probability above which a trial counts as found where variants are compared; declared before any result."""


class ReportParams(Section):
    """What the report shows."""

    title: str
    """Heading of the page."""
    contact_sheet_rows: int = Field(ge=1)
    """Hosts shown next to their injections."""
    calibration_bins: int = Field(ge=2)
    """Equal-width bins of the reliability curves."""
    candidates_shown: int = Field(ge=0)
    """Unlisted objects in the candidate table."""
    headline_generation: str | None
    """Model whose candidates and galleries are shown; null: the first of `audited` when the parameters are resolved."""
    headline_threshold_id: str
    """Threshold of the headline completeness, e.g. `fpr1e-3@val`; it must be measurable with the sample."""
    population: str | None
    """Lenses on the sky whose yield is shown: a name or a file, as for `dhs population`; null: none."""
    population_min_support: float = Field(gt=0, le=1)
    """Share of the population that injections must cover. Lenses outside count as missed in the low and the central
    number of lenses found, and as found in the high one."""
