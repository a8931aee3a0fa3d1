"""A video's file that was moved: where it is now."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import select, update

from videolib.addresses import is_address, local_path, printable
from videolib.content import content_digest
from videolib.errors import StoreError, VideoReadError
from videolib.store.connection import Connected, retried
from videolib.store.schema import VIDEOS
from videolib.store.videos import require_videos


class Relocating(Connected):
    """The method of a store that tells it where a file is now."""

    def relocate_video(self, video_id: str, path: str | os.PathLike[str]) -> None:
        """Record where a video's file is now, after it was moved or renamed; its title stays.

        All samplings of the video are mended. What is played, cut or joined is looked for there from now on.

        Parameters
        ----------
        video_id
            Of the video, at any of its samplings.
        path
            The file. Its content must be what was ingested: a copy will do, another encoding of the same will not.

        Raises
        ------
        ValueError
            If path is an address.
        VideoReadError
            If there is no such file.
        StoreError
            If the video is not in the store, or the file is another video.
        """
        if is_address(path):
            raise ValueError("path must be a local file, got an address: ingest the video from there again")
        file = Path(os.path.abspath(local_path(path)))
        if not file.is_file():
            raise VideoReadError(f"{file} is not a file; check the path that the video was moved to")
        self._relocate(video_id, file, content_digest(file))

    @retried
    def _relocate(self, video_id: str, file: Path, content_id: str) -> None:
        with self._begin() as connection:
            require_videos(connection, video_id)
            names = select(VIDEOS.c.title, VIDEOS.c.content_id, VIDEOS.c.source)
            stored = connection.execute(names.where(VIDEOS.c.video_id == video_id)).one()
            if stored.content_id != content_id:
                other = connection.scalar(
                    select(VIDEOS.c.title).where(VIDEOS.c.content_id == content_id).limit(1)
                )
                known = "" if other is None else f", which is stored as {other!r}"
                raise StoreError(
                    f"path must be the file that {stored.title!r} ({video_id}) was ingested from, got other content in "
                    f"{os.fspath(file)!r} ({content_id}){known}; it was {stored.source}"
                )
            same = VIDEOS.c.content_id == content_id
            connection.execute(update(VIDEOS).where(same).values(source=printable(os.fspath(file))))
