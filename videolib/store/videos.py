"""Which videos a store holds, and which of them a search takes: those that are named, or the latest of each content."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Connection, Row, func, select

from videolib.errors import StoreError, name_some
from videolib.store.schema import FRAMES, VIDEOS, has_table

MOST_AT_ONCE = 500  # videos in one statement


@dataclass(frozen=True)
class ChosenVideos:
    """What a search takes: the conditions that leave it these frames alone, and what is told of their videos."""

    model: tuple[str, int]
    conditions: list[ColumnElement[bool]]
    titles: dict[str, str]
    unfinished: list[str]  # a few words for each video that is not complete


def choose_videos(connection: Connection, video_ids: list[str] | None) -> ChosenVideos | None:
    """Choose these videos, or of each content the one that was written last; None if nothing is stored.

    Raises
    ------
    StoreError
        If one of the videos is not in the store.
    """
    names = ("video_id", "content_id", "written_at", "title", "model", "dimension", "complete")
    rows = _select_videos(connection, names, video_ids)
    if not rows:
        return None
    if video_ids is not None:
        conditions = [is_among(FRAMES.c.video_id, video_ids)]
    else:
        latest = latest_ids(rows)
        older = [row.video_id for row in rows if row.video_id not in latest]
        rows = [row for row in rows if row.video_id in latest]
        conditions = [FRAMES.c.video_id.not_in(older)] if older else []
    titles = {row.video_id: row.title for row in rows}
    unfinished = {row.video_id: row.title for row in rows if not row.complete}
    return ChosenVideos(
        (rows[0].model, rows[0].dimension), conditions, titles, _describe_unfinished(connection, unfinished)
    )


def latest_ids(rows: Iterable[Any]) -> set[str]:
    """Find the video_id that was written last of each content, in rows of video_id, content_id and written_at."""
    order = sorted(rows, key=lambda row: (pd.notna(row.written_at), row.written_at, row.video_id))
    return set({row.content_id: row.video_id for row in order}.values())


def is_among(column: ColumnElement[str], video_ids: list[str]) -> ColumnElement[bool]:
    return column == video_ids[0] if len(video_ids) == 1 else column.in_(video_ids)


def _describe_unfinished(connection: Connection, titles: dict[str, str]) -> list[str]:
    if not titles:
        return []
    count = select(FRAMES.c.video_id, func.count(FRAMES.c.frame_number).label("frame_count"))
    rows = connection.execute(count.where(FRAMES.c.video_id.in_(titles)).group_by(FRAMES.c.video_id))
    counts = {row.video_id: row.frame_count for row in rows}
    return [
        describe_unfinished(video_id, title, counts.get(video_id, 0)) for video_id, title in titles.items()
    ]


def describe_unfinished(video_id: str, title: str, frame_count: int) -> str:
    return f"{title!r} ({video_id}, {frame_count:,} frames so far)"


def warn_of_unfinished(unfinished: list[str], *, stacklevel: int) -> None:
    """Warn the caller of a method of the store that it searched videos that are not complete."""
    if unfinished:
        warnings.warn(
            f"what is not complete is searched as it is: {name_some(unfinished)}; run ingest again",
            stacklevel=stacklevel + 1,
        )


def stored_model(connection: Connection) -> tuple[str, int] | None:
    """Name and dimension of the model whose embeddings are stored; None in an empty store."""
    if not has_table(connection, VIDEOS):
        return None
    row = connection.execute(select(VIDEOS.c.model, VIDEOS.c.dimension).limit(1)).one_or_none()
    return row and (row.model, row.dimension)


def describe_model(model: tuple[str, int]) -> str:
    return f"{model[0]!r} (dimension {model[1]})"


def require_videos(connection: Connection, *video_ids: str) -> tuple[str, int]:
    """Return the stored model; StoreError if one of the videos is not in the store."""
    row = _select_videos(connection, ("video_id", "model", "dimension"), list(video_ids))[0]
    return row.model, row.dimension


def group_videos(videos: pd.DataFrame, frame_count: int) -> Iterator[list[str]]:
    """Put videos, in the order of their video_id, into groups that have so many frames at most, or one video."""
    group: list[str] = []
    total = 0
    for video_id, count in sorted(zip(videos["video_id"], videos["frame_count"], strict=True)):
        if group and (total + count > frame_count or len(group) == MOST_AT_ONCE):
            yield group
            group, total = [], 0
        group.append(video_id)
        total += count
    yield group


def _select_videos(
    connection: Connection, names: Iterable[str], video_ids: list[str] | None
) -> list[Row[Any]]:
    """Read these columns of these videos, or of all; StoreError if one of the videos is not in the store."""
    statement = select(*(VIDEOS.c[name] for name in names))
    if video_ids is not None:
        statement = statement.where(VIDEOS.c.video_id.in_(video_ids))
    rows = list(connection.execute(statement)) if has_table(connection, VIDEOS) else []
    if missing := set(video_ids or []) - {row.video_id for row in rows}:
        raise StoreError(f"video_id must be of a video in the store, got {min(missing)!r}: see list_videos()")
    return rows
