"""`find_sequences`: first this, then that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.search.moments import Curves
from videolib.search.similarities import check_k

SEQUENCE_COLUMNS = [
    "rank", "step", "video_id", "title", "frame_number", "timestamp_seconds", "similarity", "least_z", "frame_data",
]  # fmt: skip
MOST_FIRST = 20  # videos: each round reads the whole store once
TOLERANCE = 1e-4  # databases round sums differently

Floats = npt.NDArray[np.float64]
Chain = tuple[float, list[int]]  # the least z of the frames, and their positions


def find_sequences(
    store: Curves,
    queries: Sequence[npt.ArrayLike],
    within_seconds: float = 10.0,
    k: int = 5,
    *,
    video_id: str | Sequence[str] | None = None,
) -> pd.DataFrame:
    """Find where one thing follows another: a frame of the first, then one of the second, and so on.

    Similarities are standardized over all frames that are searched (z, in standard deviations above their mean); a
    sequence is as good as the least z of its frames, and each must be above 0. A sequence that a better one overlaps
    in time is left out, so that no frame is used twice.

    Parameters
    ----------
    store
        A `FrameStore`, or a `FrameIndex` in memory, which gives the same.
    queries
        (d,) embeddings of two or more steps, in their order.
    within_seconds
        How much later each step may be than the one before it.
    k
        How many sequences at most.
    video_id
        Search this video only, or these.

    Returns
    -------
    One row a step: rank, step (from 1), video_id, title, frame_number, timestamp_seconds, similarity, least_z of the
    sequence, frame_data; the best sequence first, ties in the order of video_id and time.

    Raises
    ------
    ValueError
        If the queries do not fit the store or are fewer than two, or within_seconds or k is out of its range.
    """
    k = check_k(k)
    steps = np.asarray(queries, dtype=np.float32)
    if steps.ndim != 2 or len(steps) < 2:
        raise ValueError(
            f"queries must be two or more embeddings (d,) of one encoder, got shape {steps.shape}"
        )
    if not within_seconds > 0:
        raise ValueError(f"within_seconds must be above 0, got {within_seconds}")
    found: list[pd.DataFrame] = []
    skip = 0
    while k:
        count = max(MOST_FIRST, k, skip)
        curves = store.best_curves(steps, count, skip=skip, video_id=video_id, standardized=True)
        bound = -np.inf
        for _, curve in curves.groupby("video_id", sort=False):
            z = curve[[f"z_similarity_{n + 1}" for n in range(len(steps))]].to_numpy(float).T
            bound = z.max(axis=1).min()
            chains = _best_chains(z, curve["timestamp_seconds"].to_numpy(float), within_seconds, k)
            found += [_as_rows(curve, chain) for chain in chains]
        found = _best_first(found)[:k]
        # No video that comes later can hold a better sequence than this.
        is_last = curves["video_id"].nunique() < count or bound <= 0
        if is_last or (len(found) == k and found[-1]["least_z"].iloc[0] > bound + TOLERANCE):
            break
        skip += count
    rows = [each.assign(rank=rank) for rank, each in enumerate(found, 1)]
    table = pd.concat(rows) if rows else pd.DataFrame(columns=SEQUENCE_COLUMNS[:-1])
    types = {"rank": "int64", "step": "int64", "frame_number": "int64"}
    types |= dict.fromkeys(("timestamp_seconds", "similarity", "least_z"), "float64")
    return store.add_pictures(table.astype(types)).reindex(columns=SEQUENCE_COLUMNS)


def _best_chains(z: Floats, seconds: Floats, within_seconds: float, k: int) -> list[Chain]:
    """The k best chains of frames that no better one overlaps; z is (m, n)."""
    ends = np.searchsorted(seconds, seconds + within_seconds, side="right")
    begins = np.searchsorted(seconds, seconds, side="right")
    least = np.where(z[-1] > 0, z[-1], -np.inf)  # of the best chain from a frame on
    following = []
    for row in z[-2::-1]:
        chosen, before = np.zeros(len(row), dtype=int), least
        least = np.full(len(row), -np.inf)
        for n in np.flatnonzero(row > 0):
            if begins[n] < ends[n]:
                values = np.minimum(row[n], before[begins[n] : ends[n]])
                chosen[n] = begins[n] + values.argmax()
                least[n] = values.max()
        following.append(chosen)
    starts = np.flatnonzero(np.isfinite(least))
    lasts = starts
    for chosen in reversed(following):
        lasts = chosen[lasts]
    chains: list[Chain] = []
    for place in np.argsort(-least[starts], kind="stable"):
        if len(chains) == k:
            break
        if not _is_overlapped(place, starts, lasts, least[starts]):
            chain = [int(starts[place])]
            for chosen in reversed(following):
                chain.append(int(chosen[chain[-1]]))
            chains.append((float(least[starts[place]]), chain))
    return chains


def _is_overlapped(
    place: int, starts: npt.NDArray[np.intp], lasts: npt.NDArray[np.intp], least: Floats
) -> bool:
    """Whether a better chain, or an earlier one that is as good, overlaps the one at this place."""
    beside = (starts <= lasts[place]) & (starts[place] <= lasts)
    is_earlier = np.arange(len(starts)) < place
    return bool(np.any(beside & ((least > least[place]) | ((least == least[place]) & is_earlier))))


def _as_rows(curve: pd.DataFrame, chain: Chain) -> pd.DataFrame:
    least, positions = chain
    steps = range(1, len(positions) + 1)
    values = [curve[f"similarity_{step}"].iloc[place] for step, place in zip(steps, positions, strict=True)]
    return curve.iloc[positions].assign(step=steps, similarity=values, least_z=least)


def _best_first(found: list[pd.DataFrame]) -> list[pd.DataFrame]:
    def key(rows: pd.DataFrame) -> tuple[float, str, float]:
        return -rows["least_z"].iloc[0], rows["video_id"].iloc[0], rows["timestamp_seconds"].iloc[0]

    return sorted(found, key=key)
