"""Made-up groups of stamps for the tests of realism."""

from __future__ import annotations

import numpy as np

from analysis.comparisons import populations as held
from analysis.comparisons.populations import EMBEDDING, TEXTURE, Population, Populations

DIMENSIONS = 12
BLOCK = "block 1"


def group(rng, n, shift=0.0, prefix="h", per_host=1, lenses=None):
    """Gaussian features around a shift, in every space; hosts are numbered from 0."""
    ids = np.repeat([f"{prefix}{i}" for i in range(n // per_host)], per_host)
    features = rng.normal(size=(n, DIMENSIONS)) + shift
    spaces = {EMBEDDING: features, TEXTURE: features, BLOCK: features}
    return Population(ids, features[:, 0] - shift, spaces, ids if lenses is None else np.asarray(lenses))


def moved(one, by, prefix="m"):
    """The same objects with other features, in other hosts, with the same lenses."""
    spaces = {name: values + by for name, values in one.spaces.items()}
    hosts = np.asarray([f"{prefix}{name}" for name in one.hosts])
    return Population(hosts, one.scores, spaces, one.lenses)


def groups(rng, n=60, injected=0.0, negative=2.0):
    """Listed lenses at 0, injections and negatives shifted, as a survey without truth has them."""
    lenses, hosts = group(rng, n, prefix="l"), group(rng, n, injected, prefix="i")
    tier_a = np.arange(n) % 2 == 0
    made = {
        held.LISTED: lenses,
        held.TIER_A: lenses.part(tier_a),
        held.TIER_B: lenses.part(~tier_a),
        held.INJECTIONS: hosts,
        held.BARE_HOSTS: moved(hosts, negative, prefix=""),
        held.NEGATIVES: group(rng, n, negative, prefix="n"),
        held.LOW_OFFSET: group(rng, n, 0.5, prefix="a"),
        held.HIGH_OFFSET: group(rng, n, 0.2, prefix="b"),
    }
    absent = dict.fromkeys((held.TRUE_LENSES,), "the truth of this survey's lenses is not known")
    return Populations(made, absent, (BLOCK,))


def with_truth(rng, n=60, renderer=0.0, hosts=0.4, population=0.5):
    """The same survey with its truth: each rung shifts the lenses' features further."""
    made = groups(rng, n, hosts + population)
    true = group(rng, n, prefix="t")
    wobble = 0.02 * rng.normal(size=(n, DIMENSIONS))
    rungs = {
        held.TRUE_LENSES: true,
        held.OWN_HOSTS: moved(true, wobble + renderer),
        held.LENS_LIKE: moved(true, wobble + renderer + 0.5 * hosts),
        held.EARLY: moved(true, wobble + renderer + hosts),
        held.ALL_HOSTS: moved(true, wobble + renderer + hosts),
    }
    return Populations({**made.groups, **rungs}, {}, made.blocks)


def unembedded(made):
    """The groups as a finder without an embedding has them."""
    kept = {
        name: Population(one.hosts, one.scores, {TEXTURE: one.spaces[TEXTURE]}, one.lenses)
        for name, one in made.groups.items()
    }
    return Populations(kept, made.absent, (), embeds=False)
