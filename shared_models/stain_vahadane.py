"""Stain vectors by sparse non-negative dictionary learning, in numpy; known to work on densities alone.

sparse_codes()    non-negative, sparse concentrations of two given stains, in closed form
sparse_stains()   the two stain vectors of a set of densities

Minimises 1/2 |V - H W|^2 + penalty |H|_1 over H >= 0 and over W >= 0 with rows of length 1 at most.

Source: Vahadane et al. 2016, doi 10.1109/TMI.2016.2529665; the dictionary step is algorithm 2 of Mairal et al. 2010,
arXiv:0908.0050. Departs from them in: all pixels at once, not one by one; the start is given, not drawn, so that the
answer has no chance in it; with two stains the codes are exact, not approached.
"""

from __future__ import annotations

import numpy as np

from .contract.values import Array

_PENALTY = 0.1
_MOST_ROUNDS, _CLOSE = 300, 1e-4


def sparse_codes(densities: Array, matrix: Array, penalty: float = 0.0) -> Array:
    """Concentrations h >= 0 of least 1/2 |v - h W|^2 + penalty (h_0 + h_1), for each pixel.

    Parameters
    ----------
    densities : float (n, 3), optical density of R, G, B
    matrix : float (2, 3), W, one stain a row; not parallel, and within a right angle
    penalty : 0 for plain non-negative least squares

    Returns
    -------
    float (n, 2)
    """
    gram = (matrix @ matrix.T).astype(densities.dtype)
    pull = densities @ matrix.T.astype(densities.dtype) - densities.dtype.type(penalty)
    # Two unknowns: both positive, or one of them alone, or none. As the rows lie within a right angle, a sign of the
    # free solution tells which: where both are negative, so are both pulls.
    both = gram[0, 0] * gram[1, 1] - gram[0, 1] * gram[0, 1]
    first = (gram[1, 1] * pull[:, 0] - gram[0, 1] * pull[:, 1]) / both
    second = (gram[0, 0] * pull[:, 1] - gram[0, 1] * pull[:, 0]) / both
    codes = np.empty_like(pull)
    codes[:, 0] = np.where(second < 0, pull[:, 0] / gram[0, 0], first)
    codes[:, 1] = np.where(first < 0, pull[:, 1] / gram[1, 1], second)
    return np.maximum(codes, 0, out=codes)


def sparse_stains(densities: Array, start: Array, penalty: float = _PENALTY) -> Array:
    """The two stains whose sparse mixtures explain ``densities`` best.

    Parameters
    ----------
    densities : float (n, 3), of tissue
    start : float (2, 3), 0 or more, rows of length 1
    penalty : price of a unit of concentration, in density

    Returns
    -------
    float64 (2, 3), 0 or more, rows of length 1, in the order of ``start``; the same for the same input
    """
    matrix = start.astype(np.float64)
    for _ in range(_MOST_ROUNDS):
        codes = sparse_codes(densities, matrix, penalty)
        weight, seen = (codes.T @ codes).astype(np.float64), (codes.T @ densities).astype(np.float64)
        before = matrix.copy()
        for stain in range(2):
            if weight[stain, stain] <= 0:
                continue
            moved = np.maximum(matrix[stain] + (seen[stain] - weight[stain] @ matrix) / weight[stain, stain], 0)
            length = float(np.linalg.norm(moved))
            if length > 0:
                matrix[stain] = moved / max(length, 1.0)
        if np.abs(matrix - before).max() < _CLOSE:
            break
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
