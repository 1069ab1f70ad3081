"""A picture of a feature space in two dimensions."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.fitted.probe import principal

Floats = NDArray[np.float64]


def placed(features: ArrayLike, components: int, neighbours: int, seed: int) -> Floats:
    """Places (object, 2) of objects by UMAP (McInnes, Healy & Melville 2018) of their leading principal components.

    A picture only: neighbours stay neighbours, distances and densities mean nothing. The neighbours are those of
    scikit-learn, which spares UMAP the compilation of its own search (3 of 8 seconds); two other functions are compiled
    once for all runs (3 seconds). DataError if a feature is not finite.
    """
    from sklearn.neighbors import NearestNeighbors

    values = principal(np.asarray(features, dtype=np.float64), components).astype(np.float32)
    near = min(neighbours, len(values) - 1)
    distances, places = NearestNeighbors(n_neighbors=near).fit(values).kneighbors(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import: TensorFlow is missing, which nothing here needs
        from umap import UMAP, umap_

        for compiled in (umap_.smooth_knn_dist, umap_.compute_membership_strengths):
            compiled.enable_caching()
        known = places, distances.astype(np.float32)
        made = UMAP(n_neighbors=near, precomputed_knn=known, random_state=seed, n_jobs=1, init="pca")
        return np.asarray(made.fit_transform(values), dtype=np.float64)
