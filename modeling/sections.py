"""The sections of a training run's parameters."""

from __future__ import annotations

import operator
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from lake.config import Address, Section, Seed

METADATA_COLUMNS = re.compile("(psfsize|psfdepth)_[A-Za-z0-9]+")
"""Columns that a network may take in addition to the pixels: observing conditions, which do not reveal the label."""

OF_TORCHVISION = {
    "efficientnet_v2_s": "efficientnet_v2_s",
    "resnet18": "resnet18",
    "resnet18_small": "resnet18",
    "convnext_tiny": "convnext_tiny",
}
"""Networks that may start from ImageNet weights, with torchvision's name for them."""


class PreprocessingParams(Section):
    """How pixels become network input; stored with every checkpoint and used whenever that checkpoint scores."""

    kind: Literal["raw_robust", "residual", "full"]
    """raw_robust: per band (x - median) / MAD over the annulus; residual: azimuthal median profile subtracted first;
    full: median and MAD over the whole stamp."""
    annulus: Literal["auto"] | tuple[float, float]
    """Radii [r_in, r_out) in pixels about the stamp centre, or auto: 65-90 % of the half-width."""
    clip_range: float = Field(gt=0)
    """Normalised pixels are clipped to +- this value."""
    crop_pixels: int = Field(ge=0)
    """Side of the central square given to the network, in pixels; 0 keeps the whole stamp."""
    stretch: Literal["linear", "asinh"]
    """Applied after the clip: asinh compresses the bright core, linear leaves it."""

    @field_validator("annulus")
    @classmethod
    def _ordered(cls, value: Any) -> Any:
        if value != "auto" and not 0 <= value[0] < value[1]:
            raise ValueError("must be auto or [r_in, r_out] with 0 <= r_in < r_out")
        return value


