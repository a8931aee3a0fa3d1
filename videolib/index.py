"""`FrameIndex`: embeddings in memory, searched at memory bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.similarity import check_k, similarity, top_k

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
        Reads columns video_id, frame_number and frame_data of some of the frames.
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
        Columns rank, video_id, frame_number, timestamp_seconds, similarity, frame_data; best first, ties in
        the order of video_id and frame_number; frame_data is missing where a frame was deleted meanwhile.

        Raises
        ------
        ValueError
            If the query does not fit the embeddings or has a value that is not finite, or k is negative.
        StoreError
            If the database cannot be read.
        """
        k = min(check_k(k), len(self))
        one = np.asarray(query, dtype=np.float32)
        similarity(one, self._embeddings[:1])  # raises where the query does not fit
        candidates = self._find_candidates(one, k)
        similarities = similarity(one, self._embeddings[candidates])
        best = top_k(similarities, k)
        matches = self._frames.iloc[candidates[best]].reset_index(drop=True)
        matches["similarity"] = similarities[best].astype(np.float64)
        matches = matches.merge(self._read_pictures(matches), how="left")
        matches.insert(0, "rank", np.arange(1, len(matches) + 1))
        return matches

    def _find_candidates(self, query: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.intp]:
        """Find, in order, the positions of all frames that may be among the best k.

        A matrix product is several times faster than `similarity`, but it gives equal rows different values,
        by an error of d * 2^-24 at most for rows of unit length, as `similarity` has too.
        """
        if k == 0:
            return np.zeros(0, dtype=np.intp)
        count, dimension = self._embeddings.shape
        step = (
            count if self._embeddings.dtype == np.float32 else CHUNK_SIZE
        )  # one product is faster than many
        products = np.empty(count, dtype=np.float32)
        for start in range(0, count, step):
            chunk = self._embeddings[start : start + step].astype(np.float32, copy=False)
            np.matmul(chunk, query, out=products[start : start + step])
        error = 2 * dimension * 2.0**-24 * np.linalg.norm(query)
        lowest = np.partition(products, -k)[-k] - 2 * error
        return np.flatnonzero(products >= lowest)
