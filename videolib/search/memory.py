"""`FrameIndex`: embeddings in memory, searched at memory bandwidth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from videolib.errors import StoreError
from videolib.search.matches import as_video_ids, make_matches
from videolib.search.similarities import (
    check_k,
    normalize,
    similarity,
    spread_evenly,
    standardize,
    top_k,
)
from videolib.tables import FrameTable
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
        Reads columns video_id, frame_number and frame_data of some of the frames.
    videos
        Columns video_id, title and duration_seconds of the videos, which curves and moments tell.
    """

    def __init__(
        self,
        frames: pd.DataFrame,
        embeddings: npt.NDArray[Any],
        read_pictures: Callable[[pd.DataFrame], pd.DataFrame],
        videos: pd.DataFrame | None = None,
    ):
        self._frames = frames
        self._embeddings = embeddings
        self._read_pictures = read_pictures
        ids = frames["video_id"].to_numpy()
        starts = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1)] if len(ids) else []
        ends = [*starts[1:], len(ids)]
        self._rows = {ids[start]: slice(start, end) for start, end in zip(starts, ends, strict=False)}
        columns = ["video_id", "title", "duration_seconds"]
        self._videos = pd.DataFrame(columns=columns) if videos is None else videos[columns]
        self._contents = pd.Series(dtype=object)
        if videos is not None and "content_id" in videos:
            self._contents = videos.set_index("video_id")["content_id"]

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
        similarities = self._compare(query)
        best = top_k(similarities, k)
        keys = self._frames.iloc[best]
        pictures = self._read_pictures(keys)
        titles = self._videos.set_index("video_id")["title"]
        return make_matches(keys, similarities[best], pictures.assign(title=pictures["video_id"].map(titles)))

    def mean_of_videos(self) -> FrameIndex:
        """Take the mean of each video's frames: an index with one embedding a video, of unit length.

        A search of it finds videos by what they show on the whole, not by their best frame; a match shows the frame
        that is nearest to the mean. It is the zero-shot baseline of video retrieval: Portillo-Quintero et al., A
        Straightforward Framework for Video Retrieval Using CLIP, https://arxiv.org/abs/2102.12443.
        """
        means, places = [], []
        for rows in self._rows.values():
            frames = self._embeddings[rows].astype(np.float32)  # (m, d)
            means.append(normalize(frames.mean(axis=0)))
            places.append(rows.start + int((frames @ means[-1]).argmax()))
        videos = self._videos.assign(content_id=self._videos["video_id"].map(self._contents))
        return FrameIndex(
            self._frames.iloc[places].reset_index(drop=True), np.stack(means), self._read_pictures, videos
        )

    def list_videos(self) -> pd.DataFrame:
        """List the videos whose frames are in it: columns video_id, content_id, frame_count, last_frame_number and
        latest, which all of them are here."""
        frames = self._frames.groupby("video_id")["frame_number"]
        videos = frames.agg(frame_count="count", last_frame_number="max").reset_index().assign(latest=True)
        contents = videos["video_id"].map(self._contents).fillna(videos["video_id"])
        return videos.assign(content_id=contents)

    def read_embeddings(
        self, video_id: str, *, start_seconds: float | None = None, end_seconds: float | None = None
    ) -> Iterator[FloatArray]:
        """Give a video's embeddings in order, (m, d) float32 at a time, as `FrameStore.read_embeddings` does."""
        (rows,) = self._rows_of(video_id)
        seconds = self._frames["timestamp_seconds"].to_numpy()[rows]
        low = -np.inf if start_seconds is None else start_seconds
        high = np.inf if end_seconds is None else end_seconds
        places = rows.start + np.flatnonzero((low <= seconds) & (seconds < high))
        for start in range(0, len(places), CHUNK_SIZE):
            yield self._embeddings[places[start : start + CHUNK_SIZE]].astype(np.float32, copy=False)

    def sample_embeddings(self, n: int = 1000, *, video_id: str | None = None) -> FloatArray:
        """Give the same fair sample as `FrameStore.sample_embeddings`: (m, d) float32."""
        rows = slice(0, len(self)) if video_id is None else self._rows_of(video_id)[0]
        places = rows.start + spread_evenly(rows.stop - rows.start, n)
        sample: FloatArray = self._embeddings[places].astype(np.float32)
        return sample

    def similarities(self, query: npt.ArrayLike, video_id: str) -> pd.DataFrame:
        """Compare a query with every frame of a video; the same curve as `FrameStore.similarities` gives.

        Raises
        ------
        ValueError
            If the query does not fit the embeddings or has a value that is not finite.
        StoreError
            If the video is not in the index.
        """
        (rows,) = self._rows_of(video_id)
        similarities = self._compare(query, rows).astype(float)
        return self._frames.iloc[rows].reset_index(drop=True).assign(similarity=similarities)

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
    ) -> pd.DataFrame:
        """Read the curves of the k videos that come nearest to a query, as `FrameStore.best_curves` does."""
        k, queries = check_k(k), np.atleast_2d(np.asarray(query, dtype=np.float32))  # (m, d)
        slices = list(self._rows.values()) if video_id is None else self._rows_of(video_id)
        seconds = self._frames["timestamp_seconds"].to_numpy()
        low = -np.inf if start_seconds is None else start_seconds
        high = np.inf if end_seconds is None else end_seconds
        curves = [
            np.concatenate([np.zeros(0, np.float32), *(self._compare(one, rows) for rows in slices)])
            for one in queries
        ]  # (m, n)
        ends = np.cumsum([rows.stop - rows.start for rows in slices], dtype=int)
        places = [slice(end - (rows.stop - rows.start), end) for rows, end in zip(slices, ends, strict=True)]
        inside = [(low <= seconds[rows]) & (seconds[rows] < high) for rows in slices]
        names = (
            ["similarity"] if np.ndim(query) == 1 else [f"similarity_{n + 1}" for n in range(len(queries))]
        )
        values = dict(zip(names, curves, strict=True))
        heights = list(values)
        if standardized:
            everywhere = np.concatenate([np.zeros(0, dtype=bool), *inside])
            for name, curve in zip(names, curves, strict=True):
                some = curve[everywhere]
                values[f"z_{name}"] = standardize(curve, some.mean(), some.std()) if len(some) else curve
            heights = [f"z_{name}" for name in names]
        judged = [n for n, each in enumerate(inside) if each.any()]
        tops = [min(values[name][places[n]][inside[n]].max() for name in heights) for n in judged]
        best = [judged[n] for n in np.argsort(-np.array(tops), kind="stable")[skip : skip + k]]
        tables = [
            self._frames.iloc[slices[n]].assign(**{name: each[places[n]] for name, each in values.items()})
            for n in best
        ]
        found = pd.concat(tables) if tables else self._frames.iloc[:0].assign(**dict.fromkeys(names, 0.0))
        return found.merge(self._videos, how="left", on="video_id")

    def add_embeddings(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add the column embedding_data to a table that has video_id and frame_number."""
        numbers = self._frames["frame_number"].to_numpy()
        found = []
        for video_id, number in zip(rows["video_id"], rows["frame_number"], strict=True):
            (place,) = self._rows_of(video_id)
            found.append(self._embeddings[place.start + np.searchsorted(numbers[place], number)])
        return rows.assign(embedding_data=pd.Series(found, index=rows.index, dtype=object))

    def add_pictures(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add the column frame_data to a table that has video_id and frame_number; missing where it is gone."""
        pictures = self._read_pictures(rows)
        rows = FrameTable(rows.drop(columns="frame_data", errors="ignore"))
        return rows.merge(pictures, how="left", on=["video_id", "frame_number"])

    def _rows_of(self, video_id: str | Sequence[str]) -> list[slice]:
        names = as_video_ids(video_id) or []
        if missing := set(names) - set(self._rows):
            raise StoreError(
                f"video_id must be of a video in the index, got {min(missing)!r}: see list_videos()"
            )
        return [self._rows[name] for name in sorted(names)]

    def _compare(self, query: npt.ArrayLike, rows: slice = slice(None)) -> FloatArray:
        one, embeddings = np.asarray(query, dtype=np.float32), self._embeddings[rows]
        steps = range(0, max(1, len(embeddings)), CHUNK_SIZE)
        return np.concatenate([similarity(one, embeddings[start : start + CHUNK_SIZE]) for start in steps])
