"""`FrameIndex`: embeddings in memory, searched at memory bandwidth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.errors import StoreError
from videolib.search.matches import make_matches
from videolib.search.similarities import check_k, similarity, spread_evenly, top_k
from videolib.types import FloatArray

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

    def list_videos(self) -> pd.DataFrame:
        """List the videos whose frames are in it: columns video_id, frame_count, last_frame_number and latest,
        which all of them are here."""
        frames = self._frames.groupby("video_id")["frame_number"]
        return frames.agg(frame_count="count", last_frame_number="max").reset_index().assign(latest=True)

    def read_embeddings(self, video_id: str) -> Iterator[FloatArray]:
        """Give a video's embeddings in order, (m, d) float32 at a time, as `FrameStore.read_embeddings` does."""
        first, end = self._span(video_id)
        for start in range(first, end, CHUNK_SIZE):
            yield self._embeddings[start : min(start + CHUNK_SIZE, end)].astype(np.float32, copy=False)

    def sample_embeddings(self, n: int = 1000, *, video_id: str | None = None) -> FloatArray:
        """Give the same fair sample as `FrameStore.sample_embeddings`: (m, d) float32."""
        first, end = (0, len(self)) if video_id is None else self._span(video_id)
        sample: FloatArray = self._embeddings[first + spread_evenly(end - first, n)].astype(np.float32)
        return sample

    def _span(self, video_id: str) -> tuple[int, int]:
        """Where a video's rows begin and end: they are in order."""
        ids = self._frames["video_id"]
        first, end = (int(ids.searchsorted(video_id, side=side)) for side in ("left", "right"))
        if first == end:
            raise StoreError(f"video_id must be of a video in the index, got {video_id!r}: see list_videos()")
        return first, end