def observing_conditions(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Names of columns that a network or a meta-learner may take; ValueError for others, and for one named twice."""
    if not all(METADATA_COLUMNS.fullmatch(column) for column in columns):
        raise ValueError("must be psfsize_<band> and psfdepth_<band> alone, as others may reveal the label")
    if len(set(columns)) < len(columns):
        raise ValueError("must be different columns")
    return columns


Conditions = Annotated[tuple[str, ...], AfterValidator(observing_conditions)]
"""Names of columns that hold observing conditions."""


class NetworkParams(Section):
    """The network and its initial weights."""

    name: Literal[
        "pixelnet_small", "efficientnet_v2_s", "resnet18", "resnet18_small", "bottlenecked_resnet", "convnext_tiny"
    ]
    """Architecture; all return one logit."""
    pretrained: bool
    """Whether to start from ImageNet weights; without them the run stops."""
    width: int = Field(gt=0)
    """Channels of the first stage, for the networks of variable width (pixelnet_small, bottlenecked_resnet)."""
    dropout: float = Field(ge=0, lt=1)
    """Dropout probability before the last linear layer."""
    metadata_columns: Conditions
    """Observing conditions fused with the image features."""

    @field_validator("pretrained")
    @classmethod
    def _published(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("name") not in {None, *OF_TORCHVISION}:
            raise ValueError(f"must be false for {info.data['name']}, which has no ImageNet weights")
        return value


class AugmentationParams(Section):
    """Random changes of a training stamp, which depend only on (seed, sample index, epoch)."""

    seed: Seed
    """Data-set seed of the augmentation."""
    hflip: bool
    """Mirror left-right with probability 1/2."""
    vflip: bool
    """Mirror up-down with probability 1/2."""
    rot90: bool
    """Rotate by k x 90 degrees, k uniform in 0..3."""
    core_dropout: float = Field(ge=0, le=1)
    """Probability that the core is set to zero."""
    core_dropout_ramp_epochs: float = Field(ge=0)
    """Epochs over which that probability grows linearly from zero (scheduled core masking); 0: it is constant."""
    azimuthal_shuffle: float = Field(ge=0, le=1)
    """Probability that the pixels of the core are permuted within rings one pixel wide, alike in all bands: the radial
    profile stays, what is not round goes."""
    core_radius_pixels: float = Field(gt=0)
    """Radius of that core (pixels)."""


class OptimiserParams(Section):
    """AdamW."""

    lr: float = Field(gt=0)
    """Peak learning rate."""
    weight_decay: float = Field(ge=0)
    """Decoupled weight decay."""
    betas: tuple[float, float]
    """Decay rates of the two moments."""
    ema_decay: float = Field(ge=0, lt=1)
    """Decay per step of the running mean of the weights, which is evaluated and kept; 0 for no mean."""


class ScheduleParams(Section):
    """The learning rate as a pure function of the step."""

    kind: Literal["constant", "step", "cosine"]
    """constant; step: multiplied by gamma every step_epochs; cosine: down to zero over cosine_epochs."""
    unit: Literal["epoch", "step"]
    """Whether the rate changes between epochs only or at every optimiser step."""
    warmup_epochs: float = Field(ge=0)
    """Epochs of linear warm-up; 0 for none."""
    warmup_start: float = Field(gt=0, le=1)
    """Fraction of the peak rate at which the warm-up starts."""
    step_epochs: int = Field(gt=0)
    """Epochs between drops (kind step)."""
    gamma: float = Field(gt=0, le=1)
    """Factor of a drop (kind step)."""
    cosine_epochs: float = Field(gt=0)
    """Epochs of the half cosine, counted from the start of the run (kind cosine)."""


class LossParams(Section):
    """Binary cross-entropy on logits and its variants."""

    kind: Literal["bce", "weighted", "focal"]
    """bce: unweighted mean; weighted: rows are weighted by tier; focal: alpha, gamma."""
    tier_a_weight: float = Field(gt=0)
    """Weight of a Tier A lens (kind weighted)."""
    tier_b_weight: float = Field(gt=0)
    """Weight of a Tier B lens (kind weighted)."""
    negative_weight: float = Field(gt=0)
    """Weight of a negative (kind weighted)."""
    hard_negative_weight: float = Field(gt=0)
    """Factor by which the weight of a hard negative (``hard_negative`` of the manifest) is larger, in every kind."""
    focal_alpha: float = Field(ge=0, le=1)
    """Weight of the positive class (kind focal)."""
    focal_gamma: float = Field(ge=0)
    """Exponent of the modulating factor (kind focal)."""
    label_smoothing: float = Field(ge=0, lt=0.5)
    """Label smoothing s: labels become s and 1 - s."""


class LoopParams(Section):
    """Length of the run and sizes of its batches."""

    epochs: int = Field(ge=1)
    """Epochs of the run."""
    patience: int = Field(ge=0)
    """Stop after this many epochs without a better selection metric; 0 never stops early."""
    batch: int = Field(ge=1)
    """Stamps per optimiser step (effective batch)."""
    micro_batch: int = Field(ge=1)
    """Stamps per forward pass; gradients accumulate up to the effective batch."""
    positive_fraction: float = Field(ge=0, lt=1)
    """Share of lenses in every epoch, reached by repeating them; 0 uses every row once."""
    frozen_epochs: int = Field(ge=0)
    """Epochs at the start in which only the head is trained."""
    selection: Literal["auc", "tpr@fpr"]
    """Validation metric that decides which epoch is kept."""
    selection_fpr: float = Field(gt=0, lt=1)
    """False-positive rate of the tpr@fpr metric."""
    save_every_steps: int = Field(ge=0)
    """Optimiser steps between saves of the state within an epoch; 0 saves only at the end of epochs."""
    keep_every_epochs: int = Field(ge=0)
    """Keep the state of every n-th epoch in addition to best and last; 0 keeps none."""
    keep_best_epochs: int = Field(default=0, ge=0, exclude_if=operator.not_)
    """Of these, keep only the epochs that are among the n with the best selection metric so far; 0 keeps them all."""

    @field_validator("micro_batch")
    @classmethod
    def _divides(cls, value: int, others: ValidationInfo) -> int:
        batch = others.data.get("batch")
        if batch is not None and batch % value:
            raise ValueError(f"must be a divisor of batch ({batch})")
        return value


class ExecutionParams(Section):
    """Device and arithmetic; not part of the identity of a run."""

    device: Literal["auto", "cpu", "cuda"]
    """auto uses a GPU if there is one."""
    threads: int = Field(ge=1)
    """CPU threads of the run; bitwise reproducibility depends on it."""
    dtype: Literal["auto", "fp32", "bf16"]
    """Arithmetic of the network; auto decides by a short timing, and the run keeps the choice."""
    channels_last: bool
    """Memory layout of activations; on a CPU the best choice depends on the network."""
    compile: bool = Field(default=False, exclude_if=operator.not_)
    """Whether the network is compiled for training, by torch: faster steps after minutes of compiling, once per
    machine. Scoring never is. If compiling fails, the log says so and training continues without it."""
    arrays: Literal["fp16", "fp32"]
    """Type in which the normalised stamps are held in memory."""
    copies_uri: Address | None
    """Object-store prefix (s3://bucket/prefix) to which every saved state is copied, for another machine to go on
    from; null for none."""


class ReferenceParams(Section):
    """What the reference system reported for a historical generation."""

    status: str
    """Outcome of the run."""
    best_val_auc: float | None
    """Best validation AUC reported; null if there is none."""
    best_epoch: int | None
    """Epoch (from 1) of that AUC."""
    note: str
    """What records disagree on, or what the overlay cannot express."""
