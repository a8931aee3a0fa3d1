"""`find_moments`: from frames to moments, each with its start, peak and end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.search.similarities import check_k, normalize
from videolib.tables import FrameTable

MOMENT_COLUMNS = [
    "rank", "video_id", "title", "start_seconds", "peak_seconds", "end_seconds", "similarity",
    "frame_number", "frame_data",
]  # fmt: skip
OPEN_AT, EXTEND_TO = 0.7, 0.65  # shares of the way from a video's usual similarity to its highest
SAME_AT = 0.998  # cosine; other shots of the same things in the same place come up to 0.997


class Curves(Protocol):
    """What moments and sequences are found in: `FrameStore` and `FrameIndex`."""

    def best_curves(
        self,
        query: npt.ArrayLike,
        k: int = 5,
        *,
        skip: int = 0,
        video_id: str | Sequence[str] | None = None,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
        standardized: bool = False,
    ) -> pd.DataFrame: ...

    def add_embeddings(self, rows: pd.DataFrame) -> pd.DataFrame: ...

    def add_pictures(self, rows: pd.DataFrame) -> pd.DataFrame: ...


def find_moments(
    store: Curves,
    query: npt.ArrayLike,
    k: int = 5,
    *,
    video_id: str | Sequence[str] | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    open_at: float = OPEN_AT,
    extend_to: float = EXTEND_TO,
    same_at: float = SAME_AT,
) -> pd.DataFrame:
    """Find the moments that a query describes: from when to when, not frame by frame.

    Parameters
    ----------
    store
        A `FrameStore`, or a `FrameIndex` in memory, which gives the same.
    query
        (d,) embedding, of the model whose embeddings the store holds.
    k
        How many moments at most.
    video_id
        Search this video only, or these.
    start_seconds, end_seconds
        Search frames with start_seconds <= timestamp_seconds < end_seconds only.
    open_at, extend_to
        What makes a moment of a video's curve: see `moments_of`.
    same_at
        Cosine similarity from which on two peaks are the same picture, such as that of an opening: only the better
        moment counts. Above 1 each counts.

    Returns
    -------
    Columns rank, video_id, title, start_seconds, peak_seconds, end_seconds, similarity, frame_number and frame_data
    of the peak; best peak first, ties in the order of video_id and time.

    Raises
    ------
    ValueError
        If the query does not fit the store, or k, open_at or extend_to is out of its range.
    """
    k = check_k(k)
    check_levels(open_at, extend_to)
    kept = waiting = _no_moments()
    skip = 0
    while k and len(kept) < k:
        count = max(
            k, 3 * skip
        )  # each round asks for more, in case that many videos open with the same picture
        curves = store.best_curves(
            query, count, skip=skip, video_id=video_id, start_seconds=start_seconds, end_seconds=end_seconds
        )
        new = moments_of(
            curves,
            start_seconds=start_seconds,
            end_seconds=end_seconds,
            open_at=open_at,
            extend_to=extend_to,
        )
        waiting = _in_order(pd.concat([waiting, new]) if len(waiting) else new)
        is_last = curves["video_id"].nunique() < count
        # What the next videos hold is no better than the best of this round's last one.
        bound = -np.inf if is_last else new.groupby("video_id")["similarity"].max().min()
        kept = _without_copies(store, kept, waiting[waiting["similarity"] >= bound], k, same_at)
        waiting = waiting[waiting["similarity"] < bound]
        skip += count
        if is_last:
            break
    return _ranked(store.add_pictures(kept.drop(columns="embedding_data", errors="ignore")))


def moments_of(
    similarities: pd.DataFrame,
    *,
    duration_seconds: float | None = None,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    open_at: float = OPEN_AT,
    extend_to: float = EXTEND_TO,
) -> pd.DataFrame:
    """Make moments of a table of similarities in memory; all that `find_moments` would find in these videos.

    A moment opens where the similarity rises to `open_at` of the way from the video's usual level (its median, or
    the middle between its lowest and highest where that is lower) to its highest, and extends as far as it stays above
    `extend_to` of it. One sample below, or missing, does not break it. It begins and ends half way to the next
    sample.

    Parameters
    ----------
    similarities
        Columns video_id, frame_number, timestamp_seconds, similarity of one or more videos, each in order of time, as
        `FrameStore.similarities` gives them; title, duration_seconds and frame_data if they are known.
    duration_seconds
        Of the videos, where the table does not tell; without it the last moment may end past the end.
    start_seconds, end_seconds
        Use frames with start_seconds <= timestamp_seconds < end_seconds only; the usual level is the whole video's.

    Returns
    -------
    The columns of `find_moments`; what is not known of title and frame_data is missing.

    Raises
    ------
    ValueError
        If a similarity is not a number, or open_at or extend_to is out of its range.
    """
    check_levels(open_at, extend_to)
    found = []
    for _, curve in similarities.groupby("video_id", sort=False):
        values = curve["similarity"].to_numpy(float)
        if np.isnan(values).any():
            raise ValueError("similarities must be numbers, got NaN: check the embeddings")
        seconds, numbers = curve["timestamp_seconds"].to_numpy(float), curve["frame_number"].to_numpy()
        within = (
            -np.inf if start_seconds is None else start_seconds,
            np.inf if end_seconds is None else end_seconds,
        )
        length = curve["duration_seconds"].iloc[0] if "duration_seconds" in curve else duration_seconds
        places, starts, ends = spans_of(
            values, numbers, seconds, length, open_at=open_at, extend_to=extend_to, within=within
        )
        peaks = curve.iloc[places]
        peak_seconds = peaks["timestamp_seconds"]
        found.append(peaks.assign(start_seconds=starts, peak_seconds=peak_seconds, end_seconds=ends))
    return _ranked(_in_order(pd.concat(found))) if found else _no_moments()


def spans_of(
    values: npt.NDArray[np.float64],
    numbers: npt.NDArray[np.int64],
    seconds: npt.NDArray[np.float64],
    duration: float | None,
    *,
    open_at: float,
    extend_to: float,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[list[int], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The moments of one curve in order of time: the positions of their peaks, their starts and their ends."""
    low, high = within
    spans = _find_spans(values, numbers, (low <= seconds) & (seconds < high), open_at, extend_to)
    starts, ends = _cells(seconds, numbers, np.inf if duration is None or np.isnan(duration) else duration)
    return (
        [peak for _, peak, _ in spans],
        np.maximum(starts[[first for first, _, _ in spans]], low),
        np.minimum(ends[[last for _, _, last in spans]], high),
    )


