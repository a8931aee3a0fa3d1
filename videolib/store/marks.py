"""What people marked: which moments are right or wrong for a description, and in which videos it is not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from sqlalchemy import Connection, delete, or_, select

from videolib.addresses import printable
from videolib.errors import StoreError
from videolib.search import as_marks
from videolib.store.connection import Connected, retried
from videolib.store.schema import MARKS, VIDEOS, create_marks, has_marks, has_table

KEYS_PER_STATEMENT = 1000


class Marking(Connected):
    """The methods of a store that keep marks."""

    def write_marks(self, marks: pd.DataFrame | Iterable[Mapping[str, Any]], *, who: str = "") -> None:
        """Keep marks, all or none: what is right or wrong for a description, and what is not in a video at all.

        A mark of a span says that what is described is seen there, or that it is not. Without a span it is of the
        whole video: right says that the video is one of those looked for, wrong that the description is nowhere
        in it. A mark is of a video's content, so it counts for all samplings of it. One that the same person made of
        the same span is replaced.

        Parameters
        ----------
        marks
            A table, or one mapping for each mark: query (the description), video_id, right (True or False);
            start_seconds and end_seconds, both or neither; who and written_at (UTC), where they are known.
        who
            Who made them, where the marks do not tell.

        Raises
        ------
        ValueError
            If a column is missing, or a value is not what it must be.
        StoreError
            If a video is not in the store.
        """
        rows = as_marks(marks)
        now = (
            pd.Timestamp(datetime.now(UTC).replace(tzinfo=None)).as_unit("us").floor("ms")
        )  # what JSON keeps
        rows["who"] = rows["who"].where(rows["who"] != "", who)
        rows["written_at"] = rows["written_at"].fillna(now)
        self._write_marks(as_marks(rows))

    @retried
    def _write_marks(self, rows: pd.DataFrame, *, are_copied: bool = False) -> None:
        """Write checked marks. Of copied ones the video may be deleted, and what is there already is left as it is."""
        if rows.empty:
            return
        with self._begin(creates=are_copied) as connection:
            rows = _of_contents(connection, rows, must_exist=not are_copied)
            for name in ("query", "video_id", "who"):
                rows[name] = rows[name].map(printable)
            rows = rows.assign(mark_id=mark_ids(rows)).drop_duplicates("mark_id", keep="last")
            if are_copied and has_marks(connection):
                rows = rows[~rows["mark_id"].isin(connection.scalars(select(MARKS.c.mark_id)).all())]
            if rows.empty:
                return
            create_marks(connection)
            rows = rows.rename(columns={"right": "is_right"})[[column.name for column in MARKS.columns]]
            self._database.upsert(connection, MARKS, rows.astype(object).where(rows.notna(), None))

    @retried
    def read_marks(self, *, query: str | None = None, video_id: str | None = None) -> pd.DataFrame:
        """Read the marks of all descriptions and videos, or of one; none where nobody has made any.

        Returns
        -------
        Columns query, video_id, start_seconds and end_seconds (NaN of a whole video), right, who, written_at (UTC); in
        the order of query, video_id and time. The video_id is that of the content, the content_id of
        `list_videos`; marks of a video that was deleted are among them.
        """
        with self._begin() as connection:
            if not has_marks(connection):
                return as_marks([])
            statement = select(*(column for column in MARKS.columns if not column.primary_key))
            if video_id is not None:
                content = connection.scalar(select(VIDEOS.c.content_id).where(VIDEOS.c.video_id == video_id))
                statement = statement.where(MARKS.c.video_id == (content or video_id))
            rows = self._database.read(connection, statement).rename(columns={"is_right": "right"})
        if query is not None:  # here, because databases differ in what they take for the same text
            rows = rows[rows["query"] == query.strip()]
        by = ["query", "video_id", "start_seconds", "end_seconds", "who"]
        return as_marks(rows).sort_values(by, ignore_index=True, na_position="first")

    @retried
    def delete_marks(self, marks: pd.DataFrame) -> None:
        """Delete these marks, rows of `read_marks`; what is not there is passed over."""
        with self._begin() as connection:
            if has_marks(connection) and len(marks):
                ids = mark_ids(_of_contents(connection, as_marks(marks), must_exist=False)).tolist()
                for start in range(0, len(ids), KEYS_PER_STATEMENT):
                    some = ids[start : start + KEYS_PER_STATEMENT]
                    connection.execute(delete(MARKS).where(MARKS.c.mark_id.in_(some)))


def mark_ids(marks: pd.DataFrame) -> pd.Series[str]:
    """What tells marks apart: who says it of which description, video and span; not what is said."""
    names = ["query", "video_id", "start_seconds", "end_seconds", "who"]
    keys = [json.dumps(key) for key in marks[names].itertuples(index=False, name=None)]
    return pd.Series([hashlib.sha256(key.encode()).hexdigest()[:32] for key in keys], marks.index, dtype=str)


def _of_contents(connection: Connection, rows: pd.DataFrame, *, must_exist: bool) -> pd.DataFrame:
    """Give marks the id of their video's content; StoreError if one must be in the store and is not."""
    ids = rows["video_id"].unique().tolist()
    contents = {}
    if has_table(connection, VIDEOS):
        of_these = or_(VIDEOS.c.video_id.in_(ids), VIDEOS.c.content_id.in_(ids))
        for row in connection.execute(select(VIDEOS.c.video_id, VIDEOS.c.content_id).where(of_these)):
            contents[row.content_id] = contents[row.video_id] = row.content_id
    if must_exist and (missing := sorted(set(ids) - set(contents))):
        raise StoreError(
            f"video_id must be of a video in the store, got {missing[0]!r}: see list_videos(), or ingest it first"
        )
    return rows.assign(video_id=[contents.get(each, each) for each in rows["video_id"]])
