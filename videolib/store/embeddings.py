"""Embeddings without their pictures: all of a video's, some at a time, and a fair sample of a store's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import and_, or_, select

from videolib.search import spread_evenly
from videolib.store.connection import retried
from videolib.store.reading import INDEX_BATCH_SIZE, Reading, within
from videolib.store.schema import FRAMES
from videolib.types import FloatArray

VIDEOS_PER_STATEMENT = 50


class Embedded(Reading):
    """The methods of a store that read embeddings alone."""

    def read_embeddings(
        self, video_id: str, *, start_seconds: float | None = None, end_seconds: float | None = None
    ) -> Iterator[FloatArray]:
        """Read a video's embeddings in order, (m, d) float32 at a time, in flat memory.

        Parameters
        ----------
        start_seconds, end_seconds
            Read those of frames with start_seconds <= timestamp_seconds < end_seconds only.

        Raises
        ------
        StoreError
            If the video is not in the store.
        """
        after = 0
        columns = [FRAMES.c.frame_number, FRAMES.c.embedding_data]
        span = within(start_seconds, end_seconds)
        while not (batch := self._read_batch(video_id, after, columns, INDEX_BATCH_SIZE, span)).empty:
            yield np.stack(list(batch["embedding_data"]))
            after = int(batch["frame_number"].iloc[-1])

    def sample_embeddings(self, n: int = 1000, *, video_id: str | None = None) -> FloatArray:
        """Read a fair sample of the embeddings: every so many-th of all frames, in the order of video_id and time.

        The same store gives the same sample, on every database and from `FrameIndex`. It is what `combine`
        standardizes by where nobody wants to read a whole store.

        Parameters
        ----------
        n
            How many at most: all of them where there are fewer.
        video_id
            Sample this video only.

        Returns
        -------
        (m, d) float32.

        Raises
        ------
        ValueError
            If n is no whole number above 0.
        StoreError
            If the video is not in the store.
        """
        videos = self.list_videos()
        if video_id is None:
            videos = videos[videos["latest"].astype(bool)]
        else:
            videos = videos[videos["video_id"] == video_id]
            if videos.empty:
                self.read_frame_numbers(video_id)  # says that it is not there
        videos = videos.sort_values("video_id", ignore_index=True)
        counts = videos["frame_count"].to_numpy(np.int64)
        places = spread_evenly(int(counts.sum()), n)
        ends = np.cumsum(counts)
        which = np.searchsorted(ends, places, side="right")
        wanted = {}
        for place in np.unique(which):
            video = videos.iloc[place]
            offsets = places[which == place] - (ends - counts)[place]
            is_whole = video["frame_count"] == video["last_frame_number"]  # frames are counted from 1
            numbers = offsets + 1 if is_whole else self.read_frame_numbers(video["video_id"])[offsets]
            wanted[str(video["video_id"])] = numbers
        rows = self._read_some(wanted)
        if rows.empty:
            return np.zeros((0, int(videos["dimension"].max()) if len(videos) else 0), dtype=np.float32)
        rows = rows.sort_values(["video_id", "frame_number"])
        return np.stack(list(rows["embedding_data"]))

    @retried
    def _read_some(self, wanted: dict[str, npt.NDArray[np.int64]]) -> pd.DataFrame:
        """Read video_id, frame_number and embedding_data of the frames of these numbers, by video_id."""
        columns = [FRAMES.c.video_id, FRAMES.c.frame_number, FRAMES.c.embedding_data]
        conditions = [
            and_(FRAMES.c.video_id == video_id, FRAMES.c.frame_number.in_(numbers.tolist()))
            for video_id, numbers in wanted.items()
        ]
        parts = [pd.DataFrame(columns=[column.name for column in columns])]
        with self._begin() as connection:
            for start in range(0, len(conditions), VIDEOS_PER_STATEMENT):
                some = select(*columns).where(or_(*conditions[start : start + VIDEOS_PER_STATEMENT]))
                parts.append(self._database.read(connection, self._database.rows_first(some)))
        return pd.concat(parts[1:] or parts, ignore_index=True)