def _find_spans(
    values: npt.NDArray[np.float64],
    numbers: npt.NDArray[np.int64],
    inside: npt.NDArray[np.bool_],
    open_at: float,
    extend_to: float,
) -> list[tuple[int, int, int]]:
    """Positions of the first, the peak and the last sample of each moment."""
    if not inside.any():
        return []
    top = values[inside].max()
    usual = min(np.median(values), (values.min() + values.max()) / 2, top)
    opens, extends = (min(usual + share * (top - usual), top) for share in (open_at, extend_to))
    above = np.flatnonzero(inside & (values >= extends))
    groups = np.split(above, np.flatnonzero(np.diff(numbers[above]) > 2) + 1)
    peaks = [group[values[group].argmax()] for group in groups]
    return [
        (int(group[0]), int(peak), int(group[-1]))
        for group, peak in zip(groups, peaks, strict=True)
        if values[peak] >= opens
    ]


def _cells(
    seconds: npt.NDArray[np.float64], numbers: npt.NDArray[np.int64], duration: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """From when to when each sample is the nearest one; where its neighbour is missing, half a usual step."""
    steps, beside = np.diff(seconds), np.diff(numbers) == 1
    usual = seconds[-1] / (numbers[-1] - 1) if numbers[-1] > 1 else min(duration, seconds[-1])
    before, after = np.full((2, len(seconds)), usual / 2)
    before[1:][beside] = after[:-1][beside] = steps[beside] / 2
    # The first sample shows the beginning. The last one is on screen until another would have come.
    if numbers[0] == 1:
        before[0] = seconds[0]
    alone = usual if numbers[-1] > 1 else duration if np.isfinite(duration) else 0.0
    after[-1] = steps[beside].max() if beside.any() else alone
    return np.maximum(seconds - before, 0.0), np.minimum(seconds + after, duration)


def _without_copies(
    store: Curves, kept: pd.DataFrame, candidates: pd.DataFrame, k: int, same_at: float
) -> pd.DataFrame:
    """Add the candidates, best first, up to k; those whose peak looks like that of a better one are left out."""
    place = 0
    while len(kept) < k and place < len(candidates):
        some = store.add_embeddings(candidates.iloc[place : place + k])
        place += k
        for number in range(len(some)):
            row = some.iloc[[number]]
            if len(kept) < k and not _looks_like(row["embedding_data"].iloc[0], kept, same_at):
                kept = pd.concat([kept, row]) if len(kept) else row
    return kept


def _looks_like(embedding: object, kept: pd.DataFrame, same_at: float) -> bool:
    # A frame that was deleted meanwhile has none.
    others = [other for other in kept.get("embedding_data", []) if isinstance(other, np.ndarray)]
    if not others or not isinstance(embedding, np.ndarray):
        return False
    return bool((normalize(others) @ normalize(embedding)).max() >= same_at)


def _in_order(moments: pd.DataFrame) -> pd.DataFrame:
    by = ["similarity", "video_id", "start_seconds"]
    return moments.sort_values(by, ascending=[False, True, True], kind="stable", ignore_index=True)


def _ranked(moments: pd.DataFrame) -> pd.DataFrame:
    ranked = moments.assign(rank=np.arange(1, len(moments) + 1)).reindex(columns=MOMENT_COLUMNS)
    return FrameTable(ranked)


def _no_moments() -> pd.DataFrame:
    types = dict.fromkeys(MOMENT_COLUMNS, "object") | dict.fromkeys(MOMENT_COLUMNS[3:7], "float64")
    types |= {"rank": "int64", "frame_number": "int64"}
    return FrameTable(columns=MOMENT_COLUMNS).astype(types)


def check_levels(open_at: float, extend_to: float) -> None:
    if not 0 <= extend_to <= open_at <= 1:
        raise ValueError(
            "extend_to and open_at must be shares with 0 <= extend_to <= open_at <= 1, "
            f"got extend_to={extend_to} and open_at={open_at}"
        )
