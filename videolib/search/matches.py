"""The table of matches, the same from memory and from every database."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.search.similarities import similarity, top_k
from videolib.tables import FrameTable

MATCH_COLUMNS = [
    *("rank", "video_id", "title", "frame_number", "timestamp_seconds", "similarity", "frame_data"),
]
KEY_COLUMNS = ["video_id", "frame_number", "timestamp_seconds"]


def make_matches(keys: pd.DataFrame, similarities: npt.ArrayLike, pictures: pd.DataFrame) -> pd.DataFrame:
    """Make the table of matches from frames, best first.

    Parameters
    ----------
    keys
        (n) rows of video_id, frame_number and timestamp_seconds.
    similarities
        (n,) of them.
    pictures
        video_id, frame_number and frame_data of these frames in any order, and the title of their video; missing
        where a frame is not there.
    """
    rows = keys[KEY_COLUMNS].assign(similarity=np.asarray(similarities))
    matches = rows.merge(pictures, how="left", on=["video_id", "frame_number"])
    titles = matches["title"] if "title" in matches else pd.Series(index=matches.index, dtype=object)
    matches["title"] = titles.astype(object).where(titles.notna(), "")
    matches["rank"] = np.arange(1, len(matches) + 1)
    # Without rows a database tells no types.
    return FrameTable(matches[MATCH_COLUMNS]).astype(
        {"title": object, "frame_number": "int64", "timestamp_seconds": float, "similarity": float}
    )


def match_frames(query: npt.ArrayLike, frames: pd.DataFrame, k: int = 5) -> pd.DataFrame:
    """Search a frames table in memory; the same matches as `FrameStore.search` finds in the database.

    Parameters
    ----------
    query
        (d,) embedding.
    frames
        Columns video_id, frame_number, timestamp_seconds, embedding_data, frame_data, in the order of
        video_id and frame_number, as `FrameStore.read_frames` gives them; the title, too, where there is one.
    k
        How many matches at most.

    Returns
    -------
    Columns rank, video_id, title, frame_number, timestamp_seconds, similarity, frame_data; best first. The title
    is empty where the frames have none.
    """
    similarities = similarity(query, list(frames["embedding_data"]))
    best = top_k(similarities, k)
    found = frames.iloc[best]
    pictures = found[found.columns.intersection(["video_id", "title", "frame_number", "frame_data"])]
    return make_matches(found, similarities[best], pictures)


def as_video_ids(video_id: str | Iterable[str] | None) -> list[str] | None:
    """Make a list of one id or several; None for all videos."""
    if video_id is None:
        return None
    ids = [video_id] if isinstance(video_id, str) else video_id
    ids = list(dict.fromkeys(ids)) if isinstance(ids, Iterable) else []
    if not ids or not all(isinstance(each, str) for each in ids):
        raise ValueError(
            f"video_id must be an id or a list of ids, got {video_id!r}: see list_videos(), or leave it out for all"
        )
    return ids
