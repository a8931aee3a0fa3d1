"""What a change made better and worse: two evaluations of the same marks side by side."""

from __future__ import annotations

import numpy as np
import pandas as pd

from videolib.search.evaluation import Evaluation
from videolib.search.measures import interval


def compare_evaluations(before: Evaluation, after: Evaluation, *, seed: int = 0) -> pd.DataFrame:
    """Tell what changed between two evaluations of the same marks, such as of two models, stores or settings.

    Returns
    -------
    A row for each measure, its name in the index: before, after and change, means over the queries that both have;
    low and high, the 95 % bootstrap interval of the change; better, worse and same, how many queries are.

    Raises
    ------
    ValueError
        If they have another k or ranked, or no query in common.
    """
    rows = {}
    for name in before.overall.index:
        pairs = changes(before, after, name).dropna(subset="change")
        low, high = interval(pairs["change"], seed)
        means = pairs[["before", "after", "change"]].mean()
        signs = np.sign(pairs["change"])
        counts = {
            word: int((signs == sign).sum()) for word, sign in (("better", 1), ("worse", -1), ("same", 0))
        }
        rows[name] = {**means, "low": low, "high": high, **counts}
    return pd.DataFrame.from_dict(rows, orient="index")


def changes(before: Evaluation, after: Evaluation, measure: str) -> pd.DataFrame:
    """Each query's measure before and after, and its change; ValueError if the two cannot be compared."""
    if (before.k, before.ranked) != (after.k, after.ranked):
        raise ValueError(
            f"evaluations must have the same k and ranked, got {before.k} {before.ranked!r} and {after.k} "
            f"{after.ranked!r}: evaluate both alike"
        )
    if measure not in before.overall.index:
        raise ValueError(f"measure must be one of {', '.join(before.overall.index)}, got {measure!r}")
    keys = [name for name in ("query", "video_id") if name in before.per_query]
    one, other = (each.per_query[[*keys, measure]] for each in (before, after))
    pairs = one.rename(columns={measure: "before"}).merge(other.rename(columns={measure: "after"}), on=keys)
    if pairs.empty:
        raise ValueError("evaluations must have queries in common, got none: evaluate the same marks")
    return pairs.assign(change=pairs["after"] - pairs["before"])
