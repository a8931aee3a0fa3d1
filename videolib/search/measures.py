"""The measures of a ranking, of spans, and how far a mean of them may be trusted. NumPy only.

Of one query: `ranks` (r,) are the places, from 1, where what is relevant stands in the ranking, ascending; `count` is
how much is relevant in all, where some of it is not in the ranking. Without anything relevant there is no measure: NaN.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BOOTSTRAP_ROUNDS = 2000
INTERVAL = (2.5, 97.5)  # percentiles

Floats = npt.NDArray[np.float64]
Ranks = npt.NDArray[np.int64]


def ranks_of(similarities: npt.NDArray[np.float32], relevant: npt.NDArray[np.intp]) -> Ranks:
    """Where these positions (r,) stand among similarities (n,), highest first, ties to the earliest; (r,) ascending."""
    ordered, values = np.sort(similarities), similarities[relevant]
    ranks = len(ordered) - np.searchsorted(ordered, values, side="right") + 1
    equal = len(ordered) + 1 - ranks - np.searchsorted(ordered, values, side="left")
    for n in np.flatnonzero(equal > 1):
        ranks[n] += np.count_nonzero(similarities[: relevant[n]] == values[n])
    return np.sort(ranks)


def recall_at(k: int, ranks: Ranks, count: int) -> float:
    """The share of what is relevant that is among the first k."""
    return int((ranks <= k).sum()) / count if count else np.nan


def average_precision(ranks: Ranks, count: int) -> float:
    """The mean over what is relevant of the precision at its place; of what is not found it is 0."""
    return float((np.arange(1, len(ranks) + 1) / ranks).sum()) / count if count else np.nan


def ndcg_at(k: int, ranks: Ranks, count: int) -> float:
    """Gain 1 / log2(rank + 1) of the first k, as a share of the best possible (Järvelin and Kekäläinen 2002)."""
    if not count:
        return np.nan
    gains = 1 / np.log2(np.arange(2, min(k, count) + 2))
    return float((1 / np.log2(ranks[ranks <= k] + 1)).sum() / gains.sum())


def overlaps(span: tuple[float, float], others: Floats) -> Floats:
    """IoU of a span with others (m, 2): the length of what two share, over that of both together; (m,)."""
    shared = np.minimum(span[1], others[:, 1]) - np.maximum(span[0], others[:, 0])
    together = (span[1] - span[0]) + (others[:, 1] - others[:, 0]) - np.maximum(shared, 0)
    ious: Floats = np.maximum(shared, 0) / together
    return ious


def interval(values: npt.ArrayLike, seed: int) -> tuple[float, float]:
    """From where to where the mean of so many queries lies in 95 of 100 draws of them; NaN left out.

    The percentile bootstrap, Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    if not len(known):
        return np.nan, np.nan
    random, count = np.random.default_rng(seed), len(known)
    means = [known[random.integers(0, count, count)].mean() for _ in range(BOOTSTRAP_ROUNDS)]
    low, high = np.percentile(means, INTERVAL)
    return float(low), float(high)
