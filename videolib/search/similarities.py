"""Cosine similarity between one query and many embeddings, and the best of them. NumPy only."""

from __future__ import annotations

import operator

import numpy as np
import numpy.typing as npt

from videolib.types import FloatArray

LEAST_SPREAD = 1e-6  # of similarities that differ; below it is what float32 makes of equal ones


def normalize(embeddings: npt.ArrayLike) -> FloatArray:
    """Scale embeddings, (d,) or (n, d), to unit length along the last axis; float32.

    Raises
    ------
    ValueError
        If a value is not finite, or a row is all zeros and so has no direction.
    """
    array = _finite("embeddings", embeddings)
    length = np.linalg.norm(array.astype(np.float64), axis=-1, keepdims=True)
    if np.any(length == 0):
        raise ValueError("embeddings must not hold a row of zeros, which has no direction: leave it out")
    unit: FloatArray = (array / length).astype(np.float32)
    return unit


def similarity(query: npt.ArrayLike, embeddings: npt.ArrayLike) -> FloatArray:
    """Similarity of each embedding to the query: their dot product, higher is better.

    It is the cosine similarity where both have unit length, as encoders and `FrameStore` give them.

    Parameters
    ----------
    query
        (d,) embedding.
    embeddings
        (n, d) embeddings; (0, d) and an empty list give (0,).

    Returns
    -------
    (n,) float32. Equal rows give equal values, so that ties are real ties.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is not finite.
    """
    one = _finite("query", query)
    many = np.asarray(embeddings, dtype=np.float32)
    if one.ndim != 1:
        raise ValueError(f"query must be one embedding of shape (d,), got shape {one.shape}")
    if many.size == 0:
        return np.zeros(0, dtype=np.float32)
    if many.ndim != 2 or many.shape[1] != one.shape[0]:
        raise ValueError(
            f"embeddings must have shape (n, {one.shape[0]}) to fit the query, got {many.shape}: "
            "use the encoder that made them"
        )
    # A matrix product sums some rows in another order than others: equal rows would differ by an ulp.
    products: FloatArray = np.vecdot(many, one)  # (n,)
    if not np.isfinite(products).all():  # cheaper to ask of the products than of all values
        _finite("embeddings", many)
    return products


def top_k(similarities: npt.ArrayLike, k: int = 5) -> npt.NDArray[np.intp]:
    """Positions of the k highest similarities, best first, ties to the earliest; at most n of them.

    Raises
    ------
    ValueError
        If k is negative or not a whole number, or a similarity is not a number.
    """
    values = np.asarray(similarities, dtype=np.float32)
    if values.ndim != 1:
        raise ValueError(f"similarities must have shape (n,), got {values.shape}")
    if np.isnan(values).any():
        raise ValueError("similarities must be numbers, got NaN: check the embeddings")
    k = min(check_k(k), len(values))
    if k == 0:
        return np.zeros(0, dtype=np.intp)
    lowest = np.partition(values, -k)[-k]
    candidates = np.flatnonzero(values >= lowest)  # in order, so that a stable sort keeps ties in order
    return candidates[np.argsort(-values[candidates], kind="stable")[:k]]


def spread_evenly(count: int, n: int) -> npt.NDArray[np.int64]:
    """Positions of n items of count, spread evenly, ascending; all of them where count is no more than n."""
    try:
        number = operator.index(n)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"n must be a whole number above 0, got {n!r}")
    if count <= number:
        return np.arange(count, dtype=np.int64)
    return (2 * np.arange(number, dtype=np.int64) + 1) * count // (2 * number)


def standardize(similarities: npt.ArrayLike, mean: float, spread: float) -> npt.NDArray[np.float64]:
    """How many standard deviations (spread) similarities lie above their mean; 0 where all are equal."""
    values = np.asarray(similarities, dtype=np.float64)
    return (values - mean) / spread if spread > LEAST_SPREAD else np.zeros_like(values)


def check_k(k: int) -> int:
    """Return k as an int; ValueError if it is no whole number or negative."""
    try:
        number = operator.index(k)
    except TypeError:
        raise ValueError(f"k must be a whole number of matches, got {k!r}") from None
    if number < 0:
        raise ValueError(f"k must be 0 or more, got {number}")
    return number


def _finite(name: str, values: npt.ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite numbers only, got NaN or infinity")
    return array
