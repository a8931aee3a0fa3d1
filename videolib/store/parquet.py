"""`export_parquet` and `load_parquet`: a store as Parquet files, and many of them into one store, in bulk.

A folder has `videos/`, one file of one row for each video, and `frames/`, one for each `ROWS_PER_FILE` of its frames;
files of several stores may lie in one folder. An embedding is its bytes, little-endian, as SingleStore loads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from videolib.addresses import Secret, is_address
from videolib.errors import StoreError
from videolib.progress import tqdm
from videolib.store.connection import retried
from videolib.store.copying import record_row
from videolib.store.pictures import file_name_of, find_root, open_root, reason_of
from videolib.store.schema import DTYPES, FRAMES, ElementType
from videolib.store.store import FrameStore

ROWS_PER_FILE = 5000  # some 60 MB with their pictures, which is what is in memory


def export_parquet(
    store: FrameStore,
    folder: str | os.PathLike[str],
    *,
    element_type: ElementType = "F32",
    progress: bool = True,
) -> None:
    """Write all videos and frames of a store to Parquet files, for `load_parquet` and for any program that reads such.

    Exporting again writes the same files. Pictures that lie outside the database stay there: the files have their
    addresses.

    Parameters
    ----------
    folder
        A folder, or an address such as ``s3://bucket/export``, as `FrameStore` takes it for pictures.
    element_type
        What the embeddings' numbers are: that of the SingleStore store that is to load them.
    progress
        Show a progress bar, in a notebook or a terminal.

    Raises
    ------
    ValueError
        If folder or element_type is none.
    StoreError
        If nothing can be written there.
    """
    if element_type not in DTYPES:
        raise ValueError(f"element_type must be {' or '.join(DTYPES)}, got {element_type!r}")
    files = _Files(folder)
    videos = store.list_videos()
    with tqdm(total=int(videos["frame_count"].sum()), unit="frame", disable=not progress) as bar:
        for video in videos.assign(element_type=element_type).to_dict("records"):
            name, after = file_name_of(video["video_id"]), 0
            while True:
                frames = store._read_batch(video["video_id"], after, FRAMES.columns, ROWS_PER_FILE)
                if frames.empty:
                    break
                first, after = int(frames["frame_number"].iloc[0]), int(frames["frame_number"].iloc[-1])
                embeddings = np.stack(list(frames["embedding_data"])).astype(DTYPES[element_type])
                files.write(
                    f"frames/{name}-{first:08d}.parquet",
                    frames.assign(embedding_data=[row.tobytes() for row in embeddings]),
                )
                bar.update(len(frames))
            files.write(f"videos/{name}.parquet", pd.DataFrame([video]))


def load_parquet(
    folder: str | os.PathLike[str],
    store: FrameStore,
    *,
    link: str | None = None,
    config: Mapping[str, Any] | None = None,
    credentials: Mapping[str, str] | None = None,
    progress: bool = True,
) -> None:
    """Load what `export_parquet` wrote, of one store or of many, such as those of the workers of a large ingest.

    The rows are those that INSERT would give, and loading again changes nothing. A DuckDB store reads the files
    itself, each all or none. SingleStore reads the frames by itself, with one ``LOAD DATA``: they must be at an
    address ``s3://…`` that it reaches. Pictures stay as the files have them, in them or outside.

    Parameters
    ----------
    folder
        Where they were exported to.
    link
        The name of a link to the storage (``CREATE LINK``), which keeps the keys in SingleStore.
    config, credentials
        Without a link, what SingleStore takes as CONFIG, such as ``{"region": "us-east-1"}``, and as CREDENTIALS, such
        as ``{"aws_access_key_id": "…", "aws_secret_access_key": "…"}``.
    progress
        Show a progress bar, in a notebook or a terminal.

    Raises
    ------
    ValueError
        If folder is none, or SingleStore is to load from where it cannot.
    StoreError
        If there is nothing to load, a file cannot be read, frames are missing, or the store holds another model's
        embeddings.
    """
    credentials = {name: Secret(value) for name, value in (credentials or {}).items()}
    files = _Files(folder)
    videos = [files.read(path).to_dict("records")[0] for path in files.find("videos")]
    if not videos:
        raise StoreError(
            f"folder must have what export_parquet writes, got {files.root} without videos/*.parquet"
        )
    for video in sorted(videos, key=lambda each: bool(each["latest"])):
        _write_video(store, video)
    paths, types = files.find("frames"), {video["video_id"]: video["element_type"] for video in videos}
    with tqdm(total=len(paths), unit="file", disable=not progress) as bar:
        is_loaded = _load_frames(
            store, files.root, set(types.values()), link=link, config=config or {}, credentials=credentials
        )
        for path in paths:
            if not is_loaded:
                store._write_frames(_read_frames(files, path, types))
            bar.update()
    _complete(store, videos)


class _Files:
    """A folder of Parquet files, read and written by DuckDB, which needs no other package for it."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.root = find_root(Secret(os.fspath(folder)), name="folder")
        if re.search(r"[*?\[]", self.root):  # DuckDB takes it for a pattern
            raise ValueError(f"folder must have a name without any of * ? [, got {self.root!r}")
        self._system, self._path = open_root(self.root)
        self._connection = duckdb.connect()
        if is_address(self.root):
            self._connection.register_filesystem(self._system)

    def find(self, kind: str) -> list[str]:
        paths = sorted(self._system.glob(f"{self._path}/{kind}/*.parquet"))
        return [self._system.unstrip_protocol(path) if is_address(self.root) else path for path in paths]

    def read(self, path: str) -> pd.DataFrame:
        try:
            return self._connection.execute("SELECT * FROM read_parquet(?)", [path]).df()
        except (duckdb.Error, OSError) as error:
            raise StoreError(f"{path} cannot be read: {reason_of(error)}; export it again") from error

    def write(self, name: str, rows: pd.DataFrame) -> None:
        path = f"{self.root}/{name}"
        try:
            if not self._system.async_impl:
                self._system.makedirs(f"{self._path}/{name.partition('/')[0]}", exist_ok=True)
            self._connection.register("rows", rows)
            quoted = path.replace("'", "''")
            self._connection.execute(f"COPY (FROM rows) TO '{quoted}' (FORMAT parquet)")
        except (duckdb.Error, OSError) as error:
            raise StoreError(f"{path} cannot be written: {reason_of(error)}") from error


