"""The table of matches, the same from memory and from every database."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.search.similarities import similarity, top_k

MATCH_COLUMNS = ["rank", "video_id", "frame_number", "timestamp_seconds", "similarity", "frame_data"]


def make_matches(keys: pd.DataFrame, similarities: npt.ArrayLike, pictures: pd.DataFrame) -> pd.DataFrame:
    """Make the table of matches from frames, best first.

    Parameters
    ----------
    keys
        (n) rows of video_id, frame_number and timestamp_seconds.
    similarities
        (n,) of them.
    pictures
        video_id, frame_number and frame_data of these frames in any order; missing where a frame is not there.
    """
    rows = keys[MATCH_COLUMNS[1:4]].assign(similarity=np.asarray(similarities))
    matches = rows.merge(pictures, how="left", on=["video_id", "frame_number"])
    matches["rank"] = np.arange(1, len(matches) + 1)
    # Without rows a database tells no types.
    return matches[MATCH_COLUMNS].astype(
        {"frame_number": "int64", "timestamp_seconds": float, "similarity": float}
    )


def match_frames(query: npt.ArrayLike, frames: pd.DataFrame, k: int = 5) -> pd.DataFrame:
    """Search a frames table in memory; the same matches as `FrameStore.search` finds in the database.

    Parameters
    ----------
    query
        (d,) embedding.
    frames
        Columns video_id, frame_number, timestamp_seconds, embedding_data, frame_data, in the order of
        video_id and frame_number, as `FrameStore.read_frames` gives them.
    k
        How many matches at most.

    Returns
    -------
    Columns rank, video_id, frame_number, timestamp_seconds, similarity, frame_data; best first.
    """
    similarities = similarity(query, list(frames["embedding_data"]))
    best = top_k(similarities, k)
    found = frames.iloc[best]
    return make_matches(found, similarities[best], found[["video_id", "frame_number", "frame_data"]])
