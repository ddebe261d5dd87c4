"""Variances of a mean between clusters (cases or seeds) and of what neither explains, also for incomplete tables."""

import numpy as np
from scipy import sparse


def cluster_contributions(residuals: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Return the contribution of each cluster to the mean, the number of clusters, and effective degrees of freedom.

    Clusters of unequal size count as N^2 / sum(size^2) clusters of equal size, so that a seed with two finished cases
    does not contribute a full degree of freedom.

    Args:
        residuals: deviations from the mean.
        cluster: cluster of each residual, numbered from 0 without gaps.
    """
    sums, sizes = np.bincount(cluster, residuals), np.bincount(cluster)
    freedom = residuals.size**2 / float((sizes**2).sum()) - 1 if len(sizes) > 1 else 0.0
    return sums / residuals.size, len(sizes), freedom


def variance_of_mean(contributions: np.ndarray, freedom: float) -> float:
    """Return the variance of a mean between clusters, from their contributions; 0 for a single cluster."""
    return float((contributions**2).sum()) * (freedom + 1) / freedom if freedom > 0 else 0.0


def unexplained_variance(residuals: np.ndarray, case: np.ndarray, seed: np.ndarray) -> float:
    """Return the part of the variance of the mean that neither case nor seed explains; 0 if the table is too sparse.

    Cases and seeds are numbered from 0 without gaps.
    """
    n_cases, n_seeds = case.max() + 1, seed.max() + 1
    complete = case.size == n_cases * n_seeds and bool((np.bincount(case * n_seeds + seed) == 1).all())
    components = 1 if complete else _components(case, seed, n_cases, n_seeds)
    freedom = residuals.size - (n_cases + n_seeds - components)
    if freedom < 1:
        return 0.0
    # alternately subtracting case and seed means converges to least squares; a complete table needs one iteration
    for _ in range(1 if complete else 100):
        before = residuals
        for cluster in (case, seed):
            residuals = residuals - (np.bincount(cluster, residuals) / np.bincount(cluster))[cluster]
        if not complete and np.allclose(before, residuals, rtol=0, atol=1e-12):
            break
    return float((residuals**2).sum() / freedom / residuals.size)


def _components(case: np.ndarray, seed: np.ndarray, n_cases: int, n_seeds: int) -> int:
    """Return the number of groups of cases and seeds that no value links."""
    links = sparse.coo_matrix((np.ones(case.size), (case, n_cases + seed)), shape=(n_cases + n_seeds,) * 2)
    return int(sparse.csgraph.connected_components(links, directed=False)[0])