@retried
def _load_frames(store: FrameStore, /, folder: str, element_types: set[ElementType], **options: Any) -> bool:
    with store._begin() as connection:
        return store._database.load_frames(connection, folder, element_types, **options)


def _read_frames(files: _Files, path: str, types: Mapping[str, ElementType]) -> pd.DataFrame:
    """Read a file as `write_frames` takes it; StoreError if it is not one of these videos."""
    frames = files.read(path)
    try:
        (element_type,) = {types[video_id] for video_id in frames["video_id"].unique()}
        stored = np.frombuffer(b"".join(frames["embedding_data"]), DTYPES[element_type])
        embeddings = stored.reshape(len(frames), -1).astype(np.float32)
        jpegs = pd.Series([bytes(data) for data in frames["frame_data"]], dtype=object)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} must be frames as export_parquet writes them: export it again") from error
    return frames.assign(embedding_data=list(embeddings), frame_data=jpegs)


def _write_video(store: FrameStore, row: dict[Hashable, Any]) -> None:
    video_id = record_row(store, row)
    if video_id != row["video_id"]:
        raise StoreError(
            f"video_id must be free, or of the same sampling, got {row['video_id']!r}, which the store has "
            f"as {video_id!r}: delete_video that first, or load into a store of its own and call copy_videos"
        )


def _complete(store: FrameStore, videos: list[dict[Hashable, Any]]) -> None:
    stored = store.list_videos().set_index("video_id")
    for video in videos:
        count, is_complete = stored.loc[video["video_id"], ["frame_count", "complete"]]
        if count < video["frame_count"]:
            raise StoreError(
                f"folder must have all frames of {video['video_id']!r}, got {count} of {video['frame_count']}: export "
                "it again"
            )
        if video["complete"] and not is_complete:
            store.mark_complete(video["video_id"])
