"""How a store is written to: videos, their frames, and what is deleted."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Connection, delete, func, select, update

from videolib.addresses import printable
from videolib.errors import StoreError
from videolib.store.connection import Connected, retried
from videolib.store.pictures import (
    ADDRESS_BYTES,
    MARK,
    delete_pictures,
    is_outside,
    video_folder,
    write_pictures,
)
from videolib.store.schema import FRAMES, VIDEOS, Vector, create_tables
from videolib.store.videos import describe_model, latest_ids, require_videos, stored_model
from videolib.types import Sampling, Video

USUAL_DIMENSION = 512  # of embeddings, where nothing is stored yet


class Writing(Connected):
    """The methods of a store that change what is in it."""

    @retried
    def write_video(
        self,
        video: Video,
        *,
        model: str,
        dimension: int,
        every_seconds: float,
        sampling: Sampling = "interval",
        content_id: str | None = None,
    ) -> str:
        """Record a video at one sampling, before its frames; one that is there gets only its new source and title.

        Parameters
        ----------
        video
            As `probe_video` describes it.
        model, dimension
            Name of the encoder, and the length of its embeddings.
        every_seconds, sampling
            How the frames are chosen, as `extract_frames` takes it.
        content_id
            What all samplings of a video have in common; by default that of the stored video_id, or the video_id.

        Returns
        -------
        The video_id of its frames: the video's own, or where that stands for another sampling of it one that
        tells this one, such as ``…@0.5s`` or ``…@shots-1s``.

        Raises
        ------
        StoreError
            If the store holds another model's embeddings.
        """
        title, source, model = map(printable, (video.title, video.source, model))
        with self._begin(creates=True) as connection:
            stored = stored_model(connection)
            if stored not in (None, (model, dimension)):
                raise StoreError(
                    f"model must be {describe_model(stored)}, whose embeddings this store holds, got "
                    f"{describe_model((model, dimension))}: use another store for another model, or call delete_video "
                    "for every video here first"
                )
            if stored is None:
                create_tables(
                    connection, self._database.upsert, Vector(dimension, self._element_type or "F32")
                )
            how = {"every_seconds": every_seconds, "sampling": sampling}
            of_id = select(VIDEOS.c.content_id).where(VIDEOS.c.video_id == video.video_id)
            content = content_id or connection.scalar(of_id) or video.video_id
            video_id, is_new = _find_row(connection, video.video_id, content, every_seconds, sampling)
            if is_new:
                row = asdict(video) | how | {"title": title, "source": source, "model": model}
                row |= {"dimension": dimension, "complete": False, "written_at": None}
                row |= {"video_id": video_id, "content_id": content}
                self._database.upsert(connection, VIDEOS, pd.DataFrame([row]))
            # What is right already is not written again: the store may be one that may only be read.
            rows = connection.execute(select(VIDEOS).where(VIDEOS.c.content_id == content)).all()
            if any((each.title, each.source) != (title, source) for each in rows):
                moved = update(VIDEOS).where(VIDEOS.c.content_id == content)
                connection.execute(moved.values(title=title, source=source))
            if is_new or video_id not in latest_ids(rows):
                now = datetime.now(UTC).replace(tzinfo=None)
                connection.execute(update(VIDEOS).where(VIDEOS.c.video_id == video_id).values(written_at=now))
            return video_id

    def write_frames(self, frames: pd.DataFrame) -> None:
        """Write frames, all or none; a row of the same video_id and frame_number is replaced.

        Where pictures lie outside they are written before the rows: what is broken off leaves files without a row
        at most, which the next try takes, or `delete_video` deletes.

        Parameters
        ----------
        frames
            Columns video_id, frame_number, timestamp_seconds, embedding_data ((d,) float32, unit length)
            and frame_data (JPEG bytes), of videos that were written before.

        Raises
        ------
        ValueError
            If a column is missing, or an embedding has another dimension or not unit length.
        StoreError
            If a video is not in the store, or its pictures cannot be written.
        """
        names = [column.name for column in FRAMES.columns]
        if missing := [name for name in names if name not in frames]:
            raise ValueError(
                f"frames must have the columns {', '.join(names)}; missing: {', '.join(missing)}"
            )
        if frames.empty:
            return
        if any(map(is_outside, frames["frame_data"])):
            raise ValueError(
                f"frame_data must be pictures, got an address as a store keeps it ({MARK.decode()}…): take read_frames"
            )
        self._write_frames(frames if self.pictures is None else write_pictures(self.pictures, frames))

    @retried
    def _write_frames(self, frames: pd.DataFrame) -> None:
        with self._begin() as connection:
            model = require_videos(connection, *frames["video_id"].unique())
            _check_embeddings(frames["embedding_data"], model)
            self._database.upsert(connection, FRAMES, frames)

    @retried
    def mark_complete(self, video_id: str) -> None:
        """Record that all frames of a video are written; StoreError if it is not in the store."""
        with self._begin() as connection:
            require_videos(connection, video_id)
            connection.execute(update(VIDEOS).where(VIDEOS.c.video_id == video_id).values(complete=True))

    def delete_video(self, video_id: str) -> None:
        """Delete a video and its frames, with pictures outside; StoreError if it is not in the store.

        What people marked in it stays, for when it is ingested again; `delete_marks` deletes that, too.
        """
        self._check_video(video_id)
        folders = self._find_folders(video_id)
        self._delete_video(video_id)
        delete_pictures(folders)  # only now: a row never lacks its picture

    @retried
    def _check_video(self, video_id: str) -> None:
        with self._begin() as connection:
            require_videos(connection, video_id)

    @retried
    def _find_folders(self, video_id: str) -> list[str]:
        """Find the folders in which a video has pictures, mostly one or none; the rows are not brought here."""
        folders: list[str] = []
        with self._begin() as connection:
            data = FRAMES.c.frame_data
            rest = (
                select(data)
                .where(FRAMES.c.video_id == video_id, data >= MARK, data < MARK + b"\xff")
                .limit(1)
            )
            while (found := connection.scalar(rest)) is not None:
                folders.append(video_folder(bytes(found), video_id))
                start = MARK + folders[-1].encode() + b"/"
                rest = rest.where((data < start) | (data >= start + b"\xff"))
        return folders

    @retried
    def _delete_video(self, video_id: str) -> None:
        with self._begin() as connection:
            for table in (FRAMES, VIDEOS):
                connection.execute(delete(table).where(table.c.video_id == video_id))

    @retried
    def compact(self) -> None:
        """Make a DuckDB file as small as what is in it: rows that were replaced or deleted take room until then.

        Nobody else can use the file meanwhile, and the disk must have room for a copy. Other tables in it are
        kept, too. SingleStore does so by itself.
        """
        with self._begin():
            pass  # it can be read, and no newer version has written it
        with self._explained("be compacted"):
            self._database.compact(self.engine.url)

    @retried
    def check_room(self, frame_count: int, *, frame_bytes: int = 12_000) -> int:
        """Estimate the bytes that more frames will take, and check that they fit SingleStore's free shared tier.

        Parameters
        ----------
        frame_count
            How many frames are to be written.
        frame_bytes
            Bytes of one frame, picture and embedding; where frames are stored already, their mean counts, and where
            pictures lie outside, the embedding alone.

        Raises
        ------
        StoreError
            If the database is one of the free shared tier, whose limit of 1 GB the frames would exceed.
        """
        if self.pictures is not None:
            frame_bytes = 4 * USUAL_DIMENSION + ADDRESS_BYTES
        if not self._exists():
            return frame_count * frame_bytes
        with self._begin() as connection:
            stored = stored_bytes = 0
            if stored_model(connection) is not None:
                stored = connection.scalar(select(func.count()).select_from(FRAMES)) or 0
            if stored:
                some = self._database.read(connection, select(FRAMES).limit(20))
                stored_bytes = stored * mean_bytes(some)
                if is_outside(some["frame_data"].iloc[0]) == (self.pictures is not None):
                    frame_bytes = mean_bytes(some)
            more = frame_count * frame_bytes
            limit = self._database.size_limit(connection)
            free = math.inf if limit is None else max(0, limit - stored_bytes)
            if more > free:
                raise StoreError(
                    f"{self!r} is of the free shared tier, which holds 1 GB: {frame_count:,} more frames take about "
                    f"{more / 1e6:,.0f} MB, and about {free / 1e6:,.0f} MB are free: sample less often, "
                    "delete videos, or use another store"
                )
            return more


def _find_row(
    connection: Connection, video_id: str, content_id: str, every_seconds: float, sampling: Sampling
) -> tuple[str, bool]:
    """Find the video_id of a content at exactly this sampling, or a free one; and tell whether it is new."""
    this_one = (VIDEOS.c.content_id == content_id) & (VIDEOS.c.sampling == sampling)
    known = select(VIDEOS.c.video_id).where(this_one, VIDEOS.c.every_seconds == every_seconds)
    if found := connection.scalar(known.limit(1)):
        return str(found), False
    seconds = f"{repr(float(every_seconds)).removesuffix('.0')}s"
    derived = f"{content_id}@{seconds if sampling == 'interval' else f'{sampling}-{seconds}'}"
    taken = connection.scalars(
        select(VIDEOS.c.video_id).where(VIDEOS.c.video_id.in_([video_id, derived]))
    ).all()
    free = [each for each in (video_id, derived) if each not in taken]
    if not free:
        raise StoreError(
            f"video_id must be free for this sampling, got {derived!r}, which another video has: delete_video it first"
        )
    return free[0], True


def _check_embeddings(embeddings: pd.Series[Any], model: tuple[str, int]) -> None:
    shapes = {np.shape(embedding) for embedding in embeddings}
    if shapes != {(model[1],)}:
        raise ValueError(
            f"embedding_data must fit the store's model, {describe_model(model)}, got shapes {shapes}"
        )
    lengths = np.linalg.norm(np.stack(list(embeddings)), axis=1)
    if not np.allclose(lengths, 1, atol=1e-3):  # NaN fails too
        raise ValueError(
            f"embedding_data must have unit length, got lengths from {lengths.min():.3g} to "
            f"{lengths.max():.3g}: call normalize first"
        )


def mean_bytes(frames: pd.DataFrame, *, outside: bool = False) -> int:
    """Bytes that a frame takes in a store, by the mean of these: its picture, or address, and its embedding."""
    picture = ADDRESS_BYTES if outside else round(frames["frame_data"].map(len).mean())
    return picture + 4 * len(frames["embedding_data"].iloc[0])
