"""Augmentation: a function of (seed, index, epoch) alone."""

from __future__ import annotations

import numpy as np
import torch

from modeling.networks.augment import apply_symmetries, augment, sample_seeds, symmetry_codes
from modeling.sections import AugmentationParams

ALL = AugmentationParams(seed=42, hflip=True, vflip=True, rot90=True, core_dropout=0.0, core_radius_pixels=4.0)


def test_seed_is_the_reference_formula() -> None:
    index = np.array([0, 5, 99])
    expected = [(42 * 1000003 + i + 7 * 100) & 0x7FFFFFFF for i in index]
    assert sample_seeds(42, index, epoch=7, samples=100).tolist() == expected


def test_repetitions_take_their_own_stream() -> None:
    seeds = sample_seeds(42, np.array([3, 103, 203]), epoch=0, samples=100)
    assert len(set(seeds.tolist())) == 3


def test_same_stamp_same_change_in_any_batch() -> None:
    x = torch.randn(40, 3, 8, 8)
    seeds = sample_seeds(42, np.arange(40), epoch=3, samples=40)
    whole = augment(x, ALL, seeds)
    order = np.random.default_rng(0).permutation(40)
    assert torch.equal(augment(x[order], ALL, seeds[order]), whole[order])
    assert torch.equal(augment(x[7:8], ALL, seeds[7:8]), whole[7:8])


def test_epochs_differ() -> None:
    codes = [symmetry_codes(ALL, sample_seeds(42, np.arange(200), epoch, 200)) for epoch in range(2)]
    assert (codes[0] != codes[1]).mean() > 0.8


def test_all_symmetries_are_equally_likely() -> None:
    codes = symmetry_codes(ALL, sample_seeds(42, np.arange(80_000), 0, 80_000))
    counts = np.bincount(codes, minlength=8)
    assert np.abs(counts - 10_000).max() < 5 * np.sqrt(10_000)


def test_codes_are_flips_then_turns() -> None:
    x = torch.randn(1, 3, 6, 6)
    assert torch.equal(apply_symmetries(x, np.array([4])), x.flip(-1))
    assert torch.equal(apply_symmetries(x, np.array([6])), x.flip(-2))
    assert torch.equal(apply_symmetries(x, np.array([1])), torch.rot90(x, 1, (-2, -1)))


def test_switched_off_changes_nothing() -> None:
    still = ALL.model_copy(update={"hflip": False, "vflip": False, "rot90": False})
    x = torch.randn(16, 3, 8, 8)
    assert torch.equal(augment(x, still, sample_seeds(42, np.arange(16), 0, 16)), x)


def test_core_dropout_blanks_the_core_only() -> None:
    dropping = ALL.model_copy(update={"core_dropout": 1.0, "hflip": False, "vflip": False, "rot90": False})
    x = torch.ones(4, 3, 32, 32)
    out = augment(x, dropping, sample_seeds(42, np.arange(4), 0, 4))
    assert float(out[..., 16, 16].abs().max()) == 0
    assert float(out[..., 0, :].min()) == 1
