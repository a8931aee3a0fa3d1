"""`copy_videos`: from one store to another, bit for bit."""

from __future__ import annotations

from dataclasses import fields

from tqdm.auto import tqdm

from videolib.database import FrameStore
from videolib.frames import Video


def copy_videos(from_store: FrameStore, to_store: FrameStore, *, progress: bool = True) -> None:
    """Copy all videos with their frames, such as from a DuckDB file to SingleStore, or back.

    What is there already is left as it is, and an interrupted copy is gone on with.

    Parameters
    ----------
    from_store, to_store
        Where the videos are, and where they go.
    progress
        Show a progress bar, in a notebook or a terminal.

    Raises
    ------
    StoreError
        If `to_store` holds another model's embeddings, or one of the videos' frames chosen otherwise.
    """
    stored = to_store.list_videos().set_index("video_id")
    videos = from_store.list_videos()
    done = videos["video_id"].map(stored["last_frame_number"]).fillna(0).astype(int)
    total, initial = (
        videos["frame_count"].sum(),
        stored["frame_count"].reindex(videos["video_id"]).fillna(0).sum(),
    )
    with tqdm(total=int(total), initial=int(initial), unit="frame", disable=not progress) as bar:
        for row, after in zip(videos.to_dict("records"), done, strict=True):
            video = Video(**{field.name: row[field.name] for field in fields(Video)})
            bar.set_description(video.title)
            how = {name: row[name] for name in ("model", "dimension", "every_seconds", "sampling")}
            to_store.write_video(video, **how)
            for batch in from_store.read_batches(video.video_id, after=after):
                to_store.write_frames(batch)
                bar.update(len(batch))
            if row["complete"]:
                to_store.mark_complete(video.video_id)
