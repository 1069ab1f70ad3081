"""Parameters of the Spark stages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lake.config import Name, Section
from lake.contract.columns import TYPES

PoolType = Literal["SER", "DEV", "REX", "EXP", "PSF"]


Absence = Literal["mask", "exposures", "w1", "objid", "brickname"]


class CatalogueParams(Section):
    """How a catalogue other than a sweep differs from one."""

    columns: dict[str, str]
    """What its columns are called: our name (that of the sweeps, in lower case) to the catalogue's. The others have the
    sweeps' names."""
    absent: tuple[Absence, ...]
    """What it does not have: ``mask`` (maskbits), ``exposures`` (nobs of all bands), ``w1`` (flux_w1), which are then
    null, with no cut on them; ``objid``, which is made from the position; ``brickname``, which follows from it."""


class PoolParams(Section):
    """The cuts of ``tractor_pool``, and how much of the sweeps is read."""

    types: tuple[PoolType, ...]
    """Tractor types that are kept."""
    min_nobs: int = Field(ge=0)
    """Fewest exposures in each of g, r, z."""
    mag_z_max: float
    """Sources must be brighter than this in z (AB mag, as observed)."""
    dec_min_deg: float = Field(ge=-90, le=90)
    """Southern end of the footprint, exclusive."""
    dec_max_deg: float = Field(ge=-90, le=90)
    """Northern end of the footprint, exclusive."""
    maskbits: tuple[int, ...]
    """Mask bits that must not be set."""
    exclusion_radius_arcsec: float = Field(gt=0)
    """Sources within this distance of a listed lens candidate are excluded from the pool."""
    near_radius_arcsec: float = Field(gt=0)
    """Sources within this distance of a listed lens candidate go to ``tractor_near_candidates``."""
    catalogue: CatalogueParams
    """How the files in ``sweeps/`` differ from sweeps."""
    limit_files: int | None = Field(ge=1)
    """Read only this many sweep files (in order of name), or null for all."""
    limit_rows: int | None = Field(ge=1)
    """Read only this many rows, taking the files in order, or null for all."""


class CandidatesParams(Section):
    """How listed lens candidates are matched to Tractor sources."""

    match_radius_arcsec: float = Field(gt=0)
    """Largest distance between a candidate and its source."""
    unmatchable_types: tuple[Literal[TYPES], ...]  # type: ignore[valid-type]
    """Tractor types that are not measured sources and cannot be a match."""
    same_position_arcsec: float = Field(ge=0)
    """Graded positions within this distance of each other are one candidate; its best grade counts."""


class ConfuserParams(Section):
    """Catalogue proxies of galaxies that are mistaken for lenses; the first that a source meets names it."""

    ring_sersic_min: float
    """Ring proxy: type DEV, or SER with a Sersic index above this ..."""
    ring_flux_r_min_nmgy: float
    """... and brighter than this in r."""
    edge_on_ellipticity_min: float
    """Edge-on proxy: ellipticity above this ..."""
    edge_on_radius_min_arcsec: float
    """... and a half-light radius of at least this."""
    clumpy_g_minus_r_max: float
    """Blue clumpy proxy: g - r below this (mag) ..."""
    clumpy_mag_r_max: float
    """... and r brighter than this."""
    large_radius_min_arcsec: float
    """Large galaxy: half-light radius above this ..."""
    large_flux_r_min_nmgy: float
    """... and brighter than this in r."""


class NegativesParams(Section):
    """How negatives are sampled from the pool."""

    per_positive: int = Field(ge=1)
    """Negatives per matched candidate, in each stratum."""
    types: tuple[PoolType, ...]
    """Types that make strata."""
    nobs_z_bins: tuple[Literal["3-5", "6-10", "11+", "unknown"], ...]
    """Bins of nobs_z that make strata; ``unknown`` is that of a catalogue without exposures."""
    confuser_fraction: float = Field(ge=0, le=1)
    """Share of a stratum's negatives that are confusers (pool N2); the others are random (N1)."""
    confusers: ConfuserParams
    """The criteria of a confuser."""


