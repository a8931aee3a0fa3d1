"""Curves of many videos at once: what moments and sequences are found in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import ColumnElement, Connection, FromClause, Label, Select, func, select, text, true

from videolib.search import LEAST_SPREAD, as_video_ids, check_k, standardize
from videolib.store.connection import retried
from videolib.store.pictures import fetch_pictures
from videolib.store.reading import MOST_ROWS, Condition, Reading, as_query, similarity_to, within
from videolib.store.schema import FRAME_KEYS, FRAMES, VIDEOS
from videolib.store.videos import choose_videos, warn_of_unfinished
from videolib.tables import FrameTable
from videolib.types import FloatArray


class Curves(Reading):
    """The methods of a store that `find_moments` and `find_sequences` need."""

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
        """Read the whole curves of the k videos that come nearest to a query: the k best moments lie in these.

        Parameters
        ----------
        query
            (d,) embedding, or (m, d) of several, of which the one that a video comes least near to counts.
        k, skip
            How many videos at most, after how many better ones.
        video_id
            This video only, or these.
        start_seconds, end_seconds
            Judge the videos by frames with start_seconds <= timestamp_seconds < end_seconds only.
        standardized
            Standardize the similarities over all frames that are searched, so that those of several queries can
            be compared.

        Returns
        -------
        Columns video_id, frame_number, timestamp_seconds, similarity (similarity_1, similarity_2, … of several
        queries), if standardized z_similarity, …, title, duration_seconds; the best video first, each in order
        of time.

        Raises
        ------
        ValueError
            If the query has a wrong shape or a value that is not finite, k is negative, or there is no video_id in
            a list.
        StoreError
            If a video is not in the store.
        """
        k = min(check_k(k), MOST_ROWS)
        ids, span = as_video_ids(video_id), within(start_seconds, end_seconds)
        queries = [as_query(one) for one in np.atleast_2d(np.asarray(query, dtype=np.float32))]
        names = (
            ["similarity"] if np.ndim(query) == 1 else [f"similarity_{n + 1}" for n in range(len(queries))]
        )
        best, curves, unfinished = self._best_curves(
            dict(zip(names, queries, strict=True)), k, skip, ids, span, standardized=standardized
        )
        warn_of_unfinished(unfinished, stacklevel=2)
        if standardized and len(best):
            for name in names:
                mean, square = best[f"mean_{name}"][0], best[f"square_{name}"][0]
                curves[f"z_{name}"] = standardize(curves[name], mean, np.sqrt(max(square - mean**2, 0.0)))
        order = {name: place for place, name in enumerate(best["video_id"])}
        return curves.sort_values(
            "video_id", key=lambda ids: ids.map(order), kind="stable", ignore_index=True
        )

    @retried
    def _best_curves(
        self,
        queries: dict[str, FloatArray],
        k: int,
        skip: int,
        video_ids: list[str] | None,
        span: list[Condition],
        *,
        standardized: bool,
    ) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
        """The best videos, their curves by the names of the queries, and which videos are not complete."""
        with self._begin() as connection:
            chosen = choose_videos(connection, video_ids)
            if chosen is None:
                none = pd.DataFrame(columns=["video_id", "frame_number", "timestamp_seconds", *queries])
                return none, none, []
            values = [similarity_to(one, chosen.model).label(name) for name, one in queries.items()]
            ranking = _best_videos(values, [*chosen.conditions, *span], standardized=standardized)
            best = self._database.read(connection, ranking.limit(k).offset(skip))
            names = best["video_id"].tolist()
            frames = select(*FRAME_KEYS, *values).where(FRAMES.c.video_id.in_(names))
            curves = self._database.read(
                connection, frames.order_by(FRAMES.c.video_id, FRAMES.c.frame_number)
            )
            about = select(VIDEOS.c.video_id, VIDEOS.c.title, VIDEOS.c.duration_seconds)
            videos = self._database.read(connection, about.where(VIDEOS.c.video_id.in_(names)))
            return best, curves.merge(videos, how="left", on="video_id"), chosen.unfinished

    @retried
    def add_embeddings(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add the column embedding_data to a table that has video_id and frame_number; missing where it is gone."""
        with self._begin() as connection:
            return self._with_column(connection, rows, FRAMES.c.embedding_data)

    @retried
    def add_pictures(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Add the column frame_data to a table that has video_id and frame_number; missing where it is gone."""
        with self._begin() as connection:
            rows = self._with_column(connection, rows, FRAMES.c.frame_data)
        return FrameTable(fetch_pictures(rows))

    def _with_column(
        self, connection: Connection, rows: pd.DataFrame, column: ColumnElement[Any]
    ) -> pd.DataFrame:
        found = self._select_column(connection, rows, column)
        rows = rows.drop(columns=str(column.key), errors="ignore")
        return rows.merge(found, how="left", on=["video_id", "frame_number"])


def _best_videos(
    values: list[Label[float]], conditions: list[ColumnElement[bool]], *, standardized: bool
) -> Select[Any]:
    """The videos by the least height of their curves, highest first, ties in the order of video_id.

    If standardized, beside mean_1, square_1, …, of all these frames, which are read once all the same.
    """
    frames = select(FRAMES.c.video_id, *values).where(*conditions).subquery("compared")
    curves = [frames.c[each.name] for each in values]
    sums = [func.count().label("frame_count"), *(func.max(each).label(f"top_{each.name}") for each in curves)]
    if standardized:
        sums += [func.sum(each).label(f"total_{each.name}") for each in curves]
        sums += [func.sum(each * each).label(f"squares_{each.name}") for each in curves]
    videos = select(frames.c.video_id, *sums).group_by(frames.c.video_id).cte("per_video")
    heights: list[ColumnElement[float]] = [videos.c[f"top_{each.name}"] for each in curves]
    columns: list[ColumnElement[Any]] = [videos.c.video_id]
    source: FromClause = videos
    if standardized:
        count = func.sum(videos.c.frame_count)
        means = [
            (func.sum(videos.c[f"total_{each.name}"]) / count).label(f"mean_{each.name}") for each in curves
        ]
        squares = [
            (func.sum(videos.c[f"squares_{each.name}"]) / count).label(f"square_{each.name}")
            for each in curves
        ]
        levels = select(*means, *squares).subquery("levels")
        columns += levels.c
        source = videos.join(levels, true())
        for n, each in enumerate(curves):
            mean, square = levels.c[f"mean_{each.name}"], levels.c[f"square_{each.name}"]
            heights[n] = (heights[n] - mean) / func.sqrt(func.greatest(square - mean * mean, LEAST_SPREAD**2))
    height = func.least(*heights) if len(heights) > 1 else heights[0]
    statement = select(*columns, height.label("height")).select_from(source)
    return statement.order_by(text("height DESC"), videos.c.video_id)
