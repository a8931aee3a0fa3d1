"""`FrameIndex`: embeddings in memory, searched at memory bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.search.matches import make_matches
from videolib.search.similarities import check_k, similarity, top_k

CHUNK_SIZE = 65_536  # rows that are converted to float32 at a time


class FrameIndex:
    """Frames of a store in memory, as `FrameStore.load_index` loads them; their pictures stay in the store.

    Parameters
    ----------
    frames
        (n) rows of video_id, frame_number, timestamp_seconds, in the order of video_id and frame_number.
    embeddings
        (n, d) float32 or float16.
    read_pictures
        Reads columns video_id, frame_number and frame_data of some of the frames, and the title of their video.
    """

    def __init__(
        self,
        frames: pd.DataFrame,
        embeddings: npt.NDArray[Any],
        read_pictures: Callable[[pd.DataFrame], pd.DataFrame],
    ):
        self._frames = frames
        self._embeddings = embeddings
        self._read_pictures = read_pictures

    def __len__(self) -> int:
        return len(self._frames)

    def __repr__(self) -> str:
        count, dimension = self._embeddings.shape
        return f"FrameIndex({count:,} frames, dimension {dimension}, {self._embeddings.nbytes / 1e6:,.0f} MB)"

    def search(self, query: npt.ArrayLike, k: int = 5) -> pd.DataFrame:
        """Find the frames most similar to a query; the same matches as `FrameStore.search` finds.

        Parameters
        ----------
        query
            (d,) embedding.
        k
            How many matches at most.

        Returns
        -------
        Columns rank, video_id, title, frame_number, timestamp_seconds, similarity, frame_data; best first, ties in
        the order of video_id and frame_number; frame_data is missing where a frame was deleted meanwhile.

        Raises
        ------
        ValueError
            If the query does not fit the embeddings or has a value that is not finite, or k is negative.
        StoreError
            If the database cannot be read.
        """
        k = check_k(k)
        one = np.asarray(query, dtype=np.float32)
        steps = range(0, max(1, len(self)), CHUNK_SIZE)
        parts = [similarity(one, self._embeddings[start : start + CHUNK_SIZE]) for start in steps]
        similarities = np.concatenate(parts)  # (n,)
        best = top_k(similarities, k)
        keys = self._frames.iloc[best]
        return make_matches(keys, similarities[best], self._read_pictures(keys))