class StampGates(Section):
    """Which stamps have enough data."""

    max_nan_fraction: float = Field(ge=0, le=1)
    """Stamps with a larger fraction of non-finite pixels are rejected."""
    core_radius_px: float = Field(gt=0)
    """No pixel within this distance of the centre may be non-finite."""


class WebParams(Section):
    """How the survey's servers are asked: they are shared with everybody."""

    requests_per_second: float = Field(gt=0, le=100)
    """Most requests that begin in a second."""
    connections: int = Field(ge=1, le=32)
    """Most requests at a time."""
    attempts: int = Field(ge=1)
    """How often a request is made until it counts as failed."""
    backoff_s: float = Field(ge=0)
    """Longest pause before the second attempt; it doubles for each further one."""
    timeout_s: float = Field(gt=0)
    """Seconds after which a server that sends nothing, or a cut-out that is not complete, counts as failed."""
    contact: str = Field(pattern=r"^[\x20-\x7e]*$")
    """Whom the servers' operators can write to, sent with each request: an address, or '' for none."""


class DownloadParams(Section):
    """The data release that `dhs download` fetches files of."""

    url: str = Field(pattern="^https?://.*[^/]$")
    """Address of the release; the other addresses are below it."""
    bricks: str
    """Table of the release's bricks, plain or .gz."""
    sweeps: str
    """Folder of the sweeps."""
    sweep_checksums: str
    """Published checksums of the sweeps; it also says which sweeps there are."""
    coadds: str
    """Folder of the coadds."""
    coadd_checksums: str
    """Published checksums of the coadds in one folder, whose name (the first three digits of the bricks) is {group}."""
    kinds: tuple[Literal["image", "invvar", "maskbits", "psfsize"], ...] = Field(min_length=1)
    """Coadds that are fetched of each brick."""
    confirm_above_gb: float = Field(ge=0)
    """Larger downloads are begun only after a question, or with --yes."""
    web: WebParams
    """How the servers are asked."""


class ServiceParams(Section):
    """The survey's cut-out service."""

    url: str = Field(pattern="^https?://")
    """Address that answers ?ra=&dec=&size=&layer=&pixscale=&bands= with a FITS cube."""
    layer: str
    """Name of the survey's images there."""
    web: WebParams
    """How it is asked."""


class CutoutsParams(StampGates):
    """Where cut-outs are taken from, and which are good enough."""

    source: Literal["coadds", "service", "coadds, then service"]
    """Brick coadds in ``survey.folder``, the survey's cut-out service, or the service for sources whose brick is not
    there."""
    service: ServiceParams
    """The cut-out service."""
    stamp_pixels: int = Field(ge=3)
    """Width and height of a stamp (pixels); odd, with a pixel at its centre."""
    coadd_pixels: int = Field(ge=3)
    """Width and height of a brick's coadd (the survey's: 3600)."""
    buckets: int = Field(ge=1)
    """Number of stamp shards."""
    maskbits: tuple[int, ...]
    """Mask bits that count as masked in ``masked_fraction``."""
    annulus_px: tuple[float, float]
    """Inner and outer radius of the annulus in the QA metrics."""
    outer_px: tuple[float, float]
    """Inner and outer radius of the outer ring in the QA metrics."""


class ManifestSpec(Section):
    """One named manifest."""

    merge_test_into_val: bool
    """Whether the test pixels count as validation (70/30 manifests)."""
    leave_out: Name | None = None
    """List in data/judged (without .csv) of negatives that are left out, unless judged to be negatives."""
    hard_negatives: Name | None = None
    """List in data/judged (without .csv) whose galaxies, where they are training negatives, are marked as hard."""


class ManifestParams(Section):
    """Which manifests are made, and what they must meet."""

    manifests: dict[Name, ManifestSpec]
    """The manifests, by name."""
    minimum_coverage: float = Field(ge=0, le=1)
    """Smallest fraction of the requested cut-outs that must be good, separately for positives and negatives."""
    proportion_tolerance: float = Field(gt=0)
    """Allowed difference of a split's share of rows from its share of the sky; 3 standard errors, if that is more."""
    ks_p_min: float = Field(ge=0, le=1)
    """Smallest p-value of the tests that seeing and depth have the same distribution in the splits."""
