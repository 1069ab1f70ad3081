"""Augmentation: a function of (seed, index, epoch) alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modeling.config import resolve_generation
from modeling.networks.augment import apply_symmetries, augment, sample_seeds, symmetry_codes

ALL = resolve_generation("gen1", {"augmentation.core_radius_pixels": 4.0}).augmentation
STILL = ALL.model_copy(update={"hflip": False, "vflip": False, "rot90": False})


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
    whole = augment(x, ALL, seeds, 3)
    order = np.random.default_rng(0).permutation(40)
    assert torch.equal(augment(x[order], ALL, seeds[order], 3), whole[order])
    assert torch.equal(augment(x[7:8], ALL, seeds[7:8], 3), whole[7:8])


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
    x = torch.randn(16, 3, 8, 8)
    assert torch.equal(augment(x, STILL, sample_seeds(42, np.arange(16), 0, 16), 0), x)


def test_core_dropout_blanks_the_core_only() -> None:
    dropping = STILL.model_copy(update={"core_dropout": 1.0})
    x = torch.ones(4, 3, 32, 32)
    out = augment(x, dropping, sample_seeds(42, np.arange(4), 0, 4), 0)
    assert float(out[..., 16, 16].abs().max()) == 0
    assert float(out[..., 0, :].min()) == 1


def test_core_masking_follows_its_schedule() -> None:
    params = STILL.model_copy(update={"core_dropout": 0.8, "core_dropout_ramp_epochs": 4})
    x = torch.ones(4000, 1, 16, 16)
    shares = []
    for epoch in range(6):
        out = augment(x, params, sample_seeds(42, np.arange(4000), epoch, 4000), epoch)
        shares.append(float((out[:, 0, 8, 8] == 0).double().mean()))
    assert shares == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 0.8], abs=0.03)


def test_azimuthal_shuffle_permutes_within_rings_of_the_core_alike_in_all_bands() -> None:
    params = STILL.model_copy(update={"azimuthal_shuffle": 1.0, "core_radius_pixels": 6.0})
    x = torch.arange(17 * 17, dtype=torch.float32).reshape(1, 1, 17, 17).repeat(40, 2, 1, 1)
    x[:, 1] += 1000
    seeds = sample_seeds(42, np.arange(40), 0, 40)
    out = augment(x, params, seeds, 0)
    radius = np.hypot(*(np.indices((17, 17)) - 8))
    core, ring = radius < 6, radius.round()
    assert torch.equal(out[:, 1], out[:, 0] + 1000)
    assert np.array_equal(out.numpy()[..., ~core], x.numpy()[..., ~core])
    moved = out[:, 0].numpy().astype(int)
    assert np.array_equal(np.sort(moved[:, core], axis=1), np.tile(np.sort(x[0, 0].numpy()[core]), (40, 1)))
    assert (ring.flatten()[moved[:, core]] == ring[core]).all(), "a pixel stays in its ring"
    assert (moved[:, core] != x[0, 0].numpy()[core]).mean() > 0.8
    assert len({tuple(row) for row in moved[:, core]}) == 40, "each stamp its own permutation"
    assert torch.equal(augment(x[7:8], params, seeds[7:8], 0), out[7:8])


def test_azimuthal_shuffle_touches_its_share_of_stamps() -> None:
    params = STILL.model_copy(update={"azimuthal_shuffle": 0.3})
    x = torch.randn(2000, 1, 12, 12)
    out = augment(x, params, sample_seeds(42, np.arange(2000), 0, 2000), 0)
    assert float((out != x).flatten(1).any(dim=1).double().mean()) == pytest.approx(0.3, abs=0.04)
