"""`copy_videos`: from one store to another, bit for bit."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from videolib.progress import tqdm
from videolib.store.store import FrameStore
from videolib.types import Video


def copy_videos(from_store: FrameStore, to_store: FrameStore, *, progress: bool = True) -> None:
    """Copy all videos with their frames, such as from a DuckDB file to SingleStore, or back.

    What is there already is left as it is, and an interrupted copy is resumed. A video at several samplings is
    copied with all of them, and the latest stays the latest.

    Parameters
    ----------
    from_store, to_store
        Where the videos are, and where they go.
    progress
        Show a progress bar, in a notebook or a terminal.

    Raises
    ------
    StoreError
        If `to_store` holds another model's embeddings.
    """
    videos = from_store.list_videos()
    with tqdm(total=int(videos["frame_count"].sum()), unit="frame", disable=not progress) as bar:
        for row in videos.sort_values("latest", kind="stable").to_dict("records"):
            video = Video(**{field.name: row[field.name] for field in fields(Video)})
            bar.set_description(video.title)
            names = ("model", "dimension", "every_seconds", "sampling", "content_id")
            video_id = to_store.write_video(video, **{name: row[name] for name in names})
            missing = np.setdiff1d(
                from_store.read_frame_numbers(video.video_id), to_store.read_frame_numbers(video_id)
            )
            bar.update(row["frame_count"] - len(missing))
            if len(missing):
                for batch in from_store.read_batches(video.video_id, after=int(missing[0]) - 1):
                    new = batch[batch["frame_number"].isin(missing)]
                    to_store.write_frames(new.assign(video_id=video_id))
                    bar.update(len(new))
            if row["complete"]:
                to_store.mark_complete(video_id)
